//! Commands in the guest over SSH, through a virtio-serial port: it needs no network card and no address.
//!
//! ```text
//! ssh (one a command) ──► ControlPath ──► ssh master ──► socat ──► QEMU chardev ══ org.evek.ssh ══ sshd -i
//! ```
//! The port carries one stream, so one master connection is opened and every command is a session within it.

use crate::{
    Error,
    console::{RESET, Seen, Watch},
    prepare::{Prepared, SSH_SOCKET},
    tools::{Call, Ended, Running, Tools, Uses},
};
use sandbox::{Exit, Io};
use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

/// What a command in the guest said and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit code; absent when a signal ended it.
    pub status: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// It ended with exit code 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status == Some(0)
    }
}

impl From<Ended> for Output {
    fn from(ended: Ended) -> Self {
        let code = match ended.exit {
            Exit::Code(code) => Some(code),
            Exit::Signal(_) => None,
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { status: code, stdout: text(ended.stdout), stderr: text(ended.stderr) }
    }
}

/// How to reach the guest.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    dir: PathBuf,
    sockets: PathBuf,
}

impl Route {
    /// The way to a prepared machine; `None` where it was given no key.
    pub(crate) fn of(prepared: &Prepared) -> Option<Self> {
        prepared.key.as_ref()?;
        Some(Self { dir: prepared.dir.clone(), sockets: prepared.sockets.path().to_owned() })
    }

    /// The master's socket, on the host.
    fn control(&self) -> PathBuf {
        self.sockets.join("control")
    }

    /// Options of every client, which sees the two folders at these paths. The guest makes its host key anew and is
    /// reached by a socket of ours: there is nothing to check the host key against, and nobody in between.
    fn options(dir: &Path, sockets: &Path) -> Vec<String> {
        let proxy = format!("ProxyCommand=socat - UNIX-CONNECT:{}", sockets.join(SSH_SOCKET).display());
        let control = format!("ControlPath={}", sockets.join("control").display());
        let key = dir.join("key").display().to_string();
        let words = ["-F", "none", "-l", "root", "-i", &key, "-o", &proxy, "-o", &control];
        let fixed = [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "LogLevel=ERROR",
            // bytes that a port has forgotten to announce are found with the next ones that come
            "ServerAliveInterval=10",
            "ServerAliveCountMax=12",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
        ];
        let fixed = fixed.iter().flat_map(|o| ["-o", o]);
        words.into_iter().chain(fixed).map(str::to_owned).collect()
    }

    fn call(&self, more: &[&str]) -> Call {
        let (machine, sockets) = (Uses::machine(&self.dir), Uses::sockets(&self.sockets));
        let options = Self::options(machine.view(), sockets.view());
        let args = options.into_iter().chain(more.iter().map(|&s| s.to_owned()));
        Call::new("ssh", args).uses(machine).uses(sockets)
    }

    /// The command line with which a user gets a shell, given `socat` and `ssh` on the host.
    pub(crate) fn shell_line(&self) -> String {
        let options = Self::options(&self.dir, &self.sockets);
        crate::machine::shell_line("ssh", &[options, vec!["evek".to_owned()]].concat())
    }
}

/// The open connection.
#[derive(Debug)]
pub(crate) struct Ssh {
    route: Route,
    master: Running,
    /// How often the guest had restarted.
    restarts: usize,
}

/// Time for one try: two key exchanges' worth on a slow emulated processor.
const ONE_TRY: Duration = Duration::from_secs(60);

/// How long to wait for the guest's port to be opened anew after a try that failed.
const NEXT_TRY: Duration = Duration::from_secs(5);

impl Ssh {
    /// Connects, trying again each time the guest opens its port. `None` when `deadline` passed or `give_up` said so.
    pub(crate) fn connect(
        tools: &Tools,
        route: &Route,
        watch: &Watch,
        deadline: Instant,
        give_up: impl Fn(&Seen) -> bool,
    ) -> Result<Option<Self>, Error> {
        let mut tried = Openings::default();
        loop {
            // A port that is open has been opened at least once; later openings are new servers worth a new try.
            let limit = if tried.count == 0 { deadline } else { deadline.min(Instant::now() + NEXT_TRY) };
            let opened = watch.until(limit, |seen| {
                let opened = Openings::of(seen);
                (opened > tried && opened.count > 0 || give_up(seen)).then_some(opened)
            });
            if give_up(&watch.look()) || Instant::now() >= deadline {
                return Ok(None);
            }
            let now = Openings::of(&watch.look());
            tried = opened.unwrap_or(tried);
            if tried.restarts < now.restarts {
                tried = Openings { count: 0, ..now };
                continue;
            }
            let deadline = deadline.min(Instant::now() + ONE_TRY);
            if let Some(ssh) = Self::try_once(tools, route, tried.restarts, deadline)? {
                return Ok(Some(ssh));
            }
        }
    }

    fn try_once(tools: &Tools, route: &Route, restarts: usize, deadline: Instant) -> Result<Option<Self>, Error> {
        let _ = fs::remove_file(route.control());
        let log = route.dir.join("ssh.log");
        let errors = File::options().create(true).append(true).open(&log).map_err(Error::io("open", &log))?;
        // LocalCommand runs once the connection stands and sessions are accepted: its word is the event we wait for.
        let master = ["-M", "-N", "-o", "PermitLocalCommand=yes", "-o", "LocalCommand=echo connected", "evek"];
        let call = route.call(&master);
        let mut master =
            tools.spawn(&call, Io { stdin: Stdio::null(), stdout: Stdio::piped(), stderr: errors.into() })?;
        let (said, word) = channel();
        if let Some(stdout) = master.stdout() {
            thread::spawn(move || {
                let mut line = String::new();
                let _ = BufReader::new(stdout).read_line(&mut line);
                let _ = said.send(line);
            });
        }
        let mut ssh = Self { route: route.clone(), master, restarts };
        let line = word.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        Ok((line.is_ok_and(|l| l.trim() == "connected") && ssh.alive()).then_some(ssh))
    }

    /// The connection still stands, to a guest that has restarted so often. QEMU keeps the one to the guest before a restart.
    pub(crate) fn reaches(&mut self, restarts: usize) -> bool {
        self.restarts == restarts && self.alive()
    }

    fn alive(&mut self) -> bool {
        self.master.alive()
    }

    /// Starts a command in the guest, of whose end nothing will be known.
    pub(crate) fn start(&self, tools: &Tools, command: &str) -> Result<Running, Error> {
        let silent = Io { stdin: Stdio::null(), stdout: Stdio::null(), stderr: Stdio::null() };
        tools.spawn(&self.route.call(&["-T", "evek", command]), silent)
    }

    /// Runs a command by the guest's shell.
    pub(crate) fn run(&self, tools: &Tools, command: &str, input: &[u8], limit: Duration) -> Result<Output, Error> {
        let ended = tools.run_within(&self.route.call(&["-T", "evek", command]), input, limit)?;
        ended.map(Output::from).ok_or_else(|| Error::CommandTimeout { command: command.to_owned(), limit })
    }
}

/// How often the guest has opened the port since its last restart. A later guest's opening is greater than all of the
/// earlier one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
struct Openings {
    restarts: usize,
    count: usize,
}

impl Openings {
    fn of(seen: &Seen) -> Self {
        let mut found = Self::default();
        for event in &seen.events {
            if event.name == RESET {
                found = Self { restarts: found.restarts + 1, count: 0 };
            } else if event.name == "VSERPORT_CHANGE" && event.data["id"] == "ssh" && event.data["open"] == true {
                found.count += 1;
            }
        }
        found
    }
}

/// How often the guest has opened its port, in an order of its own.
pub(crate) fn openings(seen: &Seen) -> impl PartialOrd + use<> {
    Openings::of(seen)
}

/// The last words of the SSH client, for an error.
pub(crate) fn last_words(dir: &Path) -> Option<String> {
    let text = fs::read_to_string(dir.join("ssh.log")).ok()?;
    text.lines().rev().find(|l| !l.trim().is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;
    use serde_json::json;

    #[test]
    fn an_opening_before_a_restart_does_not_count_after_it() {
        let mut seen = Seen::default();
        let opened = |open| Event { name: "VSERPORT_CHANGE".into(), data: json!({"id": "ssh", "open": open}) };
        let reset = Event { name: RESET.into(), data: json!({"guest": true}) };
        let mut last = Openings::default();
        for (event, expected) in
            [(opened(true), (0, 1)), (opened(false), (0, 1)), (opened(true), (0, 2)), (reset, (1, 0))]
        {
            seen.event(event);
            let now = Openings::of(&seen);
            assert_eq!((now.restarts, now.count), expected);
            assert!(now >= last);
            last = now;
        }
    }
}
