use std::{io, path::PathBuf};

/// Why something of the device's state is not as it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("`{found}` is no verb of this program")]
    Usage { found: String },
    /// A file, folder or device refuses.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Device(#[from] device::Error),
    /// A program of the system has failed.
    #[error("{program} failed: {problem}")]
    Program { program: String, problem: String },
    /// A partition is not there.
    #[error("{}", missing(label, *found))]
    Missing { label: &'static str, found: bool },
    /// `vault` has not opened P3.
    #[error("P3 is not open: see `systemctl status evek-repart evek-vault`{0}")]
    Closed(String),
    /// What `report` is for.
    #[error("{0}")]
    Temporary(String),
}

fn missing(label: &str, found: bool) -> String {
    if found {
        format!("the kernel has found the partition {label}, but udev has made no device for it")
    } else {
        format!("the disk has no partition {label}")
    }
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
