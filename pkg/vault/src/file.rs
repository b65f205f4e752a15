//! Files that only their owner can read, written as a whole or not at all.

use crate::error::Error;
use device::durable;
use std::path::Path;

/// Writes a file.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    Ok(durable::write(path, bytes, 0o600)?)
}

/// Makes a folder that only its owner can enter.
pub(crate) fn private_folder(path: &Path) -> Result<(), Error> {
    Ok(durable::folder(path, 0o700)?)
}

/// Removes a file, if it is there.
pub(crate) fn forget(path: &Path) -> Result<(), Error> {
    Ok(durable::forget(path)?)
}
