//! Control of a running QEMU: orders go in, events come out.
//!
//! ```text
//! guest writes, P3 is full: BLOCK_IO_ERROR, STOP ─► paused ─► there is space again: cont ─► RESUME
//!                                                     └─► order to stop: cont, power button ─► STOP again: quit
//! ```
//! QEMU pauses a guest whose disk cannot grow (`werror=enospc`), so that the guest loses nothing. A paused guest cannot react to
//! its power button. So the order to stop lets it go on first; when QEMU pauses it once more, QEMU ends.

use super::qmp::{Qmp, shutdown_reason};
use crate::hypervisor::{Disk, End, Pause};
use rustix::fs::statvfs;
use serde_json::Value;
use std::{io, path::PathBuf, time::Duration};
use tokio::sync::watch;

/// How often the file systems of a paused guest are asked for space; there is no event for that.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The space with which a paused guest goes on. With less it would be paused again at once.
const ENOUGH: u64 = 64 << 20;

/// A control connection with the state of its QEMU.
pub(super) struct Control {
    pub(super) qmp: Qmp,
    space: Space,
    pauses: watch::Sender<Option<Pause>>,
    /// QEMU has stopped the guest's processors.
    stopped: bool,
    /// The last error of a disk since the guest went on.
    error: Option<Pause>,
    /// The guest has to switch itself off.
    stopping: bool,
    /// QEMU has to end, because the guest could not switch itself off.
    given_up: bool,
    /// QEMU's word for its end.
    reason: Option<String>,
}

/// How many bytes are free for the disks of a guest.
pub(super) type Space = Box<dyn Fn() -> u64 + Send>;

/// The space on the file systems that hold the guest's writable disks.
pub(super) fn space_of(disks: &[Disk]) -> Space {
    let files: Vec<PathBuf> = disks.iter().filter(|disk| !disk.read_only).map(|disk| disk.file.clone()).collect();
    Box::new(move || {
        let free = |file: &PathBuf| statvfs(file).map_or(u64::MAX, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
        files.iter().map(free).min().unwrap_or(u64::MAX)
    })
}

impl Control {
    pub(super) fn new(qmp: Qmp, space: Space) -> (Self, watch::Receiver<Option<Pause>>) {
        let (pauses, receiver) = watch::channel(None);
        let (stopped, stopping, given_up) = (false, false, false);
        (Self { qmp, space, pauses, stopped, error: None, stopping, given_up, reason: None }, receiver)
    }

    /// Takes a message of QEMU into account (QEMU, `qapi/block-core.json`, `qapi/run-state.json`).
    pub(super) async fn message(&mut self, message: &Value) -> io::Result<()> {
        if let Some(reason) = shutdown_reason(message) {
            self.reason = Some(reason.to_owned());
        }
        match message["event"].as_str() {
            // QEMU limits the rate of this event, so that it may come behind STOP
            Some("BLOCK_IO_ERROR") if message["data"]["action"] == "stop" => {
                let no_space = message["data"]["nospace"] == true;
                self.error = Some(if no_space { Pause::NoSpace } else { Pause::Failed });
            }
            Some("STOP") => self.stopped = true,
            Some("RESUME") => (self.stopped, self.error) = (false, None),
            _ => return Ok(()),
        }
        let pause = self.error.filter(|_| self.stopped);
        self.pauses.send_if_modified(|now| std::mem::replace(now, pause) != pause);
        if self.stopped && self.stopping && !self.given_up && self.reason.is_none() {
            self.given_up = true;
            self.qmp.send("quit").await?;
        }
        Ok(())
    }

    /// Presses the power button.
    pub(super) async fn press_power_button(&mut self) -> io::Result<()> {
        self.stopping = true;
        if self.stopped {
            self.qmp.send("cont").await?;
        }
        self.qmp.send("system_powerdown").await
    }

    /// Whether a guest may go on when there is space.
    pub(super) fn waits_for_space(&self) -> bool {
        self.stopped && self.error.is_some() && !self.stopping
    }

    /// Lets a paused guest go on when there is space.
    pub(super) async fn look_for_space(&mut self) -> io::Result<()> {
        if (self.space)() >= ENOUGH { self.qmp.send("cont").await } else { Ok(()) }
    }

    /// QEMU's word for its end, such as `guest-shutdown`; or the whole end, where vmm has chosen it.
    pub(super) fn end(&self) -> Result<Option<&str>, End> {
        if self.given_up {
            let why = self.error.unwrap_or(Pause::NoSpace);
            return Err(End::Failed(format!(
                "was ended, because it was paused ({why}) and could not switch itself off"
            )));
        }
        Ok(self.reason.as_deref())
    }
}

#[cfg(test)]
#[path = "control_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
