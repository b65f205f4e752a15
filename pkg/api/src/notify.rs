//! Word to systemd about this program's state (sd_notify(3)).

use std::{
    env, io,
    os::{linux::net::SocketAddrExt as _, unix::net},
    time::Duration,
};

/// Sends `state`, such as `READY=1`, where systemd has asked for it; otherwise does nothing.
///
/// # Errors
/// When systemd's socket does not take it.
pub fn notify(state: &str) -> io::Result<()> {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let address = match path.to_string_lossy().strip_prefix('@') {
        Some(name) => net::SocketAddr::from_abstract_name(name)?,
        None => net::SocketAddr::from_pathname(&path)?,
    };
    net::UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

/// How often `WATCHDOG=1` is due: half of what the unit allows; `None` where it has no watchdog.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    let micros: u64 = env::var("WATCHDOG_USEC").ok()?.parse().ok()?;
    (micros > 1).then(|| Duration::from_micros(micros / 2))
}
