//! What an image is written to.

use crate::Error;
use rustix::fs::{FallocateFlags, OFlags};
use std::{
    fs::File,
    io::{self, Seek as _, SeekFrom},
    ops::Range,
    os::unix::fs::{FileExt as _, FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
};
use types::Bytes;

/// Bytes at places, used by several threads.
pub trait Medium: Sync {
    /// Its size.
    fn size(&self) -> Bytes;

    /// Fills the buffer with the bytes from `at` on, as the medium has them: not from a cache.
    ///
    /// # Errors
    /// When not all of them can be read.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;

    /// Writes all bytes.
    ///
    /// # Errors
    /// When not all of them can be written.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Says that the bytes of a range are not needed any more. It may do nothing.
    ///
    /// # Errors
    /// When the medium cannot.
    fn discard(&self, range: Range<u64>) -> io::Result<()>;

    /// Returns when everything is on the medium.
    ///
    /// # Errors
    /// When something is not.
    fn flush(&self) -> io::Result<()>;
}

/// A block device, or a file that stands for one.
#[derive(Debug)]
pub struct Device {
    file: File,
    size: Bytes,
}

impl Device {
    /// Opens a block device for this process alone: the kernel refuses one that is mounted or held. A file gets the size of
    /// the image and stays sparse; where its file system can, it is read and written past the caches, too.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: &Path, needed: Bytes) -> Result<Self, Error> {
        let is_device = std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_block_device());
        let flags = if is_device { OFlags::DIRECT | OFlags::EXCL } else { OFlags::DIRECT };
        let open = |flags: OFlags| {
            let mut options = File::options();
            options.read(true).write(true).create(!is_device).truncate(!is_device);
            options.custom_flags(flags.bits().cast_signed()).open(path)
        };
        let opened = match open(flags) {
            // a file system in memory, for one
            Err(e) if !is_device && e.kind() == io::ErrorKind::InvalidInput => open(OFlags::empty()),
            other => other,
        };
        let mut file = opened.map_err(Error::io("open", path))?;
        if !is_device {
            file.set_len(needed.0).map_err(Error::io("size", path))?;
        }
        // a block device's metadata has no length
        let size = Bytes(file.seek(SeekFrom::End(0)).map_err(Error::io("measure", path))?);
        Ok(Self { file, size })
    }
}

impl Medium for Device {
    fn size(&self) -> Bytes {
        self.size
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    /// For block devices this is a discard that leaves zeros, or nothing at all (fallocate(2), *Deallocating file space*).
    fn discard(&self, range: Range<u64>) -> io::Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.file, flags, range.start, range.end - range.start)?)
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}
