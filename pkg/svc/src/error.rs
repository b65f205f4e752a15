use std::{io, path::PathBuf};

/// The failures of this program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line has an error.
    #[error("{what}")]
    Usage { what: String },
    /// The system refuses an operation on a file, folder or device.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// The store cannot be read, is malformed, or has no such service.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// containerd refuses a call.
    #[error("containerd: cannot {action}: {status}")]
    Containerd { action: &'static str, status: api::Status },
    /// The image or its specification cannot be run.
    #[error("{package}: {what}")]
    Unfit { package: String, what: String },
    /// containerd answers a root that is not the image's.
    #[error(
        "{package}: {source}; it is not started. `systemctl restart stored-register` has containerd take the store's layers again"
    )]
    Root { package: String, source: api::RootError },
    /// It never became ready.
    #[error("{package} is not ready after {seconds} s: its probe `{probe}` ended with {last}")]
    NotReady { package: String, seconds: u32, probe: String, last: String },
    /// systemd does not accept a notice, or signals cannot be received.
    #[error("cannot {action}: {source}")]
    System { action: &'static str, source: io::Error },
}

impl Error {
    pub(crate) fn containerd(action: &'static str) -> impl FnOnce(api::Status) -> Self {
        move |status| Self::Containerd { action, status }
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}
