//! What can be waited for, and when waiting is of no use.

use crate::{console::Seen, failure::first_stage_error};
use std::fmt;

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until<'a> {
    /// A line of the serial console, or an unfinished one, contains this text; lines from before the call count, but not
    /// those from before the guest's last restart.
    Serial(&'a str),
    /// Commands can be run over SSH.
    Ssh,
    /// QEMU has reported an event of this name.
    Event(&'a str),
    /// The guest has restarted so often; see [`Guest::restarts`](crate::Guest::restarts).
    Restarts(usize),
}

impl Until<'_> {
    /// `Some(true)` when it has happened, `Some(false)` when it never will. For SSH that is for its client to say.
    pub(super) fn answer(self, seen: &Seen, reboots: bool) -> Option<bool> {
        let happened = match self {
            Self::Serial(text) => seen.says(text),
            Self::Event(name) => seen.events.iter().any(|e| e.name == name),
            Self::Restarts(n) => seen.restarts() >= n,
            Self::Ssh => false,
        };
        if happened { Some(true) } else { doom(seen, reboots).map(|_| false) }
    }
}

impl fmt::Display for Until<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial(text) => write!(f, "the serial console to say `{text}`"),
            Self::Ssh => f.write_str("SSH"),
            Self::Event(name) => write!(f, "QEMU's event {name}"),
            Self::Restarts(n) => write!(f, "restart {n} of the guest"),
        }
    }
}

/// We never pause a running machine; QEMU does when its processor cannot go on.
pub(super) const STOPPED: &str = "QEMU stopped the machine";

/// Why nothing more is to be expected of this guest. With `reboots`, it comes back from much.
pub(super) fn doom(seen: &Seen, reboots: bool) -> Option<&'static str> {
    let panicked = || seen.events.iter().any(|e| e.name == "GUEST_PANICKED") || seen.says("Kernel panic - not syncing");
    if !reboots && panicked() {
        return Some("its kernel panicked");
    }
    if !reboots && seen.now().iter().any(|l| first_stage_error(l)) {
        return Some("the first stage gave up");
    }
    // EDK II falls back to its shell when no boot option starts.
    if seen.says("UEFI Interactive Shell") {
        return Some("the firmware found nothing to boot");
    }
    if !reboots && seen.says("You are in emergency mode") {
        return Some("systemd gave up and offers its emergency shell");
    }
    if seen.events.iter().any(|e| e.name == "STOP") {
        return Some(STOPPED);
    }
    let shutdown = seen.events.iter().rev().find(|e| e.name == "SHUTDOWN");
    match shutdown {
        Some(e) if e.data["reason"] == "guest-reset" => Some("the guest reset itself"),
        Some(_) => Some("the guest switched itself off"),
        None => seen.closed.then_some("QEMU ended"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, console::RESET};
    use serde_json::{Value, json};

    fn event(name: &str, data: Value) -> Event {
        Event { name: name.into(), data }
    }

    /// A guest with this text on its console and these events.
    fn seen(text: &str, events: &[Event]) -> Seen {
        let mut seen = Seen::default();
        seen.take(text.as_bytes());
        events.iter().for_each(|e| seen.event(e.clone()));
        seen
    }

    #[test]
    fn a_guest_that_reboots_comes_back_from_what_is_the_end_of_another() {
        let panic = "[    1.200000] Kernel panic - not syncing: VFS\n";
        let off = |reason: &str| event("SHUTDOWN", json!({ "reason": reason }));
        let cases = [
            (seen("", &[]), None, None),
            (seen(panic, &[]), Some("its kernel panicked"), None),
            (seen("", &[event("GUEST_PANICKED", Value::Null)]), Some("its kernel panicked"), None),
            (seen("evek-init: restarting in 10 s\n", &[]), Some("the first stage gave up"), None),
            (seen("You are in emergency mode.", &[]), Some("systemd gave up and offers its emergency shell"), None),
            (
                seen("UEFI Interactive Shell v2.2\n", &[]),
                Some("the firmware found nothing to boot"),
                Some("the firmware found nothing to boot"),
            ),
            (seen(panic, &[off("guest-shutdown")]), Some("its kernel panicked"), Some("the guest switched itself off")),
            (seen("", &[off("guest-reset")]), Some("the guest reset itself"), Some("the guest reset itself")),
            (seen("", &[event("STOP", Value::Null)]), Some(STOPPED), Some(STOPPED)),
        ];
        for (seen, ends, reboots) in cases {
            assert_eq!((doom(&seen, false), doom(&seen, true)), (ends, reboots), "{seen:?}");
        }
    }

    #[test]
    fn the_console_is_asked_for_what_it_says_since_the_last_restart() {
        let mut seen = seen("login: ", &[]);
        assert_eq!(Until::Serial("login:").answer(&seen, true), Some(true));
        assert_eq!(Until::Restarts(1).answer(&seen, true), None);
        seen.event(event(RESET, Value::Null));
        assert_eq!(Until::Restarts(1).answer(&seen, true), Some(true));
        assert_eq!(Until::Serial("login:").answer(&seen, true), None);
        seen.take(b"UEFI Interactive Shell");
        assert_eq!(Until::Serial("login:").answer(&seen, true), Some(false));
    }
}
