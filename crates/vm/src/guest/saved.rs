//! Saving a running machine into its folder, and going on from there.
//!
//! ```text
//! save:     ssh hangs up ─► stop ─► registers.txt ─► migrate to `state` ─► quit        folder: state, overlay.qcow2,
//! restore:  -incoming defer ─► migrate-incoming ─► registers equal? ─► cont                     variables.fd, key, registers.txt
//! ```
//! The state is QEMU's migration stream: memory, processors, devices and, as blobs of swtpm's, the TPM (QEMU,
//! `docs/devel/migration`, `docs/specs/tpm.rst`). QEMU writes the overlay to its end before the stream is complete. A guest
//! that goes on has lost no time of its monotonic clock; its clock of the day stands where it was saved.

use super::{Guest, wait::doom};
use crate::{
    Error, Left,
    console::Seen,
    prepare::{REGISTERS, STATE},
    ssh::openings,
    tools::Uses,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

impl Guest {
    /// Saves the machine in its folder, for [`State::Saved`](crate::State::Saved), and ends it. Nobody is connected to the
    /// guest then, and its port for SSH is open.
    ///
    /// # Errors
    /// When the guest does not open its port anew, or QEMU cannot save within `limit`.
    pub fn save(mut self, limit: Duration) -> Result<Left, Error> {
        let deadline = Instant::now() + limit;
        let before = openings(&self.watch.look());
        if self.ssh.take().is_some() {
            let ready = |seen: &Seen| (openings(seen) > before || doom(seen, false).is_some()).then_some(());
            if self.watch.until(deadline, ready).is_none() || openings(&self.watch.look()) <= before {
                return Err(self.failure("the guest to open its port for SSH anew", limit));
            }
        }
        self.qmp.execute("stop")?;
        let registers = self.registers()?;
        let path = self.prepared.dir.join(REGISTERS);
        fs::write(&path, registers).map_err(Error::io("write", &path))?;
        self.migrate("migrate", &self.prepared.dir.clone(), deadline)?;
        self.machine.keeps = true;
        let left = self.left();
        self.qmp.execute("quit")?;
        self.watch.until(deadline, |seen| seen.closed.then_some(()));
        Ok(left)
    }

    /// Takes over the state that another machine was saved with.
    pub(super) fn restore(&mut self, from: &Path) -> Result<(), Error> {
        let deadline = Instant::now() + RESTORE;
        self.migrate("migrate-incoming", from, deadline)?;
        let path = from.join(REGISTERS);
        let saved = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        if self.registers()? != saved {
            return Err(bad(from, "the processors' registers are not those that were saved"));
        }
        self.qmp.execute("cont").map(drop)
    }

    /// Sets the guest's clock of the day to the host's.
    ///
    /// # Errors
    /// When the guest refuses, and as [`ssh`](Self::ssh).
    pub fn set_clock(&mut self, limit: Duration) -> Result<(), Error> {
        // what connecting takes is not to be in it
        self.connect(Instant::now() + limit, limit)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let command = format!("date -u -s @{}.{:03}", now.as_secs(), now.subsec_millis());
        self.sh(&command).map(drop)
    }

    /// The registers of all processors, as QEMU's monitor shows them.
    fn registers(&mut self) -> Result<String, Error> {
        let arguments = json!({ "command-line": "info registers -a" });
        let answer = self.qmp.execute_with("human-monitor-command", &arguments)?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }

    /// Has QEMU write its state to a file of a folder, or read it from there.
    fn migrate(&mut self, command: &str, folder: &Path, deadline: Instant) -> Result<(), Error> {
        let view = if command == "migrate" { Uses::machine(folder) } else { Uses::saved(folder) };
        let uri = format!("file:{}", view.view().join(STATE).display());
        let events = json!({ "capabilities": [{ "capability": "events", "state": true }] });
        self.qmp.execute_with("migrate-set-capabilities", &events)?;
        self.qmp.execute_with(command, &json!({ "uri": uri }))?;
        let ended = self.watch.until(deadline, |seen| if seen.closed { Some(None) } else { outcome(seen).map(Some) });
        if ended == Some(Some(true)) {
            return Ok(());
        }
        let why = self.qmp.execute("query-migrate").ok().and_then(|answer| {
            let text = answer["error-desc"].as_str()?.to_owned();
            Some(text)
        });
        let log = fs::read_to_string(self.prepared.dir.join("qemu.log")).unwrap_or_default();
        let why = why.unwrap_or_else(|| log.trim().to_owned());
        let why = if why.is_empty() { "QEMU gave no reason within its time".to_owned() } else { why };
        Err(bad(folder, &format!("QEMU's `{command}` failed: {why}")))
    }
}

/// Reading a few gigabytes takes seconds; a busy disk is waited for.
const RESTORE: Duration = Duration::from_secs(300);

fn bad(folder: &Path, reason: &str) -> Error {
    Error::Left { path: folder.to_owned(), reason: reason.to_owned() }
}

/// Whether the last migration has come to its end, and to a good one.
fn outcome(seen: &Seen) -> Option<bool> {
    let status = |data: &Value| match data["status"].as_str() {
        Some("completed") => Some(true),
        Some("failed" | "cancelled") => Some(false),
        _ => None,
    };
    seen.events.iter().filter(|e| e.name == "MIGRATION").find_map(|e| status(&e.data))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;

    #[test]
    fn a_migration_ends_well_or_badly_or_not_yet() {
        let seen = |statuses: &[&str]| {
            let mut seen = Seen::default();
            for status in statuses {
                seen.event(Event { name: "MIGRATION".into(), data: json!({ "status": status }) });
            }
            outcome(&seen)
        };
        assert_eq!(seen(&[]), None);
        assert_eq!(seen(&["setup", "active", "device"]), None);
        assert_eq!(seen(&["setup", "active", "completed"]), Some(true));
        assert_eq!(seen(&["setup", "failed"]), Some(false));
    }
}
