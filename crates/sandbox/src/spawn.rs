use crate::{
    Error, NoNamespaces, Sandbox,
    job::{Desk, Job, Kind, Report},
    stage,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, getpid, kill_process, pidfd_open},
};
use std::{
    fs,
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    process::{ChildStderr, ChildStdin, ChildStdout, Stdio},
    thread,
};
use types::Cancel;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It ended with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl Exit {
    /// Whether it ended with code 0.
    #[must_use]
    pub const fn success(self) -> bool {
        matches!(self, Self::Code(0))
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "killed by signal {signal}"),
        }
    }
}

/// The command's standard streams.
#[derive(Debug)]
pub struct Io {
    /// What it reads.
    pub stdin: Stdio,
    /// Where its output goes.
    pub stdout: Stdio,
    /// Where its complaints go.
    pub stderr: Stdio,
}

impl Io {
    /// Reads nothing; writes everything to one file, such as a step's log.
    ///
    /// # Errors
    /// When the file's handle cannot be copied.
    pub fn log(file: &fs::File) -> Result<Self, Error> {
        let copy = || file.try_clone().map(Stdio::from).map_err(Error::io("copy the handle of", "the log"));
        Ok(Self { stdin: Stdio::null(), stdout: copy()?, stderr: copy()? })
    }

    /// The caller's own streams, for a shell.
    #[must_use]
    pub fn inherit() -> Self {
        Self { stdin: Stdio::inherit(), stdout: Stdio::inherit(), stderr: Stdio::inherit() }
    }
}

/// What a command wrote, and how it ended.
#[derive(Debug)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

/// A running command. Dropped, it is killed with everything it started. The thread that spawned it must outlive it: the kernel's
/// kill signal at the parent's death means that thread (prctl(2), PR_SET_PDEATHSIG).
#[derive(Debug)]
pub struct Child {
    outer: std::process::Child,
    desk: tempfile::TempDir,
    program: String,
    ended: bool,
}

impl Sandbox {
    /// Starts a command. The program is looked for in the `PATH` inside.
    ///
    /// # Errors
    /// When the first stage cannot be started; [`Child::wait`] returns later failures.
    pub fn spawn<S: Into<String>>(&self, argv: impl IntoIterator<Item = S>, io: Io) -> Result<Child, Error> {
        self.start(Kind::Best, argv.into_iter().map(Into::into).collect(), io)
    }

    /// Runs a command to its end.
    ///
    /// # Errors
    /// When it could not be run, or when cancelled. A command that fails is no error.
    pub fn run<S: Into<String>>(
        &self,
        argv: impl IntoIterator<Item = S>,
        io: Io,
        cancel: &Cancel,
    ) -> Result<Exit, Error> {
        self.spawn(argv, io)?.wait(cancel)
    }

    /// Runs a command that reads `input`, and keeps what it writes in memory.
    ///
    /// # Errors
    /// As [`Sandbox::run`].
    pub fn output<S: Into<String>>(
        &self,
        argv: impl IntoIterator<Item = S>,
        input: &[u8],
        cancel: &Cancel,
    ) -> Result<Output, Error> {
        let io = Io { stdin: Stdio::piped(), stdout: Stdio::piped(), stderr: Stdio::piped() };
        let mut child = self.spawn(argv, io)?;
        let (stdin, stdout, stderr) = (child.stdin(), child.stdout(), child.stderr());
        thread::scope(|scope| {
            // a command need not read all of its input
            scope.spawn(move || stdin.map(|mut pipe| pipe.write_all(input)));
            let out = scope.spawn(move || read(stdout));
            let err = scope.spawn(move || read(stderr));
            let exit = child.wait(cancel)?;
            let gone = |_| Error::Killed { program: "output".into() };
            let failed = Error::io;
            let stdout = out.join().map_err(gone)?.map_err(failed("read", "standard output"))?;
            let stderr = err.join().map_err(|_| Error::Killed { program: "output".into() })?;
            Ok(Output { exit, stdout, stderr: stderr.map_err(failed("read", "standard error"))? })
        })
    }

    pub(crate) fn start(&self, kind: Kind, argv: Vec<String>, io: Io) -> Result<Child, Error> {
        let desk = tempfile::Builder::new()
            .prefix("evek-sandbox-")
            .tempdir()
            .map_err(Error::io("create a folder in", std::env::temp_dir()))?;
        // the working directory of the stages is the caller's, but what they mount must not depend on it
        let absolute = |path: &std::path::Path| std::path::absolute(path).map_err(Error::io("find", path));
        let mut binds = self.binds.clone();
        for bind in &mut binds {
            bind.source = absolute(&bind.source)?;
        }
        let mut overlays = self.overlays.clone();
        for overlay in &mut overlays {
            for path in overlay.lower.iter_mut().chain([&mut overlay.upper, &mut overlay.work]) {
                *path = absolute(path)?;
            }
        }
        let program = argv.first().cloned().unwrap_or_default();
        let job = Job {
            kind,
            caller: getpid().as_raw_pid(),
            root: absolute(&self.root)?,
            binds,
            overlays,
            env: self.environment(),
            cwd: self.cwd.clone(),
            network: self.network,
            nested: self.nested,
            tmp: self.tmp.as_deref().map(absolute).transpose()?,
            argv,
        };
        Desk(desk.path()).write_job(&job).map_err(Error::io("write into", desk.path()))?;
        let mut command = stage::command(self.entry.as_deref(), desk.path());
        command.stdin(io.stdin).stdout(io.stdout).stderr(io.stderr);
        if !self.interactive {
            // Ctrl-C goes to the caller alone, who then ends its children in order
            command.process_group(0);
        }
        let entry = self.entry.clone().unwrap_or_else(|| stage::SELF.into());
        let outer = command.spawn().map_err(Error::io("start", entry))?;
        Ok(Child { outer, desk, program, ended: false })
    }
}

fn read(pipe: Option<impl io::Read>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    pipe.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut bytes))?;
    Ok(bytes)
}

impl Child {
    /// The command's standard input, when it was asked for as a pipe; only once.
    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.outer.stdin.take()
    }

    /// The command's standard output, when it was asked for as a pipe; only once.
    pub fn stdout(&mut self) -> Option<ChildStdout> {
        self.outer.stdout.take()
    }

    /// The command's standard error, when it was asked for as a pipe; only once.
    pub fn stderr(&mut self) -> Option<ChildStderr> {
        self.outer.stderr.take()
    }

    /// Waits for the end; when cancelled, kills everything inside and returns once it is dead.
    ///
    /// # Errors
    /// When the command could not be run, or when cancelled.
    pub fn wait(&mut self, cancel: &Cancel) -> Result<Exit, Error> {
        let id = self.outer.id().cast_signed();
        let waiting = |e: rustix::io::Errno| Error::io("wait for", "the sandbox")(e.into());
        let pid = Pid::from_raw(id).ok_or_else(|| Error::Killed { program: self.program.clone() })?;
        if !self.ended {
            let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(waiting)?;
            loop {
                if cancel.is_cancelled() {
                    self.kill()?;
                    return Err(Error::Cancelled);
                }
                let tick = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
                match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&tick)) {
                    Ok(0) | Err(rustix::io::Errno::INTR) => {}
                    Ok(_) => break,
                    Err(e) => return Err(waiting(e)),
                }
            }
            self.outer.wait().map_err(Error::io("wait for", "the sandbox"))?;
            self.ended = true;
        }
        self.outcome()
    }

    /// The end, when it has come.
    ///
    /// # Errors
    /// As [`Child::wait`].
    pub fn try_wait(&mut self) -> Result<Option<Exit>, Error> {
        if !self.ended && self.outer.try_wait().map_err(Error::io("wait for", "the sandbox"))?.is_none() {
            return Ok(None);
        }
        self.ended = true;
        self.outcome().map(Some)
    }

    /// Kills everything inside and returns once it is dead.
    ///
    /// # Errors
    /// When waiting fails.
    pub fn kill(&mut self) -> Result<(), Error> {
        while !self.ended {
            // Killing PID 1 inside kills everything inside, and its parent sees its end only when all are dead
            // (pid_namespaces(7)); its parent is still there, so the number is not another's yet.
            match Desk(self.desk.path()).read_init().and_then(Pid::from_raw) {
                Some(init) => drop(kill_process(init, Signal::KILL)),
                // not that far yet; whatever it starts from here on dies with it
                None => drop(self.outer.kill()),
            }
            self.outer.wait().map_err(Error::io("wait for", "the sandbox"))?;
            self.ended = true;
        }
        Ok(())
    }

    fn outcome(&self) -> Result<Exit, Error> {
        let os = io::Error::from_raw_os_error;
        let program = || self.program.clone();
        match Desk(self.desk.path()).read_report().map_err(Error::io("read the report in", self.desk.path()))? {
            None => Err(Error::Killed { program: program() }),
            Some(Report::Code(code)) => Ok(Exit::Code(code)),
            Some(Report::Signal(signal)) => Ok(Exit::Signal(signal)),
            Some(Report::NoNamespaces { errno }) => {
                Err(Error::NoNamespaces { advice: NoNamespaces::here(), source: os(errno) })
            }
            Some(Report::Setup { doing, source }) => Err(Error::Setup { doing, source: source.into() }),
            Some(Report::Program { errno }) => Err(Error::Program { program: program(), source: os(errno) }),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // what cannot be killed here dies with the caller
        let _ = self.kill();
    }
}
