//! Files that are written as a whole or not at all.

use crate::error::Error;
use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

/// Writes a file that only its owner can read: first under another name, which changes once the bytes are on the disk.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let new = path.with_extension("new");
    let write = || {
        remove(&new)?;
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync(path.parent())
    };
    write().map_err(Error::io("write", path))
}

/// Makes a folder that only its owner can enter.
pub(crate) fn private_folder(path: &Path) -> Result<(), Error> {
    let make = || {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        sync(path.parent())
    };
    make().map_err(Error::io("make", path))
}

pub(crate) fn forget(path: &Path) -> Result<(), Error> {
    remove(path).map_err(Error::io("remove", path))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn sync(folder: Option<&Path>) -> io::Result<()> {
    folder.map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
