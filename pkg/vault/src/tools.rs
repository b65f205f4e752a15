//! The commands of the system. No key is an argument, because everyone can read arguments: keys go through standard input, or
//! through a file that only root can read.

use crate::{error::Error, paths::Paths};
use std::{
    ffi::OsStr,
    io::{self, Write as _},
    process::{Child, Command, ExitStatus, Stdio},
};

/// A command before it runs.
pub(crate) struct Tool {
    command: Command,
    input: Vec<u8>,
}

/// The end of a command.
#[derive(Debug)]
pub(crate) struct Outcome {
    status: ExitStatus,
    command: String,
    /// Standard output.
    pub(crate) answer: String,
    /// Standard error.
    pub(crate) talk: String,
}

impl Paths {
    pub(crate) fn tool(&self, program: &str) -> Tool {
        let found = self.commands.iter().map(|folder| folder.join(program)).find(|path| path.exists());
        // a command that is in no folder fails, and the error has its name
        let path = found.unwrap_or_else(|| std::path::Path::new("/").join(program));
        Tool { command: Command::new(path), input: Vec::new() }
    }
}

impl Tool {
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Its standard input. It must be short: it is written before the answer is read.
    pub(crate) fn input(mut self, bytes: &[u8]) -> Self {
        self.input = bytes.to_vec();
        self
    }

    /// Starts it, for an answer that may take long.
    pub(crate) fn start(mut self) -> Result<Child, Error> {
        let words = words(&self.command);
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        self.command.spawn().map_err(|e| Error::Command { command: words, problem: e.to_string() })
    }

    /// Runs it to its end, good or bad.
    pub(crate) fn end(mut self) -> Result<Outcome, Error> {
        let words = words(&self.command);
        let failed = |e: io::Error| Error::Command { command: words.clone(), problem: e.to_string() };
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().map_err(failed)?;
        if let Some(mut input) = child.stdin.take() {
            match input.write_all(&self.input) {
                // the command ended early, and has printed why
                Err(e) if e.kind() != io::ErrorKind::BrokenPipe => return Err(failed(e)),
                _ => {}
            }
        }
        let output = child.wait_with_output().map_err(failed)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        let (answer, talk) = (text(&output.stdout), text(&output.stderr));
        Ok(Outcome { status: output.status, command: words, answer, talk })
    }

    /// Runs it to a good end, and returns its answer.
    pub(crate) fn run(self) -> Result<String, Error> {
        Ok(self.end()?.good()?.answer)
    }
}

impl Outcome {
    pub(crate) fn is_good(&self) -> bool {
        self.status.success()
    }

    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Turns a bad end into an error.
    pub(crate) fn good(self) -> Result<Self, Error> {
        if self.is_good() {
            return Ok(self);
        }
        let problem = if self.talk.is_empty() { self.status.to_string() } else { self.talk };
        Err(Error::Command { command: self.command, problem })
    }
}

/// The command line, as one would type it.
fn words(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
