//! What package scripts would do, done to a tree: no script of a package ever runs.
//!
//! ```text
//! tree of unpacked debs and files ─► accounts ─► alternatives, links ─► units ─► capabilities ─► CA bundle ─► tree
//! ```
//! Each function changes the tree in place, reads nothing but the tree and the definition, and gives the same result for
//! the same input. The library cache (ldconfig) and the module index (depmod) are made by toolbox programs elsewhere.

pub mod accounts;
pub mod alternatives;
pub mod ca_bundle;
pub mod capabilities;
mod sysusers;
pub mod units;

use crate::Error;
use std::collections::BTreeMap;
use tree::{Entry, Kind, Tree, TreePath};

/// Paths and contents of the regular files directly in a folder, by name.
fn files_in(tree: &Tree, folder: &str, suffix: &str) -> Result<BTreeMap<String, (TreePath, Vec<u8>)>, Error> {
    let folder = tree.real_path(&path(&format!("{folder}/x"))?)?.parent().unwrap_or_default();
    let mut found = BTreeMap::new();
    for (path, entry) in tree.iter() {
        if path.parent().as_ref() == Some(&folder)
            && path.name().ends_with(suffix)
            && matches!(entry.kind, Kind::File(_))
        {
            let name = path.name().to_owned();
            found.insert(name, (path.clone(), content(path, entry)?));
        }
    }
    Ok(found)
}

/// The bytes that a path leads to; `None` where no file is.
fn read(tree: &Tree, at: &str) -> Result<Option<Vec<u8>>, Error> {
    match tree.follow(&path(at)?) {
        Some((path, entry)) if matches!(entry.kind, Kind::File(_)) => content(&path, entry).map(Some),
        _ => Ok(None),
    }
}

fn content(path: &TreePath, entry: &Entry) -> Result<Vec<u8>, Error> {
    match &entry.kind {
        Kind::File(content) => content.read().map_err(|source| Error::Read { path: path.clone(), source }),
        _ => Ok(vec![]),
    }
}

fn path(text: &str) -> Result<TreePath, Error> {
    Ok(TreePath::new(text)?)
}
