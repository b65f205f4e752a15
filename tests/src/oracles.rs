//! Programs of others, from the toolbox, that judge images as ours do.

use crate::builder::variable;
use sandbox::{Bind, Exit, Sandbox};
use std::path::Path;
use types::Cancel;

/// Runs a program on files, which it sees in the folder `/in` by the names given here; says what it said when it failed.
///
/// # Errors
/// Its output, when it ends with another code than 0.
///
/// # Panics
/// When it cannot be run.
pub fn judge(files: &[(&str, &Path)], argv: &[&str]) -> Result<String, String> {
    let mut sandbox = Sandbox::new(variable("EVEK_TOOLBOX_ORACLES"));
    sandbox.entry = Some(variable("EVEK_XTASK"));
    for (name, path) in files {
        sandbox = sandbox.bind(Bind::read_only(*path, format!("/in/{name}")));
    }
    let output = sandbox.output(argv.iter().copied(), &[], &Cancel::default()).unwrap_or_else(|e| panic!("{e}"));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.exit == Exit::Code(0) { Ok(said) } else { Err(format!("{argv:?} ended with {:?}: {said}", output.exit)) }
}
