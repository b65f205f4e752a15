//! Byte devices: a disk, an image, a partition of either, or a recording of one.
//!
//! ```text
//! File ──────────────► Blocks ◄── Window(start, len): one partition, nothing beyond it
//! power::Recorder ───►        ◄── power::State: what a cut left
//! ```
//! Not a stream: there is no position that two users could move under each other.

use std::{
    fs::File,
    io::{self, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
};
use types::Bytes;

/// A disk, or a substitute for one. Its contents are bytes at places; written bytes are durable after
/// [`Blocks::flush`].
#[allow(clippy::len_without_is_empty, reason = "a disk of no bytes is nothing to ask for")]
pub trait Blocks {
    /// Its length in bytes.
    ///
    /// # Errors
    /// When the length is unknown.
    fn len(&self) -> io::Result<u64>;

    /// Fills the buffer with the bytes from `at` on.
    ///
    /// # Errors
    /// When not all of them can be read, for example beyond the end.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()>;

    /// Writes all bytes at `at`.
    ///
    /// # Errors
    /// When not all of them can be written.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Returns when everything written before is on the medium and survives a power cut.
    ///
    /// # Errors
    /// When the flush fails.
    fn flush(&self) -> io::Result<()>;
}

impl Blocks for File {
    /// By seeking to the end, because a block device's metadata says 0.
    fn len(&self) -> io::Result<u64> {
        let mut file = self;
        file.seek(SeekFrom::End(0))
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(buf, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn flush(&self) -> io::Result<()> {
        self.sync_data()
    }
}

impl<B: Blocks + ?Sized> Blocks for &B {
    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        (**self).read_at(buf, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        (**self).write_at(bytes, at)
    }

    fn flush(&self) -> io::Result<()> {
        (**self).flush()
    }
}

/// A range of another [`Blocks`], such as a partition. Access beyond it is an error, never a shorter access.
#[derive(Debug, Clone)]
pub struct Window<B> {
    inner: B,
    start: u64,
    len: u64,
}

impl<B: Blocks> Window<B> {
    /// The range of `len` bytes from `start` on.
    ///
    /// # Errors
    /// When it is not within `inner`, or that one's length is unknown.
    pub fn new(inner: B, start: Bytes, len: Bytes) -> io::Result<Self> {
        within(start.0, len.0, inner.len()?)?;
        Ok(Self { inner, start: start.0, len: len.0 })
    }
}

impl<B: Blocks> Blocks for Window<B> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        within(at, buf.len() as u64, self.len)?;
        self.inner.read_at(buf, self.start + at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        within(at, bytes.len() as u64, self.len)?;
        self.inner.write_at(bytes, self.start + at)
    }

    fn flush(&self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Refuses a range that ends behind `end`.
pub(crate) fn within(at: u64, len: u64, end: u64) -> io::Result<()> {
    match at.checked_add(len) {
        Some(to) if to <= end => Ok(()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{len} bytes at {at} are beyond the end, which is at {end}"),
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_window_shows_its_range_and_nothing_else() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"0123456789", 0).unwrap();
        let window = Window::new(&file, Bytes(2), Bytes(5)).unwrap();
        assert_eq!(window.len().unwrap(), 5);
        let mut all = [0; 5];
        window.read_at(&mut all, 0).unwrap();
        assert_eq!(&all, b"23456");
        window.write_at(b"xy", 3).unwrap();
        window.flush().unwrap();
        assert!(window.write_at(b"xy", 4).is_err());
        assert!(window.read_at(&mut [0; 6], 0).is_err());
        assert!(window.read_at(&mut [0], u64::MAX).is_err());
        let mut whole = [0; 10];
        Blocks::read_at(&file, &mut whole, 0).unwrap();
        assert_eq!(&whole, b"01234xy789");
        let inner = Window::new(&window, Bytes(1), Bytes(2)).unwrap();
        inner.write_at(b"ab", 0).unwrap();
        Blocks::read_at(&file, &mut whole, 0).unwrap();
        assert_eq!(&whole, b"012abxy789");
        assert!(Window::new(&file, Bytes(6), Bytes(5)).is_err());
        assert!(Window::new(&file, Bytes(u64::MAX), Bytes(2)).is_err());
    }
}
