//! Files that survive a power cut.
//!
//! A writer that opens the final name leaves an empty file behind when the power fails before its data reaches the disk. So the
//! data goes to another name first:
//!
//! ```text
//! .<name>.new ─► write ─► fsync ─► rename to <name> ─► fsync of the folder
//! ```

use crate::Error;
use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Replaces a file. After a power cut the old content or the new one is there, never a part of either. `mode` is the mode of a
/// new file, such as `0o600`.
///
/// # Errors
/// [`Error`]; the old file is as it was, and the space of the new one is free again.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    let new = beside(path);
    let made = remove(&new).and_then(|()| {
        let mut file = File::options().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(bytes)
    });
    let moved = made.map_err(Error::new("write", path)).and_then(|()| adopt(&new, path));
    if moved.is_err() {
        // the error above is the one to report
        let _ = remove(&new);
    }
    moved
}

/// Gives a finished file its final name, in the same file system: for files that another program has written.
///
/// # Errors
/// [`Error`]; a file that had the final name is as it was.
pub fn adopt(new: &Path, path: &Path) -> Result<(), Error> {
    let moved = || {
        File::open(new)?.sync_all()?;
        fs::rename(new, path)?;
        sync(path.parent())
    };
    moved().map_err(Error::new("write", path))
}

/// Makes a folder and those above it; new ones get `mode`.
///
/// # Errors
/// [`Error`].
pub fn folder(path: &Path, mode: u32) -> Result<(), Error> {
    let make = || {
        fs::DirBuilder::new().recursive(true).mode(mode).create(path)?;
        sync(path.parent())
    };
    make().map_err(Error::new("make", path))
}

/// Removes a file, if it is there.
///
/// # Errors
/// [`Error`].
pub fn forget(path: &Path) -> Result<(), Error> {
    remove(path).map_err(Error::new("remove", path))
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_is_replaced_and_nothing_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        // left by a power cut
        fs::write(beside(&path), "half").unwrap();
        for text in ["one", "two"] {
            write(&path, text.as_bytes(), 0o600).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        fs::create_dir_all(path.join("by a folder")).unwrap();
        let error = write(&path, b"x", 0o600).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot write {}", path.display())), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
