//! Programs of others, from the toolbox, that judge images as ours do, or that ours work with.

use crate::builder::{entry, variable};
use sandbox::{Bind, Exit, Sandbox};
use std::path::Path;
use types::Cancel;

/// A world with the toolbox's programs and some files in the folder `/in`.
pub struct Oracles(Sandbox);

impl Default for Oracles {
    fn default() -> Self {
        Self::of("EVEK_TOOLBOX_ORACLES")
    }
}

impl Oracles {
    fn of(set: &str) -> Self {
        let mut sandbox = Sandbox::new(variable(set));
        sandbox.entry = Some(entry());
        Self(sandbox)
    }

    /// QEMU's programs.
    #[must_use]
    pub fn qemu() -> Self {
        Self::of("EVEK_TOOLBOX_QEMU_AMD64")
    }

    /// With a file or folder to read, by the name given here.
    #[must_use]
    pub fn with(self, name: &str, path: &Path) -> Self {
        Self(self.0.bind(Bind::read_only(path, format!("/in/{name}"))))
    }

    /// With a folder to write into.
    #[must_use]
    pub fn with_writable(mut self, name: &str, path: &Path) -> Self {
        self.0.binds.push(Bind { source: path.to_owned(), target: format!("/in/{name}").into(), writable: true });
        self
    }

    /// With a variable of the environment.
    #[must_use]
    pub fn with_variable(self, name: &str, value: &str) -> Self {
        Self(self.0.env(name, value))
    }

    /// Runs a program; says what it said.
    ///
    /// # Errors
    /// Its output, when it ends with another code than 0.
    ///
    /// # Panics
    /// When it cannot be run.
    pub fn run(&self, argv: &[&str]) -> Result<String, String> {
        let output = self.0.output(argv.iter().copied(), &[], &Cancel::default()).unwrap_or_else(|e| panic!("{e}"));
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.exit == Exit::Code(0) {
            Ok(said)
        } else {
            Err(format!("{argv:?} ended with {:?}: {said}", output.exit))
        }
    }
}
