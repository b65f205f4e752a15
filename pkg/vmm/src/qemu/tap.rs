//! The device's end of a card on a bridge. It is made before QEMU starts, so that QEMU needs no capability for it.

use crate::error::Error;
use std::process::Command;

/// Makes a tap interface and puts it on a bridge; replaces one that an earlier run left.
pub(crate) fn make(tap: &str, bridge: &str) -> Result<(), Error> {
    let exists = std::path::Path::new("/sys/class/net").join(tap).exists();
    if exists {
        ip(&["link", "delete", tap])?;
    }
    ip(&["tuntap", "add", tap, "mode", "tap", "vnet_hdr"])?;
    ip(&["link", "set", tap, "master", bridge, "up"])
}

fn ip(args: &[&str]) -> Result<(), Error> {
    let output = Command::new("ip").args(args).output().map_err(Error::io("run", "ip"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Program { program: format!("ip {}", args.join(" ")), said })
}
