//! A running machine.

use crate::{
    Error, Machine, Network,
    accel::Accel,
    console::{OnLine, Seen, Watch},
    failure::{BootFailure, Failure, SHOWN_LINES, classify, first_stage_error},
    machine::{Console, command_line, program, shell_line},
    prepare::{OVERLAY, Prepared, QMP_SOCKET, SERIAL_LOG, prepare},
    qmp::{Event, Qmp},
    ssh::{Output, Route, Ssh, last_words},
    tools::{Call, Running, Tools, Uses},
};
use sandbox::{Exit, Io};
use std::{
    fs::{self, File},
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

/// What to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until<'a> {
    /// A line of the serial console, or an unfinished one, contains this text; lines from before the call count.
    Serial(&'a str),
    /// Commands can be run over SSH.
    Ssh,
    /// QEMU has reported an event of this name.
    Event(&'a str),
}

/// A running machine. Dropping it kills its QEMU, and only that. The thread that starts it must live as long as it.
#[derive(Debug)]
pub struct Guest {
    machine: Machine,
    tools: Tools,
    prepared: Prepared,
    qemu: Running,
    /// Set once QEMU was waited for.
    ended: Option<Exit>,
    qmp: Qmp,
    watch: Watch,
    ssh: Option<Ssh>,
}

impl Guest {
    /// Starts a machine. It has the SSH key of this run in its CONFIG partition when `with_ssh`; each line of its serial
    /// console goes to `on_line` as it comes.
    ///
    /// # Errors
    /// When a program or file is missing, or the disk has no CONFIG partition to put the key into. That QEMU refuses to
    /// run shows at the first [`wait_for`](Self::wait_for), as [`Failure::Qemu`].
    pub fn start(
        machine: &Machine,
        tools: &Tools,
        accel: Accel,
        with_ssh: bool,
        on_line: Option<OnLine>,
    ) -> Result<Self, Error> {
        let prepared = prepare(machine, tools, with_ssh)?;
        let args = command_line(machine, accel, &prepared.files, Console::Driver);
        write_commands(machine, accel, &prepared)?;
        let watch = Watch::default();
        let qmp = Qmp::listen(&prepared.sockets.path().join(QMP_SOCKET), watch.clone())?;
        let log = create(&prepared.dir.join(SERIAL_LOG))?;
        let errors = create(&prepared.dir.join("qemu.log"))?;
        let call = qemu_call(machine, &prepared, args);
        let mut qemu =
            tools.spawn(&call, Io { stdin: Stdio::null(), stdout: Stdio::piped(), stderr: errors.into() })?;
        if let Some(serial) = qemu.stdout() {
            let watch = watch.clone();
            thread::spawn(move || watch.feed_serial(serial, log, on_line));
        }
        let (machine, tools) = (machine.clone(), tools.clone());
        Ok(Self { machine, tools, prepared, qemu, ended: None, qmp, watch, ssh: None })
    }

    /// Waits for something to happen, no longer than `limit`.
    ///
    /// # Errors
    /// [`Error::Boot`] when the time is over, and at once when it can no longer happen: the kernel panicked, the first
    /// stage gave up or QEMU ended.
    pub fn wait_for(&mut self, until: Until<'_>, limit: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + limit;
        let found = match until {
            Until::Serial(text) => self.watch.until(deadline, |s| answer(s, s.find(text, 0).is_some())),
            Until::Event(name) => self.watch.until(deadline, |s| answer(s, s.events.iter().any(|e| e.name == name))),
            Until::Ssh => return self.connect(deadline, limit),
        };
        match found {
            Some(true) => Ok(()),
            _ => {
                let what = match until {
                    Until::Serial(text) => format!("the serial console to say `{text}`"),
                    Until::Event(name) => format!("QEMU's event {name}"),
                    Until::Ssh => "SSH".to_owned(),
                };
                Err(self.failure(&what, limit))
            }
        }
    }

    /// Runs a command by root's shell in the guest; one minute is enough for it and, before the first one, for SSH. When no
    /// answer comes it is run once more over a new connection, so it must be one that can be run twice.
    ///
    /// # Errors
    /// [`Error::CommandTimeout`]; [`Error::Boot`] when there is no SSH. That the command fails is no error here.
    pub fn ssh(&mut self, command: &str) -> Result<Output, Error> {
        let limit = Duration::from_secs(60);
        match self.ssh_within(command, &[], limit) {
            Err(Error::CommandTimeout { .. }) => {
                self.ssh = None;
                self.ssh_within(command, &[], 2 * limit)
            }
            answer => answer,
        }
    }

    /// As [`ssh`](Self::ssh), with an input and a limit of one's own.
    ///
    /// # Errors
    /// As [`ssh`](Self::ssh).
    pub fn ssh_within(&mut self, command: &str, input: &[u8], limit: Duration) -> Result<Output, Error> {
        self.connect(Instant::now() + limit, limit)?;
        match &self.ssh {
            Some(ssh) => ssh.run(&self.tools, command, input, limit),
            None => Err(self.failure("SSH", limit)),
        }
    }

    /// As [`ssh`](Self::ssh), for a command that must succeed; gives its standard output without blanks around it.
    ///
    /// # Errors
    /// [`Error::Command`] when it fails, and as [`ssh`](Self::ssh).
    pub fn sh(&mut self, command: &str) -> Result<String, Error> {
        let output = self.ssh(command)?;
        if output.success() {
            return Ok(output.stdout.trim().to_owned());
        }
        let said = format!("{}{}", output.stdout, output.stderr).trim().to_owned();
        Err(Error::Command { command: command.to_owned(), status: output.status, said })
    }

    /// Lines of the serial console so far.
    #[must_use]
    pub fn serial_lines(&self) -> Vec<String> {
        self.watch.look().lines.clone()
    }

    /// QEMU's events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.watch.look().events.clone()
    }

    /// Presses the power button and waits until the guest has switched itself off.
    ///
    /// # Errors
    /// [`Error::Boot`] when it has not done so within `limit`; QEMU is gone then all the same.
    pub fn stop(mut self, limit: Duration) -> Result<(), Error> {
        self.ssh = None;
        let deadline = Instant::now() + limit;
        self.qmp.execute("system_powerdown")?;
        let off = self
            .watch
            .until(deadline, |seen| (seen.closed || seen.events.iter().any(|e| e.name == "SHUTDOWN")).then_some(()));
        let result = off.ok_or_else(|| self.failure("the guest to switch itself off", limit));
        // After a shutdown QEMU ends by itself; otherwise it is told to, and if it hears nothing it is killed by `drop`.
        let grace = Duration::from_secs(10);
        if result.is_err() && self.qmp.execute("quit").is_err() {
            return result;
        }
        self.watch.until(Instant::now() + grace, |seen| seen.closed.then_some(()));
        result
    }

    /// Ends QEMU as a power cut ends a device: at once, with whatever was on its disk.
    pub fn cut_power(self) {
        drop(self);
    }

    /// The folder with the logs, the overlay and `qemu.txt`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.prepared.dir
    }

    /// Has SSH ready.
    fn connect(&mut self, deadline: Instant, limit: Duration) -> Result<(), Error> {
        if self.ssh.as_mut().is_some_and(Ssh::alive) {
            return Ok(());
        }
        self.ssh = None;
        if let Some(route) = Route::of(&self.prepared) {
            self.ssh = Ssh::connect(&self.tools, &route, &self.watch, deadline, |s| doom(s).is_some())?;
        }
        if self.ssh.is_some() { Ok(()) } else { Err(self.failure("SSH", limit)) }
    }

    /// What is known about a wait that did not succeed.
    fn failure(&mut self, what: &str, limit: Duration) -> Error {
        let closed = self.watch.look().closed;
        let mut unstarted = None;
        if closed && self.ended.is_none() {
            // Its standard output has ended, so it is about to be gone.
            match self.qemu.wait() {
                Ok(exit) => self.ended = Some(exit),
                Err(e) => unstarted = Some(e.to_string()),
            }
        }
        let seen = self.watch.look();
        let doomed = doom(&seen);
        let mut class = classify(&seen.lines);
        let how = match (self.ended, doomed) {
            _ if unstarted.is_some() => {
                class = Failure::Qemu;
                unstarted.unwrap_or_default()
            }
            (Some(exit), _) if !exit.success() => {
                class = Failure::Qemu;
                format!("QEMU ended ({exit})")
            }
            (_, Some(doom)) => {
                if doom == STOPPED {
                    class = Failure::Qemu;
                }
                doom.to_owned()
            }
            _ => format!("{} s were not enough", limit.as_secs()),
        };
        let mut reason = format!("waited for {what}, but {how}");
        if what == "SSH" && self.prepared.key.is_none() {
            reason = "SSH is asked for, but the machine was started without a key".to_owned();
        } else if let Some(words) = last_words(&self.prepared.dir).filter(|_| what == "SSH") {
            reason = format!("{reason} (the client's last words: {words})");
        }
        let shown = seen.lines.len().saturating_sub(SHOWN_LINES);
        let mut last_lines = seen.lines[shown..].to_vec();
        if !seen.partial.is_empty() {
            last_lines.push(seen.partial.clone());
        }
        BootFailure {
            class,
            reason,
            last_lines,
            log: self.prepared.dir.join(SERIAL_LOG),
            qemu: fs::read_to_string(self.prepared.dir.join("qemu.log")).unwrap_or_default(),
            commands: self.prepared.dir.join(COMMANDS),
            replay: self.machine.replay.clone(),
        }
        .into()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.ssh = None;
        // The overlay is of no use without the machine, and large; the logs stay.
        if !thread::panicking() {
            let _ = fs::remove_file(self.prepared.dir.join(OVERLAY));
        }
    }
}

/// `Some(true)` when what was waited for is there, `Some(false)` when it never will be.
fn answer(seen: &Seen, found: bool) -> Option<bool> {
    if found { Some(true) } else { doom(seen).map(|_| false) }
}

/// We never pause a machine; QEMU does when its processor cannot go on.
const STOPPED: &str = "QEMU stopped the machine";

/// Why nothing more is to be expected of this guest.
fn doom(seen: &Seen) -> Option<&'static str> {
    if seen.events.iter().any(|e| e.name == "GUEST_PANICKED") || seen.find("Kernel panic - not syncing", 0).is_some() {
        return Some("its kernel panicked");
    }
    if seen.lines.iter().any(|l| first_stage_error(l)) {
        return Some("the first stage gave up");
    }
    // EDK II falls back to its shell when no boot option starts.
    if seen.find("UEFI Interactive Shell", 0).is_some() {
        return Some("the firmware found nothing to boot");
    }
    if seen.find("You are in emergency mode", 0).is_some() {
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

const COMMANDS: &str = "qemu.txt";

/// Notes both command lines: as the driver starts it, and for a terminal.
fn write_commands(machine: &Machine, accel: Accel, prepared: &Prepared) -> Result<(), Error> {
    let line = |console| shell_line(&program(machine.arch), &command_line(machine, accel, &prepared.files, console));
    let text = format!(
        "# again, with everything around it\n{}\n\n\
         # QEMU itself; it saw {} as /vm/machine, {} as /vm/disk.raw, and a folder for sockets as /vm/sockets\n\
         # on a terminal, over the same overlay:\n{}\n\
         # as the driver started it:\n{}\n",
        machine.replay,
        prepared.dir.display(),
        prepared.disk.display(),
        line(Console::Terminal),
        line(Console::Driver)
    );
    let path = prepared.dir.join(COMMANDS);
    fs::write(&path, text).map_err(Error::io("write", &path))
}

fn create(path: &Path) -> Result<File, Error> {
    File::create(path).map_err(Error::io("write", path))
}

fn qemu_call(machine: &Machine, prepared: &Prepared, args: Vec<String>) -> Call {
    Call::new(program(machine.arch), args)
        .uses(Uses::disk(&prepared.disk))
        .uses(Uses::machine(&prepared.dir))
        .uses(Uses::sockets(prepared.sockets.path()))
        .uses(Uses::kvm())
        .with_network(matches!(machine.network, Network::User { .. }))
}

/// A machine whose serial console is the user's terminal.
#[derive(Debug)]
pub struct Terminal {
    call: Call,
    tools: Tools,
    hint: String,
    prepared: Prepared,
}

impl Terminal {
    /// Makes everything ready.
    ///
    /// # Errors
    /// As [`Guest::start`].
    pub fn prepare(machine: &Machine, tools: &Tools, accel: Accel) -> Result<Self, Error> {
        let prepared = prepare(machine, tools, true)?;
        write_commands(machine, accel, &prepared)?;
        let args = command_line(machine, accel, &prepared.files, Console::Terminal);
        let call = qemu_call(machine, &prepared, args).on_terminal();
        let hint = hint(machine, &prepared);
        Ok(Self { call, tools: tools.clone(), hint, prepared })
    }

    /// How to reach the guest and how to leave the console; for the user to read before the console takes the screen.
    #[must_use]
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// Runs the machine until it ends.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub fn run(self) -> Result<Exit, Error> {
        let mut qemu = self.tools.spawn(&self.call, Io::inherit())?;
        let exit = qemu.wait()?;
        let _ = fs::remove_file(self.prepared.dir.join(OVERLAY));
        Ok(exit)
    }
}

fn hint(machine: &Machine, prepared: &Prepared) -> String {
    let mut lines = Vec::new();
    let forward = match &machine.network {
        Network::User { forwards } => forwards.iter().find(|f| f.guest == 22),
        _ => None,
    };
    if let (Some(f), Some(key)) = (forward, &prepared.key) {
        let args = [
            "-i",
            &key.private.display().to_string(),
            "-p",
            &f.host.to_string(),
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "root@127.0.0.1",
        ]
        .map(str::to_owned);
        lines.push(format!("shell, by the network: {}", shell_line("ssh", &args)));
    }
    if let Some(route) = Route::of(prepared) {
        lines.push(format!("shell, without network: {}", route.shell_line()));
    }
    lines.push("to leave: Ctrl-A X ends the machine, Ctrl-A C is QEMU's monitor".to_owned());
    lines.join("\n")
}
