//! How much disk space a snapshot takes.

use crate::error::{Error, io_error};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fs, io, os::unix::fs::MetadataExt as _, path::Path};

/// Disk space of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

/// Measures a folder; a file with several names takes its space once.
pub(super) fn usage(root: &Path) -> Result<Usage, Error> {
    let mut usage = Usage::default();
    let mut seen = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            // a container is at work in there
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(Error::Io { action: "read", path: folder, source }),
        };
        for entry in entries {
            let entry = entry.map_err(io_error("read", &folder))?;
            let meta = match entry.metadata() {
                Ok(meta) => meta,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(Error::Io { action: "look at", path: entry.path(), source }),
            };
            if meta.nlink() == 1 || meta.is_dir() || seen.insert(meta.ino()) {
                usage.bytes += meta.blocks() * 512;
                usage.inodes += 1;
            }
            if meta.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(usage)
}
