use std::{
    fmt, io,
    path::{Path, PathBuf},
};

/// Why the container cannot run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The kernel refuses an operation on a file, folder or device.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// A mount failed.
    #[error("cannot mount {what} at {target}: {source}")]
    Mount { what: String, target: String, source: io::Error },
    /// A volume cannot be where it is declared.
    #[error("volume at {target}: {what}")]
    Volume { target: String, what: String },
    /// Disks did not appear.
    #[error("after {seconds} s there is still missing: {missing}; disks: {seen}")]
    NoDisk { seconds: u64, missing: String, seen: String },
    /// The spec disk is of another version.
    #[error(transparent)]
    Spec(#[from] guest::Error),
    /// A network card is missing, or the kernel refuses its settings.
    #[error("network card {mac}: cannot {action}: {source}")]
    Network { mac: String, action: &'static str, source: io::Error },
    /// The image has no such user or group.
    #[error("the image has no {kind} `{name}` in {file}")]
    NoUser { kind: &'static str, name: String, file: &'static str },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn mount(what: impl fmt::Display, target: impl fmt::Display, source: impl Into<io::Error>) -> Self {
        Self::Mount { what: what.to_string(), target: target.to_string(), source: source.into() }
    }
}
