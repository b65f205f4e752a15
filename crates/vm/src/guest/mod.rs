//! A running machine.

mod saved;
mod terminal;
mod wait;

use crate::{
    Error, Left, Machine, Network, State,
    accel::Accel,
    console::{OnLine, Seen, Watch},
    failure::{BootFailure, Failure, SHOWN_LINES, classify},
    machine::{Console, command_line, program, shell_line},
    prepare::{OVERLAY, Prepared, QMP_SOCKET, SERIAL_LOG, prepare},
    qmp::{Event, Qmp},
    ssh::{Output, Route, Ssh, last_words},
    tools::{Call, Running, Tools, Uses},
};
use sandbox::{Exit, Io};
use serde_json::Value;
use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    process::{ChildStdin, Stdio},
    thread,
    time::{Duration, Instant},
};
pub use terminal::Terminal;
pub use wait::Until;
use wait::{STOPPED, doom};

/// A running machine. Dropping it kills its QEMU, and only that. The thread that starts it must live as long as it.
#[derive(Debug)]
pub struct Guest {
    machine: Machine,
    tools: Tools,
    prepared: Prepared,
    qemu: Running,
    /// What goes to the serial console.
    keyboard: Option<ChildStdin>,
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
    /// run shows at the first [`wait_for`](Self::wait_for), as [`Failure::Qemu`]. [`Error::Left`] when a saved machine cannot be
    /// restored.
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
            tools.spawn(&call, Io { stdin: Stdio::piped(), stdout: Stdio::piped(), stderr: errors.into() })?;
        let keyboard = qemu.stdin();
        if let Some(serial) = qemu.stdout() {
            let watch = watch.clone();
            thread::spawn(move || watch.feed_serial(serial, log, on_line));
        }
        let (machine, tools) = (machine.clone(), tools.clone());
        let mut guest = Self { machine, tools, prepared, qemu, keyboard, ended: None, qmp, watch, ssh: None };
        if let State::Saved { from } = guest.machine.state.clone() {
            guest.restore(&from)?;
        }
        Ok(guest)
    }

    /// Waits for something to happen, no longer than `limit`.
    ///
    /// # Errors
    /// [`Error::Boot`] when the time is over, and at once when it can no longer happen: the kernel panicked, the first
    /// stage gave up or QEMU ended. A panic ends no wait for a machine that [reboots](Machine::reboots).
    pub fn wait_for(&mut self, until: Until<'_>, limit: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + limit;
        if until == Until::Ssh {
            return self.connect(deadline, limit);
        }
        let reboots = self.machine.reboots;
        match self.watch.until(deadline, |seen| until.answer(seen, reboots)) {
            Some(true) => Ok(()),
            _ => Err(self.failure(&until.to_string(), limit)),
        }
    }

    /// Runs a command by root's shell in the guest; one minute is enough for it and, before the first one, for SSH. When no
    /// answer comes it is run once more over a new connection, so it must be one that can be run twice; but not in a guest
    /// that has restarted meanwhile. For one that restarts the guest there is [`restart`](Self::restart).
    ///
    /// # Errors
    /// [`Error::CommandTimeout`]; [`Error::Boot`] when there is no SSH. That the command fails is no error here.
    pub fn ssh(&mut self, command: &str) -> Result<Output, Error> {
        let limit = Duration::from_secs(60);
        let restarts = self.restarts();
        match self.ssh_within(command, &[], limit) {
            Err(Error::CommandTimeout { .. }) if self.restarts() == restarts => {
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

    /// Runs a command that restarts the guest, and waits until it has; what the command says is lost. The machine must be one
    /// that [reboots](Machine::reboots).
    ///
    /// # Errors
    /// [`Error::Boot`] when the guest has not restarted within `limit`, or there is no SSH.
    pub fn restart(&mut self, command: &str, limit: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + limit;
        self.connect(deadline, limit)?;
        let next = self.restarts() + 1;
        let running = self.ssh.as_ref().map(|ssh| ssh.start(&self.tools, command)).transpose()?;
        let restarted = self.wait_for(Until::Restarts(next), deadline.saturating_duration_since(Instant::now()));
        drop(running);
        // The client of the guest before would answer the new one's server.
        self.ssh = None;
        restarted
    }

    /// How often the machine was reset since it was switched on: by the guest, the firmware, a panic or the watchdog. Only of
    /// a machine that [reboots](Machine::reboots).
    #[must_use]
    pub fn restarts(&self) -> usize {
        self.watch.look().restarts()
    }

    /// Lines of the serial console between a restart and the next; those before the first one for 0.
    #[must_use]
    pub fn serial_lines_of(&self, restart: usize) -> Vec<String> {
        self.watch.look().lines_of(restart).to_vec()
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

    /// Types a line at the serial console.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub fn types(&mut self, line: &str) -> Result<(), Error> {
        self.presses(&format!("{line}\r"))
    }

    /// Presses keys of the serial console's terminal, as it sends them.
    ///
    /// # Errors
    /// When QEMU is gone.
    pub fn presses(&mut self, keys: &str) -> Result<(), Error> {
        let keyboard = self.keyboard.as_mut().ok_or_else(|| Error::Qmp("QEMU takes no input".to_owned()))?;
        keyboard.write_all(keys.as_bytes()).map_err(Error::io("type at", Path::new("the serial console")))
    }

    /// Plugs in a device: its driver, and properties of it (QEMU, `device_add`).
    ///
    /// # Errors
    /// When QEMU does not take it.
    pub fn plug(&mut self, driver: &str, properties: &[(&str, &str)]) -> Result<(), Error> {
        let properties = properties.iter().copied().chain([("driver", driver)]);
        let arguments = properties.map(|(name, value)| (name.to_owned(), value.into())).collect();
        self.qmp.execute_with("device_add", &Value::Object(arguments)).map(drop)
    }

    /// Presses the power button and waits until the guest has switched itself off.
    ///
    /// # Errors
    /// [`Error::Boot`] when it has not done so within `limit`; QEMU is gone then all the same.
    pub fn stop(mut self, limit: Duration) -> Result<Left, Error> {
        self.ssh = None;
        let deadline = Instant::now() + limit;
        self.qmp.execute("system_powerdown")?;
        let off = self
            .watch
            .until(deadline, |seen| (seen.closed || seen.events.iter().any(|e| e.name == "SHUTDOWN")).then_some(()));
        let left = self.left();
        let result = off.map(|()| left).ok_or_else(|| self.failure("the guest to switch itself off", limit));
        // QEMU ends with the guest's shutdown. Without one the driver asks it to end, and `drop` kills it where it does not.
        let grace = Duration::from_secs(10);
        if result.is_err() && self.qmp.execute("quit").is_err() {
            return result;
        }
        self.watch.until(Instant::now() + grace, |seen| seen.closed.then_some(()));
        result
    }

    /// Ends QEMU as a power cut ends a device: at once, with whatever was on its disk. Where writes are noted, those under way
    /// are done and noted first, and QEMU notes a last flush which the guest has not asked for.
    pub fn cut_power(mut self) -> Left {
        if self.machine.records {
            // A QEMU that does not answer is gone, or as good as that; its record is read as far as it goes.
            let _ = self.qmp.execute("stop");
        }
        self.left()
    }

    /// What it will have left once it has ended.
    fn left(&self) -> Left {
        Left {
            tools: self.tools.clone(),
            dir: self.prepared.dir.clone(),
            image: self.prepared.disk.clone(),
            saved: self.prepared.saved.clone(),
            keeps: self.machine.keeps,
            records: self.machine.records,
        }
    }

    /// The folder with the logs, the overlay and `qemu.txt`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.prepared.dir
    }

    /// Has SSH ready.
    fn connect(&mut self, deadline: Instant, limit: Duration) -> Result<(), Error> {
        let resets = self.watch.look().resets();
        if self.ssh.as_mut().is_some_and(|ssh| ssh.reaches(resets)) {
            return Ok(());
        }
        self.ssh = None;
        if let Some(route) = Route::of(&self.prepared) {
            let doomed = |seen: &Seen| doom(seen, self.machine.reboots).is_some();
            self.ssh = Ssh::connect(&self.tools, &route, &self.watch, deadline, doomed)?;
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
        let doomed = doom(&seen, self.machine.reboots);
        let mut class = classify(seen.now());
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
        if !seen.partial().is_empty() {
            last_lines.push(seen.partial().to_owned());
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
        if !self.machine.keeps && !thread::panicking() {
            let _ = fs::remove_file(self.prepared.dir.join(OVERLAY));
        }
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
    let call = Call::new(program(machine.arch), args);
    let call = match &prepared.saved {
        Some(saved) => call.uses(Uses::saved(saved)),
        None => call,
    };
    call.uses(Uses::disk(&prepared.disk))
        .uses(Uses::machine(&prepared.dir))
        .uses(Uses::sockets(prepared.sockets.path()))
        .uses(Uses::kvm())
        .with_network(matches!(machine.network, Network::User { .. }))
}
