//! A checkout of its own, to be changed.

use crate::builder::{Ran, checkout, variable};
use std::{fs, path::Path, process::Command};

/// A copy of this checkout. What is built of it is in the cache that everybody shares.
#[derive(Debug)]
pub struct Copy(tempfile::TempDir);

impl Copy {
    /// Of all files that git knows.
    ///
    /// # Panics
    /// When they cannot be copied.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it copies a folder")]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary folder: {e}"));
        let list = Ran::of(Command::new("git").current_dir(checkout()).args(["ls-files"]));
        for name in list.stdout.lines() {
            let to = folder.path().join(name);
            let copy = fs::create_dir_all(to.parent().unwrap_or(Path::new("/")));
            copy.and_then(|()| fs::copy(checkout().join(name), &to)).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        Self(folder)
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Changes a file, in which `from` must be.
    ///
    /// # Panics
    /// When it is not.
    pub fn change(&self, file: &str, from: &str, to: &str) {
        let path = self.path().join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(text.contains(from), "{file} has no {from:?}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap_or_else(|e| panic!("{file}: {e}"));
    }

    /// `xtask` for it.
    #[must_use]
    pub fn xtask(&self, args: &[&str]) -> Ran {
        self.xtask_of("", args)
    }

    /// `xtask` for it as another version.
    #[must_use]
    pub fn xtask_of(&self, version: &str, args: &[&str]) -> Ran {
        let mut command = Command::new(variable("EVEK_XTASK"));
        Ran::of(command.env("EVEK_ROOT", self.path()).env("VERSION", version).args(args))
    }
}
