//! Where the bytes of an image come from.

use std::{
    fs::File,
    io::{self, BufReader, Read as _},
    ops::Range,
    os::unix::fs::FileExt as _,
};

/// The bytes of a disk. They are asked for in the order of the disk, each once.
pub trait Source {
    /// Fills the buffer with the bytes from `at` on.
    ///
    /// # Errors
    /// When not all of them can be read.
    fn read(&mut self, buffer: &mut [u8], at: u64) -> io::Result<()>;
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn read(&mut self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        (**self).read(buffer, at)
    }
}

/// A raw disk image.
#[derive(Debug)]
pub struct Raw(pub File);

impl Source for Raw {
    fn read(&mut self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, at)
    }
}

/// A raw disk image that zstd has compressed (RFC 8878).
pub struct Zstd {
    stream: zstd::Decoder<'static, BufReader<File>>,
    at: u64,
}

impl Zstd {
    /// From a file.
    ///
    /// # Errors
    /// When no decoder can be made.
    pub fn new(file: File) -> io::Result<Self> {
        Ok(Self { stream: zstd::Decoder::new(file)?, at: 0 })
    }
}

impl Source for Zstd {
    fn read(&mut self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let skip =
            at.checked_sub(self.at).ok_or_else(|| io::Error::other("a compressed image cannot be read backwards"))?;
        if io::copy(&mut (&mut self.stream).take(skip), &mut io::sink())? != skip {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.stream.read_exact(buffer)?;
        self.at = at + buffer.len() as u64;
        Ok(())
    }
}

/// An image with other bytes at one place, such as the owner's CONFIG.
pub struct Patched<S> {
    /// The image.
    pub image: S,
    /// The place.
    pub start: u64,
    /// The bytes there.
    pub bytes: Vec<u8>,
}

impl<S> Patched<S> {
    fn range(&self) -> Range<u64> {
        self.start..self.start + self.bytes.len() as u64
    }
}

impl<S: Source> Source for Patched<S> {
    fn read(&mut self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let (own, wanted) = (self.range(), at..at + buffer.len() as u64);
        if wanted.end <= own.start || wanted.start >= own.end {
            return self.image.read(buffer, at);
        }
        if wanted.start < own.start || wanted.end > own.end {
            return Err(io::Error::other("a segment crosses the border of what is replaced"));
        }
        // both are within bytes in memory
        let from = usize::try_from(wanted.start - own.start).map_err(io::Error::other)?;
        buffer.copy_from_slice(&self.bytes[from..from + buffer.len()]);
        Ok(())
    }
}
