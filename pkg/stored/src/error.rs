use std::{io, path::PathBuf};

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line makes no sense.
    #[error("unexpected argument `{found}`, or its value is missing")]
    Usage { found: String },
    /// A file or folder refuses.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// The list of snapshots, or what init found, is damaged.
    #[error("{} is damaged: {source}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    /// The store is not as it should be.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// systemd cannot be told.
    #[error("cannot tell systemd: {0}")]
    Notify(io::Error),
    /// containerd refuses.
    #[error("containerd: {image}: cannot {action}: {status}")]
    Containerd { image: String, action: &'static str, status: api::Status },
    /// An earlier pull has unpacked the lower layers of an image from the store.
    #[error(
        "{image}: containerd has its lower layers from elsewhere; remove the images that share them (ctr images rm) and register again"
    )]
    Foreign { image: String },
    /// Kubernetes' interface does not list an image.
    #[error(
        "Kubernetes' runtime interface does not list {missing} after {seconds} s; see containerd's log (journalctl -u containerd)"
    )]
    Unseen { missing: String, seconds: u64 },
}
