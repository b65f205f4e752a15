//! Damaged indexes are kept for inspection, in a place that cannot grow.

use crate::error::{Error, io_error};
use std::{fs, io, path::Path};

/// The folder for them.
pub(crate) const FOLDER: &str = "damaged";
/// A damaged file is kept only where the disk has this many times its length free.
const TIMES_FREE: u64 = 4;

/// Copies `file` to the folder `damaged` below `root`, in the place of the copy before it, and says on standard error what
/// is damaged and why. Without room for a copy there is none. The caller replaces or deletes the file.
pub(crate) fn keep(root: &Path, file: &Path, why: &str) -> Result<(), Error> {
    let len = fs::metadata(file).map_err(io_error("look at", file))?.len();
    let folder = root.join(FOLDER);
    let to = folder.join(file.file_name().unwrap_or_default());
    let room = free(root)? / TIMES_FREE > len;
    let copied = if room {
        fs::create_dir_all(&folder).and_then(|()| fs::copy(file, &to)).map(|_| format!("kept as {}", to.display()))
    } else {
        Err(io::ErrorKind::StorageFull.into())
    };
    let kept = copied.unwrap_or_else(|e| format!("not kept: {e}"));
    eprintln!("{} is damaged: {why}; it is made anew, the damaged file is {kept}", file.display());
    Ok(())
}

/// Free bytes of the file system.
pub(crate) fn free(folder: &Path) -> Result<u64, Error> {
    let stat = rustix::fs::statvfs(folder).map_err(|e| io_error("look at", folder)(io::Error::from(e)))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
