//! Where QEMU and its companions come from, and how they are started.
//!
//! ```text
//!   the host's path            as a program of the toolbox sees it
//!   Machine::dir         ──►   /vm/machine
//!   the sockets' folder  ──►   /vm/sockets
//!   Machine::disk        ──►   /vm/disk.raw       (read-only)
//!   State::Saved's       ──►   /vm/saved          (read-only)
//!                              /etc               a user, and the host's name servers
//! ```
//! The host's programs, when they are wanted, run in the same sandbox with the host's own root: whatever they are, they end
//! with the program that started them.

use crate::{Error, Firmware, machine::program};
use sandbox::{Bind, Exit, Io, Sandbox};
use std::{
    env, fs,
    io::{Read, Write as _},
    path::{Path, PathBuf},
    process::{ChildStderr, ChildStdin, ChildStdout, Stdio},
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};
use types::{Arch, Cancel};

/// Environment variable with which a user chooses the host's own QEMU.
pub const QEMU_VARIABLE: &str = "EVEK_QEMU";

/// The source of `qemu-system-*`, `qemu-img`, `qemu-io`, `ssh`, `ssh-keygen`, `socat`, `sh` and the firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tools {
    /// The unpacked toolbox: the same programs on every host, run in the sandbox.
    Toolbox {
        /// The toolbox's root folder.
        root: PathBuf,
        /// A program whose `main` calls `sandbox::maybe_enter` first; the running one when `None`.
        entry: Option<PathBuf>,
    },
    /// The host's programs, where distributions put them.
    Host {
        /// As for the toolbox.
        entry: Option<PathBuf>,
    },
}

/// A file or folder of the host that a program uses.
#[derive(Debug, Clone)]
pub(crate) struct Uses {
    host: PathBuf,
    inside: &'static str,
    writable: bool,
}

impl Uses {
    /// Where the program sees it.
    pub(crate) fn view(&self) -> &'static Path {
        Path::new(self.inside)
    }

    pub(crate) fn machine(dir: &Path) -> Self {
        Self { host: dir.to_owned(), inside: "/vm/machine", writable: true }
    }

    pub(crate) fn sockets(dir: &Path) -> Self {
        Self { host: dir.to_owned(), inside: "/vm/sockets", writable: true }
    }

    pub(crate) fn disk(image: &Path) -> Self {
        Self { host: image.to_owned(), inside: "/vm/disk.raw", writable: false }
    }

    pub(crate) fn saved(dir: &Path) -> Self {
        Self { host: dir.to_owned(), inside: "/vm/saved", writable: false }
    }

    pub(crate) fn kvm() -> Self {
        Self { host: "/dev/kvm".into(), inside: "/dev/kvm", writable: true }
    }
}

/// A program to be started.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    program: String,
    args: Vec<String>,
    uses: Vec<Uses>,
    network: bool,
    terminal: bool,
}

impl Call {
    pub(crate) fn new(program: impl Into<String>, args: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let args = args.into_iter().map(Into::into).collect();
        Self { program: program.into(), args, uses: Vec::new(), network: false, terminal: false }
    }

    pub(crate) fn uses(mut self, what: Uses) -> Self {
        self.uses.push(what);
        self
    }

    /// With the host's network.
    pub(crate) fn with_network(mut self, network: bool) -> Self {
        self.network = network;
        self
    }

    /// In the foreground of the user's terminal.
    pub(crate) fn on_terminal(mut self) -> Self {
        self.terminal = true;
        self
    }
}

/// What a program said and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
}

/// A started program. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Running {
    child: sandbox::Child,
    /// Its `/etc`.
    _etc: tempfile::TempDir,
}

impl Tools {
    /// The toolbox in `root`, unless the user has set `EVEK_QEMU=host`.
    #[must_use]
    pub fn choose(root: &Path) -> Self {
        match env::var_os(QEMU_VARIABLE) {
            Some(value) if value == "host" => Self::Host { entry: None },
            _ => Self::Toolbox { root: root.to_owned(), entry: None },
        }
    }

    /// With another program than the running one to enter the sandbox by, as a test's binary needs it.
    #[must_use]
    pub fn entered_by(self, program: &Path) -> Self {
        match self {
            Self::Toolbox { root, .. } => Self::Toolbox { root, entry: Some(program.to_owned()) },
            Self::Host { .. } => Self::Host { entry: Some(program.to_owned()) },
        }
    }

    fn root(&self) -> (&Path, Option<&PathBuf>) {
        match self {
            Self::Toolbox { root, entry } => (root, entry.as_ref()),
            Self::Host { entry } => (Path::new("/"), entry.as_ref()),
        }
    }

    /// A file that belongs to the tools, such as firmware, as a path on the host.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.root().0.join(path.trim_start_matches('/'))
    }

    /// The files that decide what a machine of an architecture is: QEMU's program, the TPM's and the firmware.
    #[must_use]
    pub fn files(&self, arch: Arch, firmware: &Firmware) -> Vec<PathBuf> {
        let qemu = format!("/usr/bin/{}", program(arch));
        [qemu.as_str(), "/usr/bin/swtpm", firmware.code(arch)].iter().map(|path| self.file(path)).collect()
    }

    /// Starts a program. The calling thread must live as long as the program shall.
    pub(crate) fn spawn(&self, call: &Call, io: Io) -> Result<Running, Error> {
        let etc = tempfile::tempdir().map_err(Error::io("make a folder in", &env::temp_dir()))?;
        write_etc(etc.path())?;
        let (root, entry) = self.root();
        let mut sandbox = Sandbox::new(root).env("SHELL", "/bin/sh").bind(Bind::read_only(etc.path(), "/etc"));
        for uses in call.uses.iter().filter(|u| u.host.exists()) {
            let (source, target, writable) = (uses.host.clone(), uses.inside.into(), uses.writable);
            sandbox.binds.push(Bind { source, target, writable });
        }
        if call.network {
            sandbox.network = sandbox::Network::Host;
        }
        sandbox.interactive = call.terminal;
        sandbox.entry = entry.cloned();
        let argv = std::iter::once(&call.program).chain(&call.args).cloned();
        Ok(Running { child: sandbox.spawn(argv, io)?, _etc: etc })
    }

    /// Runs a program to its end, which must be a good one.
    pub(crate) fn run(&self, call: &Call) -> Result<(), Error> {
        // Long enough for any of them on the slowest disk; none of them waits for anything.
        let limit = Duration::from_secs(300);
        let program = call.program.clone();
        match self.run_within(call, &[], limit)? {
            Some(ended) if ended.exit.success() => Ok(()),
            Some(ended) => {
                let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
                Err(Error::Program { program, exit: ended.exit, said })
            }
            None => Err(Error::Program {
                program,
                exit: Exit::Signal(9),
                said: format!("it did not end within {} s", limit.as_secs()),
            }),
        }
    }

    /// Runs a program, however it ends; `None` when it had to be killed because `limit` was over.
    pub(crate) fn run_within(&self, call: &Call, input: &[u8], limit: Duration) -> Result<Option<Ended>, Error> {
        let mut running = self.spawn(call, piped())?;
        if let Some(mut stdin) = running.stdin() {
            let input = input.to_vec();
            // A program that ends without reading everything is its own affair.
            thread::spawn(move || stdin.write_all(&input));
        }
        // The program closes its streams when it ends; they are waited for with a limit.
        let (done, ended) = channel();
        let streams: [Option<Box<dyn Read + Send>>; 2] =
            [running.stdout().map(|s| Box::new(s) as _), running.stderr().map(|s| Box::new(s) as _)];
        for (i, stream) in streams.into_iter().enumerate() {
            let done = done.clone();
            thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = stream.map(|mut s| s.read_to_end(&mut bytes));
                let _ = done.send((i, bytes));
            });
        }
        let deadline = Instant::now() + limit;
        let mut said = [Vec::new(), Vec::new()];
        for _ in 0..2 {
            match ended.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok((i, bytes)) => said[i] = bytes,
                Err(_) => return Ok(None),
            }
        }
        let exit = running.wait()?;
        let [stdout, stderr] = said;
        Ok(Some(Ended { exit, stdout, stderr }))
    }
}

/// Nothing to read, everything it says to be read.
pub(crate) fn heard() -> Io {
    Io { stdin: Stdio::null(), stdout: Stdio::piped(), stderr: Stdio::piped() }
}

fn piped() -> Io {
    Io { stdin: Stdio::piped(), stdout: Stdio::piped(), stderr: Stdio::piped() }
}

/// `ssh` refuses to work for a user that has no name, and QEMU's own DHCP tells guests the host's name servers.
fn write_etc(etc: &Path) -> Result<(), Error> {
    let write = |name: &str, text: &[u8]| {
        let path = etc.join(name);
        fs::write(&path, text).map_err(Error::io("write", &path))
    };
    write("passwd", b"root:x:0:0:root:/tmp:/bin/sh\n")?;
    write("group", b"root:x:0:\n")?;
    match fs::read("/etc/resolv.conf") {
        Ok(text) => write("resolv.conf", &text),
        Err(_) => Ok(()),
    }
}

impl Running {
    pub(crate) fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin()
    }

    pub(crate) fn stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout()
    }

    pub(crate) fn stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> Result<Exit, Error> {
        Ok(self.child.wait(&Cancel::default())?)
    }

    /// It has not ended yet.
    pub(crate) fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}
