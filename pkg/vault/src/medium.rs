//! The owner's medium: a FAT volume labelled EVEKEY, with the key in a file.

use crate::{error::Error, places::Places};
use std::{fs, io, io::Read as _, os::unix::fs::MetadataExt as _, path::Path};

const FILE: &str = "recovery.key";
/// Nobody has a longer one.
const LIMIT: u64 = 64 << 10;

/// What was looked at already: device, inode, and the time of its last change. A medium that is inserted again has others.
type Seen = (u64, u64, i64, i64);

/// The medium, each of which is read once.
#[derive(Debug, Default)]
pub(crate) struct Medium {
    seen: Option<Seen>,
}

impl Medium {
    /// The key on it, or what is wrong with it; nothing when there is none, or the one that was there before.
    pub(crate) fn look(&mut self, places: &Places) -> Option<Result<Vec<u8>, Error>> {
        let found = fs::metadata(&places.medium).ok()?;
        let found = Some((found.dev(), found.ino(), found.ctime(), found.ctime_nsec()));
        if self.seen == found {
            return None;
        }
        self.seen = found;
        Some(read(places))
    }
}

/// The key, from the medium that is there.
pub(crate) fn read(places: &Places) -> Result<Vec<u8>, Error> {
    let at = places.run.join("medium");
    fs::create_dir_all(&at).map_err(Error::io("make", &at))?;
    let mount = places.tool("mount").args(["-t", "vfat", "-o", "ro,nosuid,nodev,noexec"]);
    mount.arg(&places.medium).arg(&at).run()?;
    let key = key(places, &at.join(FILE));
    if let Err(e) = places.tool("umount").arg(&at).run() {
        eprintln!("{e}");
    }
    key
}

fn key(places: &Places, path: &Path) -> Result<Vec<u8>, Error> {
    let wrong = |problem: String| Error::Medium { path: places.medium.clone(), problem };
    let mut key = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut key));
    read.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => wrong(format!("it has no file {FILE}; put the key there, in one line")),
        _ => wrong(format!("its file {FILE} cannot be read: {e}")),
    })?;
    if key.len() as u64 > LIMIT {
        return Err(wrong(format!("its file {FILE} is longer than 64 KiB, which no key is")));
    }
    let key = line(&key);
    if key.is_empty() {
        return Err(wrong(format!("its file {FILE} is empty; put the key there, in one line")));
    }
    Ok(key.to_vec())
}

/// A key without the end of its line, which is not part of it.
pub(crate) fn line(key: &[u8]) -> &[u8] {
    let key = key.strip_suffix(b"\n").unwrap_or(key);
    key.strip_suffix(b"\r").unwrap_or(key)
}
