//! Facts and habits that the device's programs share.
//!
//! ```text
//! durable    a file is there wholly or not at all, at whatever point the power fails
//! identity   UUID of the firmware, else GUID of P3, else random ─► machine-id ─► host name
//! standing   /run/evek/{config,persist}.json: the partition itself, or a stand-in in memory and the reason for it
//! ```
//! Deliberately absent: mounting, and everything that only the builder needs.

pub mod durable;
pub mod identity;
pub mod standing;

use std::{
    io,
    path::{Path, PathBuf},
};

/// A file or folder that could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct Error {
    /// The action that failed, as a verb.
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// The answer of the system.
    pub source: io::Error,
}

impl Error {
    pub(crate) fn new(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }
}
