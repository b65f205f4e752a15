use std::{
    io,
    path::{Path, PathBuf},
};

/// The failures of this program.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line has an unknown argument.
    #[error("unexpected argument `{found}`, or its value is missing")]
    Usage { found: String },
    /// The system refuses an operation on a file or folder.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// The list of snapshots, or the first stage's record of the slot, is damaged.
    #[error("{} is damaged: {source}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    /// The store cannot be read, or is malformed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// systemd does not accept the notice.
    #[error("cannot notify systemd: {0}")]
    Notify(io::Error),
    /// containerd refuses a call.
    #[error("containerd: {image}: cannot {action}: {status}")]
    Containerd { image: String, action: &'static str, status: api::Status },
    /// containerd has other layers for an image than the store has, and does not let go of them.
    #[error(
        "{image}: {why}; remove the containers and images that use them (ctr containers rm, ctr images rm) and register again"
    )]
    Foreign { image: String, why: String },
    /// A snapshotter's snapshots cannot be removed.
    #[error("cannot remove the snapshots of {}: {status}", socket.display())]
    Snapshots { socket: PathBuf, status: api::Status },
    /// Kubernetes' interface does not list an image.
    #[error(
        "Kubernetes' runtime interface does not list {missing} after {seconds} s; see containerd's log (journalctl -u containerd)"
    )]
    Unseen { missing: String, seconds: u64 },
}

/// For `map_err`: what failed, and on which path.
pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}
