//! This domain's side of a guest's network card (Xen, `xl-network-configuration(5)`): the interface joins the bridge of
//! the configuration, or receives the configuration's `ip`. The back end waits for the result in the store.

use crate::hotplug::{Error, run, variable};

/// Connects the card that the environment names.
pub(crate) fn online() -> Result<(), Error> {
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
    // xl always names a bridge; it names an address only if the configuration has one
    if let Ok(address) = run("xenstore-read", &[&format!("{card}/ip")]) {
        run("ip", &["address", "replace", address.trim(), "dev", interface])?;
        return run("ip", &["link", "set", "dev", interface, "up"]).map(drop);
    }
    let bridge = run("xenstore-read", &[&format!("{card}/bridge")])?;
    run("ip", &["link", "set", "dev", interface, "master", bridge.trim(), "up"]).map(drop)
}
