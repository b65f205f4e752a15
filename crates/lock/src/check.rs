//! Verifies that the lock covers the definitions.

use crate::{Lock, Wanted, WantedSet};
use std::{collections::BTreeSet, fmt, path::PathBuf};
use types::Arch;

/// The lock is older than the definitions.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Stale {
    /// Each difference, in the order of the definitions.
    pub differences: Vec<Difference>,
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("evek.lock is older than the definitions: run `cargo xtask lock update`")?;
        self.differences.iter().try_for_each(|d| write!(f, "\n  {d}"))
    }
}

/// One difference between lock and definitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// A definition names a package that is no root of the locked set.
    NewRoot {
        /// The package.
        root: String,
        /// The set.
        set: String,
        /// Its architecture.
        arch: Arch,
        /// The definition.
        file: PathBuf,
        /// The line in it.
        line: u32,
    },
    /// A root of the locked set is named by no definition any more.
    OldRoot {
        /// The package.
        root: String,
        /// The set.
        set: String,
        /// Its architecture.
        arch: Arch,
        /// The first definition of the set.
        file: PathBuf,
    },
    /// The locked set has another base, other names from backports, or other packages left out.
    Terms {
        /// The set.
        set: String,
        /// Its architecture.
        arch: Arch,
        /// The first definition of the set.
        file: PathBuf,
    },
    /// A manifest differs from the one of its source archive, or there is no source archive yet.
    Vendor {
        /// The source archive.
        name: String,
        /// The manifest.
        file: PathBuf,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewRoot { root, set, arch, file, line } => {
                write!(f, "{}:{line}: `{root}` is not locked in set {set} for {arch}", file.display())
            }
            Self::OldRoot { root, set, arch, file } => {
                write!(f, "{}: `{root}`, locked in set {set} for {arch}, is no longer named", file.display())
            }
            Self::Terms { set, arch, file } => {
                write!(
                    f,
                    "{}: set {set} for {arch} is locked with another base, other backports or others left out",
                    file.display()
                )
            }
            Self::Vendor { name, file } => write!(f, "{}: sources {name} are not locked for it", file.display()),
        }
    }
}

impl Lock {
    /// Verifies that the lock has everything wanted. Other sets in the lock are ignored, so that a build of one
    /// architecture needs its own sets only.
    ///
    /// # Errors
    /// [`Stale`] with every difference.
    pub fn check(&self, wanted: &Wanted) -> Result<(), Stale> {
        let mut differences: Vec<Difference> = wanted.sets.iter().flat_map(|set| self.check_set(set)).collect();
        for vendor in &wanted.vendors {
            let locked = self.vendor(&vendor.name);
            if locked.is_none_or(|l| l.manifest != vendor.manifest || l.kind != vendor.kind) {
                differences.push(Difference::Vendor { name: vendor.name.clone(), file: vendor.file.clone() });
            }
        }
        if differences.is_empty() { Ok(()) } else { Err(Stale { differences }) }
    }

    fn check_set(&self, wanted: &WantedSet) -> Vec<Difference> {
        let (set, arch) = (wanted.name.clone(), wanted.arch);
        let file = wanted.roots.first().map(|r| r.file.clone()).unwrap_or_default();
        let locked = self.set(&set, arch);
        let has: BTreeSet<&str> = locked.iter().flat_map(|l| &l.roots).map(String::as_str).collect();
        let mut differences = Vec::new();
        for root in wanted.roots.iter().filter(|r| !has.contains(r.name.as_str())) {
            let (root, file, line) = (root.name.clone(), root.file.clone(), root.line);
            differences.push(Difference::NewRoot { root, set: set.clone(), arch, file, line });
        }
        let Some(locked) = locked else {
            if differences.is_empty() {
                differences.push(Difference::Terms { set, arch, file });
            }
            return differences;
        };
        for root in locked.roots.iter().filter(|r| wanted.roots.iter().all(|w| w.name != **r)) {
            let (root, file) = (root.clone(), file.clone());
            differences.push(Difference::OldRoot { root, set: set.clone(), arch, file });
        }
        let backports = |names: &[String]| names.iter().cloned().collect::<BTreeSet<_>>();
        let without: BTreeSet<&str> = wanted.without.iter().map(|w| w.name.as_str()).collect();
        if locked.base != wanted.base
            || backports(&locked.backports) != backports(&wanted.backports)
            || locked.left_out().collect::<BTreeSet<_>>() != without
        {
            differences.push(Difference::Terms { set, arch, file });
        }
        differences
    }
}
