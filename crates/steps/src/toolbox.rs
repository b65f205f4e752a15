//! The toolbox: Debian packages unpacked into a folder that sandboxes run in.

use crate::packages::{self, Merged};
use graph::{Ctx, StepError};
use std::collections::BTreeMap;
use tree::{Entry, Tree, TreePath};

/// The version of the step: raise it when the same packages would be unpacked differently.
pub(crate) const VERSION: u32 = 4;

/// What base-files links at the top: everything lives below `usr`.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// What no program of the toolbox reads.
const DROPPED: [&str; 6] =
    ["usr/share/doc", "usr/share/info", "usr/share/lintian", "usr/share/locale", "usr/share/man", "var"];

/// Files of the host that programs with network see in their place.
pub(crate) const HOST_FILES: [&str; 4] =
    ["etc/hosts", "etc/nsswitch.conf", "etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"];

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Params {
    /// Symlinks that a package script would have made: path → target.
    pub(crate) links: BTreeMap<String, String>,
    /// The package that keeps a path which two bring.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) prefer: BTreeMap<String, String>,
}

/// Inputs `deb/…`; output tree `root`.
pub(crate) fn run(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let Params { links, prefer } = ctx.params()?;
    let root = ctx.out_tree("root")?;
    let mut base = Tree::default();
    for name in MERGED {
        base.insert(TreePath::new(name)?, Entry::symlink(format!("usr/{name}")))?;
    }
    let mut merged = Merged::onto(base, &[], Some(&prefer))?;
    for mut package in packages::unpack(ctx)? {
        ctx.check()?;
        for path in DROPPED {
            package.tree.remove(&TreePath::new(path)?);
        }
        merged.add(package)?;
    }
    let mut tree = merged.tree;
    for (path, target) in &links {
        let path = tree.real_path(&TreePath::new(path)?)?;
        if tree.get(&path).is_some() {
            return Err(StepError::msg(format!("/{path} is in `links`, and a package of the set has it already")));
        }
        tree.insert(path, Entry::symlink(target.clone()))?;
    }
    for path in HOST_FILES {
        let path = tree.real_path(&TreePath::new(path)?)?;
        if tree.get(&path).is_none() {
            tree.insert(path, Entry::file(0o644, Vec::new()))?;
        }
    }
    tree.write_to(&root)?;
    Ok(())
}
