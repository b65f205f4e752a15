//! The order to the stages and their report: two small files in a folder of the caller's.

use crate::{Bind, Network, Overlay};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// Which namespaces to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// With a user namespace where the host has them; without where it does not and we are root.
    Best,
    /// With a user namespace.
    User,
    /// Without; only root can.
    Plain,
}

/// Everything the stages need to know.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) kind: Kind,
    pub(crate) caller: i32,
    pub(crate) root: PathBuf,
    pub(crate) binds: Vec<Bind>,
    pub(crate) overlays: Vec<Overlay>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) cwd: PathBuf,
    pub(crate) network: Network,
    pub(crate) tmp: Option<PathBuf>,
    pub(crate) nested: bool,
    /// Empty: only build the sandbox, to see whether that works.
    pub(crate) argv: Vec<String>,
}

/// What the system said; a number where it has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Source {
    Errno(i32),
    Text(String),
}

impl From<&io::Error> for Source {
    fn from(e: &io::Error) -> Self {
        e.raw_os_error().map_or_else(|| Self::Text(e.to_string()), Self::Errno)
    }
}

impl From<Source> for io::Error {
    fn from(source: Source) -> Self {
        match source {
            Source::Errno(n) => Self::from_raw_os_error(n),
            Source::Text(text) => Self::other(text),
        }
    }
}

/// How it ended, as the last stage knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The command exited; also the report of a sandbox that was only built.
    Code(i32),
    /// A signal ended the command.
    Signal(i32),
    /// No namespaces.
    NoNamespaces { errno: i32 },
    /// A step of building the sandbox failed.
    Setup { doing: String, source: Source },
    /// The command could not be started.
    Program { errno: i32 },
}

/// The folder that caller and stages share.
pub(crate) struct Desk<'a>(pub(crate) &'a Path);

impl Desk<'_> {
    pub(crate) fn write_job(&self, job: &Job) -> io::Result<()> {
        // the mount point of the root inside
        fs::create_dir(self.root())?;
        fs::write(self.0.join("report"), "")?;
        fs::write(self.0.join("job"), serde_json::to_vec(job)?)
    }

    pub(crate) fn read_job(&self) -> io::Result<Job> {
        Ok(serde_json::from_slice(&fs::read(self.0.join("job"))?)?)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    /// Opened before the folder goes out of reach.
    pub(crate) fn report(&self) -> io::Result<fs::File> {
        fs::OpenOptions::new().append(true).open(self.0.join("report"))
    }

    /// `None` when the stages were killed before they could say anything.
    pub(crate) fn read_report(&self) -> io::Result<Option<Report>> {
        let bytes = fs::read(self.0.join("report"))?;
        if bytes.is_empty() { Ok(None) } else { Ok(Some(serde_json::from_slice(&bytes)?)) }
    }

    /// For the number that PID 1 inside has outside. Opened before there is one: when that one changes the root, it does so for
    /// every process of its mount namespace (pivot_root(2)), and this folder is out of reach.
    pub(crate) fn init(&self) -> io::Result<fs::File> {
        fs::File::create(self.0.join("init"))
    }

    pub(crate) fn read_init(&self) -> Option<i32> {
        fs::read_to_string(self.0.join("init")).ok()?.parse().ok()
    }
}

/// Writes the report. If writing fails, the caller reads an empty one.
pub(crate) fn send(mut file: &fs::File, report: &Report) {
    if let Ok(bytes) = serde_json::to_vec(report) {
        let _ = io::Write::write_all(&mut file, &bytes);
    }
}
