//! The owner's medium: a FAT volume labelled EVEKEY, with the key in a file.

use crate::{error::Error, paths::Paths};
use std::{fs, io, io::Read as _, os::unix::fs::MetadataExt as _, path::Path};

const FILE: &str = "recovery.key";
/// No key is longer.
const LIMIT: u64 = 64 << 10;

/// A medium that was read: device, inode, and the time of its last change. A medium that is inserted again has other values.
type Seen = (u64, u64, i64, i64);

/// The owner's medium. Each medium is read once.
#[derive(Debug, Default)]
pub(crate) struct Medium {
    seen: Option<Seen>,
}

impl Medium {
    /// The key on a new medium, or the problem with it; `None` without a medium, or when it was read before.
    pub(crate) fn look(&mut self, paths: &Paths) -> Option<Result<Vec<u8>, Error>> {
        let found = fs::metadata(&paths.medium).ok()?;
        let found = Some((found.dev(), found.ino(), found.ctime(), found.ctime_nsec()));
        if self.seen == found {
            return None;
        }
        self.seen = found;
        Some(read(paths))
    }
}

/// The key on the medium.
pub(crate) fn read(paths: &Paths) -> Result<Vec<u8>, Error> {
    let at = paths.run.join("medium");
    fs::create_dir_all(&at).map_err(Error::io("make", &at))?;
    let mount = paths.tool("mount").args(["-t", "vfat", "-o", "ro,nosuid,nodev,noexec"]);
    mount.arg(&paths.medium).arg(&at).run()?;
    let key = key(paths, &at.join(FILE));
    if let Err(e) = paths.tool("umount").arg(&at).run() {
        eprintln!("{e}");
    }
    key
}

fn key(paths: &Paths, path: &Path) -> Result<Vec<u8>, Error> {
    let wrong = |problem: String| Error::Medium { path: paths.medium.clone(), problem };
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

/// The key from standard input.
pub(crate) fn from_input(input: impl io::Read) -> Result<Vec<u8>, Error> {
    let mut key = Vec::new();
    input.take(LIMIT).read_to_end(&mut key).map_err(Error::io("read", "standard input"))?;
    let key = line(&key);
    if key.is_empty() { Err(Error::NoInput) } else { Ok(key.to_vec()) }
}

/// A key without the line's end, which is no part of the key.
pub(crate) fn line(key: &[u8]) -> &[u8] {
    let key = key.strip_suffix(b"\n").unwrap_or(key);
    key.strip_suffix(b"\r").unwrap_or(key)
}
