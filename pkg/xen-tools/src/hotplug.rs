//! The common part of the programs that xl runs for devices: they read environment variables, and answer in Xen's
//! store.

use std::{env, env::VarError, io, process::Command};

/// Why a device cannot be connected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The environment variable of the device is missing.
    #[error("{name}: {source}; this is run by xl for a device")]
    Variable { name: &'static str, source: VarError },
    /// A program cannot be run.
    #[error("cannot run {program}: {source}")]
    Run { program: &'static str, source: io::Error },
    /// A program failed.
    #[error("`{line}` failed: {said}")]
    Failed { line: String, said: String },
    /// A disk is no block device.
    #[error("{path}: {why}")]
    Disk { path: String, why: String },
}

/// xl's environment variable about the device.
pub(crate) fn variable(name: &'static str) -> Result<String, Error> {
    env::var(name).map_err(|source| Error::Variable { name, source })
}

/// Runs a program to its end. Returns its output.
pub(crate) fn run(program: &'static str, args: &[&str]) -> Result<String, Error> {
    let output = Command::new(program).args(args).output().map_err(|source| Error::Run { program, source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Failed { line: format!("{program} {}", args.join(" ")), said })
}
