//! A guest's network card, this domain's side (Xen, `xl-network-configuration(5)`): its interface joins the bridge of the
//! configuration, or has the address that stands there as `ip`; and the store says so, for which the back end waits.

use std::{env, env::VarError, io, process::Command};

/// Why a card cannot be connected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// xl has not said which card.
    #[error("{name}: {source}; this is run by xl for a network card")]
    Variable { name: &'static str, source: VarError },
    /// A program cannot be run.
    #[error("cannot run {program}: {source}")]
    Run { program: &'static str, source: io::Error },
    /// A program has failed.
    #[error("`{line}` failed: {said}")]
    Failed { line: String, said: String },
}

/// Connects the card that the environment names.
pub(crate) fn online() -> Result<(), Error> {
    let variable = |name| env::var(name).map_err(|source| Error::Variable { name, source });
    let (card, interface) = (variable("XENBUS_PATH")?, variable("vif")?);
    let connected = connect(&card, &interface);
    let (status, error) = match &connected {
        Ok(()) => ("connected", None),
        Err(e) => ("error", Some(e.to_string())),
    };
    if let Some(error) = error {
        run("xenstore-write", &[&format!("{card}/hotplug-error"), &error])?;
    }
    run("xenstore-write", &[&format!("{card}/hotplug-status"), status])?;
    connected
}

fn connect(card: &str, interface: &str) -> Result<(), Error> {
    // xl names a bridge even where none was asked for; an address is there only if it was
    if let Ok(address) = run("xenstore-read", &[&format!("{card}/ip")]) {
        run("ip", &["address", "replace", address.trim(), "dev", interface])?;
        return run("ip", &["link", "set", "dev", interface, "up"]).map(drop);
    }
    let bridge = run("xenstore-read", &[&format!("{card}/bridge")])?;
    run("ip", &["link", "set", "dev", interface, "master", bridge.trim(), "up"]).map(drop)
}

/// Runs a program to its end: what it has said.
fn run(program: &'static str, args: &[&str]) -> Result<String, Error> {
    let output = Command::new(program).args(args).output().map_err(|source| Error::Run { program, source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Failed { line: format!("{program} {}", args.join(" ")), said })
}
