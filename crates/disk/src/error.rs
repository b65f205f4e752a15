use std::{io, path::PathBuf};
use types::Bytes;

/// Errors of disks and volumes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing failed; a full disk arrives here too.
    #[error("cannot {action}: {source}")]
    Io {
        /// The action that failed, with the file's name if it is known.
        action: String,
        /// The system's error.
        source: io::Error,
    },
    /// An impossible layout.
    #[error("partition {number} ({label}): {problem}")]
    Partition {
        /// Its number.
        number: u32,
        /// Its label.
        label: String,
        /// The problem.
        problem: String,
    },
    /// A disk that is too small for its partitions.
    #[error("the disk is {size}, its partitions need {needed}: make the disk larger or the partitions smaller")]
    DiskTooSmall {
        /// The disk's size.
        size: Bytes,
        /// The size that it needs.
        needed: Bytes,
    },
    /// A partition whose content does not fit.
    #[error("partition {number} ({label}) is {size}, but {} is {found}: raise the size of the partition", content.display())]
    ContentTooLarge {
        /// Its number.
        number: u32,
        /// Its label.
        label: String,
        /// Its size.
        size: Bytes,
        /// The file to be put in it.
        content: PathBuf,
        /// That file's size.
        found: Bytes,
    },
    /// No valid partition table where one should be.
    #[error("bad {copy} partition table: {problem}")]
    Table {
        /// `primary` or `backup`.
        copy: &'static str,
        /// The problem.
        problem: String,
    },
    /// A FAT volume of a size, label or content that FAT cannot have.
    #[error("FAT volume `{label}`: {problem}")]
    Volume {
        /// Its label.
        label: String,
        /// The problem.
        problem: String,
    },
    /// An existing FAT volume that is damaged, or of a kind that is not edited here.
    #[error("bad FAT volume: {problem}")]
    BadVolume {
        /// The problem.
        problem: String,
    },
    /// A file that does not fit in an existing FAT volume.
    #[error("FAT: /{path}: it needs {needed}, there is room for {free}: remove something first")]
    NoRoom {
        /// Its path in the volume.
        path: String,
        /// Its size with new folders, in whole clusters.
        needed: Bytes,
        /// The free room.
        free: Bytes,
    },
    /// A file that FAT cannot hold, or an impossible change of a file.
    #[error("FAT: /{path}: {problem}")]
    File {
        /// Its path in the volume.
        path: String,
        /// The problem.
        problem: String,
    },
}

impl Error {
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}
