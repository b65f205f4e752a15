//! Whether a partition of the device is in use, or a stand-in for it.
//!
//! A broken CONFIG or P3 must not take the device away, so `state` mounts an empty file system in memory in its place. Programs
//! that would do harm then, or that report on the device, read the difference here.

use crate::{Error, durable};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A partition for which there can be a stand-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The owner's files.
    Config,
    /// The state of the device.
    Persist,
}

impl Part {
    /// Its label in the partition table.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Config => "CONFIG",
            Self::Persist => "P3",
        }
    }

    /// The file about it, below [`FOLDER`].
    #[must_use]
    pub fn file(self, folder: &Path) -> PathBuf {
        folder.join(match self {
            Self::Config => "config.json",
            Self::Persist => "persist.json",
        })
    }
}

/// The folder of facts about this start.
pub const FOLDER: &str = "/run/evek";

/// How a partition stands in this start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Standing {
    /// The partition is in use.
    Kept,
    /// A file system in memory stands in for it.
    Temporary {
        /// The reason, for people.
        reason: String,
    },
}

impl Standing {
    /// Reads it; [`Standing::Kept`] where nothing is written yet.
    ///
    /// # Errors
    /// [`Error`] for a file that cannot be read or understood.
    pub fn read(folder: &Path, part: Part) -> Result<Self, Error> {
        let path = part.file(folder);
        match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::Kept),
            Err(e) => Err(Error::new("read", &path)(e)),
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| Error::new("understand", &path)(e.into())),
        }
    }

    /// Writes it for others, and for the conditions of units a file `<part>.temporary`.
    ///
    /// # Errors
    /// [`Error`].
    pub fn write(&self, folder: &Path, part: Part) -> Result<(), Error> {
        let path = part.file(folder);
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::new("write", &path)(e.into()))?;
        durable::folder(folder, 0o755)?;
        durable::write(&path, format!("{text}\n").as_bytes(), 0o644)?;
        let marker = path.with_extension("temporary");
        match self {
            Self::Kept => durable::forget(&marker),
            Self::Temporary { .. } => durable::write(&marker, b"", 0o644),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_stand_in_is_told_from_the_partition_by_others() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        assert_eq!(Standing::read(&run, Part::Persist).unwrap(), Standing::Kept);
        let temporary = Standing::Temporary { reason: "bad superblock".into() };
        temporary.write(&run, Part::Persist).unwrap();
        assert_eq!(Standing::read(&run, Part::Persist).unwrap(), temporary);
        assert_eq!(Standing::read(&run, Part::Config).unwrap(), Standing::Kept);
        let text = fs::read_to_string(Part::Persist.file(&run)).unwrap();
        assert_eq!(text, "{\n  \"state\": \"temporary\",\n  \"reason\": \"bad superblock\"\n}\n");
        let marker = run.join("persist.temporary");
        assert!(marker.exists());
        Standing::Kept.write(&run, Part::Persist).unwrap();
        assert!(!marker.exists());
        fs::write(Part::Persist.file(&run), "half").unwrap();
        assert!(Standing::read(&run, Part::Persist).is_err());
    }
}
