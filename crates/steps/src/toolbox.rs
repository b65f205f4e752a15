//! The toolbox: Debian packages unpacked into a folder that sandboxes run in.

use graph::{Ctx, StepError, Unit};
use rayon::prelude::*;
use std::{collections::BTreeMap, sync::atomic::AtomicU64, sync::atomic::Ordering};
use tree::{Entry, Tree, TreePath};

/// Raised when the same packages would be unpacked differently.
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
}

/// Inputs `deb/…`; output tree `root`.
pub(crate) fn run(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let Params { links } = ctx.params()?;
    let root = ctx.out_tree("root")?;
    let scratch = ctx.scratch()?;
    let mut merged = Tree::default();
    for name in MERGED {
        merged.insert(TreePath::new(name)?, Entry::symlink(format!("usr/{name}")))?;
    }
    merged.write_to(&root)?;
    let labels: Vec<String> = ctx.labels("deb/").map(str::to_owned).collect();
    let done = AtomicU64::new(0);
    let total = labels.len() as u64;
    let ctx: &Ctx<'_> = ctx;
    // unpacking is by far the longer part; writing goes on one at a time, for packages share folders and, over
    // architectures, whole files
    let writing = std::sync::Mutex::new(merged);
    labels.par_iter().enumerate().try_for_each(|(i, label)| -> Result<(), StepError> {
        ctx.check()?;
        let spool = scratch.join(format!("{i}"));
        let mut deb = debian::deb::unpack(&ctx.input(label)?, &spool)?;
        for path in DROPPED {
            deb.remove(&TreePath::new(path)?);
        }
        {
            let mut merged = writing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let mut new = Tree::default();
            for (path, entry) in deb {
                let path = merged.real_path(&path);
                if merged.get(&path).is_none() {
                    new.insert(path, entry)?;
                }
            }
            new.write_to(&root)?;
            merged.merge(new)?;
        }
        std::fs::remove_file(&spool)?;
        ctx.progress(done.fetch_add(1, Ordering::Relaxed) + 1, total, Unit::Items);
        Ok(())
    })?;
    let mut linked = Tree::default();
    for (path, target) in &links {
        linked.insert(TreePath::new(path)?, Entry::symlink(target.clone()))?;
    }
    for path in HOST_FILES {
        if !root.join(path).exists() {
            linked.insert(TreePath::new(path)?, Entry::file(0o644, Vec::new()))?;
        }
    }
    linked.write_to(&root)?;
    Ok(())
}
