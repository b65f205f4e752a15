//! Free TCP ports.

use crate::Error;
use std::{net::TcpListener, path::Path};

/// A TCP port on 127.0.0.1 that nobody uses now. It is the system's choice, so two calls rarely give the same; but nothing
/// holds it until QEMU binds it, and QEMU says so when another program was faster.
///
/// # Errors
/// When the host has no loopback or no free port.
pub fn free_port() -> Result<u16, Error> {
    let free = || TcpListener::bind(("127.0.0.1", 0))?.local_addr();
    Ok(free().map_err(Error::io("find a free port on", Path::new("127.0.0.1")))?.port())
}
