//! What can go wrong, in words for the user.

use crate::failure::BootFailure;
use sandbox::Exit;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Why a machine could not be run, or what its guest failed to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or a process of the host.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// A program ended badly.
    #[error("`{program}` failed ({exit}): {said}")]
    Program {
        /// Its name.
        program: String,
        /// How it ended.
        exit: Exit,
        /// What it wrote to its standard error.
        said: String,
    },
    /// The sandbox that the toolbox's programs run in.
    #[error(transparent)]
    Sandbox(#[from] sandbox::Error),
    /// The control socket.
    #[error("{0}")]
    Qmp(String),
    /// The disk image is not one of ours.
    #[error("{} cannot be booted: {reason}", disk.display())]
    Disk {
        /// The image.
        disk: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// What an earlier machine was to leave is not there.
    #[error("no machine can go on from {}: {reason}", path.display())]
    Left {
        /// What was looked for.
        path: PathBuf,
        /// Why it is not there, or is no use.
        reason: String,
    },
    /// A record of writes that QEMU does not write so.
    #[error("{} is no record of what a guest has written: at byte {at}, {reason}; record it anew", path.display())]
    Writes {
        /// The record.
        path: PathBuf,
        /// Where in it.
        at: u64,
        /// What is wrong there.
        reason: String,
    },
    /// Files that do not make a CONFIG partition.
    #[error("cannot make the CONFIG partition: {problem}")]
    Config {
        /// What is wrong with them.
        problem: String,
    },
    /// The guest did not get where it should.
    #[error(transparent)]
    Boot(Box<BootFailure>),
    /// A command in the guest took too long.
    #[error("`{command}` did not end in the guest within {} s", limit.as_secs())]
    CommandTimeout {
        /// The command.
        command: String,
        /// How long it had.
        limit: Duration,
    },
    /// A command in the guest failed although the caller relies on it.
    #[error("`{command}` failed in the guest ({}): {said}", status.map_or("killed by a signal".to_owned(), |s| format!("exit code {s}")))]
    Command {
        /// The command.
        command: String,
        /// Its exit code.
        status: Option<i32>,
        /// What it wrote.
        said: String,
    },
}

impl Error {
    /// For `map_err`: an [`io::Error`] with what was being done to what.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

impl From<BootFailure> for Error {
    fn from(failure: BootFailure) -> Self {
        Self::Boot(Box::new(failure))
    }
}
