//! Bounds on what compressed data may grow to. A poisoned mirror or a third party's package must not fill the builder's disk
//! or memory before its digest or signature is judged.

use std::io::{self, Read};
use types::Bytes;

/// The largest `data.tar` that is unpacked. Debian's largest packages, with the debug symbols of a kernel, take half of it.
pub const DATA_TAR: Bytes = Bytes::gib(16);
/// The largest `control.tar`. The lists of checksums of Debian's largest packages take a tenth of it.
pub const CONTROL_TAR: Bytes = Bytes::mib(64);
/// The largest control file.
pub const CONTROL: Bytes = Bytes::mib(1);
/// The largest `Packages` index. That of a whole release takes a tenth of it.
pub const INDEX: Bytes = Bytes::mib(512);
/// The largest number of entries in one package. The sources of a kernel have a tenth of it.
pub const ENTRIES: usize = 1 << 20;
/// The most memory that decompressing xz may ask for; `xz -9` asks for 65 MiB.
const XZ_MEMORY: Bytes = Bytes::mib(256);

/// Reads at most `max` bytes; one more is an error, unlike with [`Read::take`].
#[derive(Debug)]
pub struct Limited<R> {
    inner: R,
    left: u64,
    max: Bytes,
}

impl<R: Read> Limited<R> {
    /// Bounds a reader.
    pub const fn new(inner: R, max: Bytes) -> Self {
        Self { inner, left: max.0, max }
    }
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            return match self.inner.read(&mut [0])? {
                0 => Ok(0),
                _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it unpacks to more than {}", self.max))),
            };
        }
        let want = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.inner.read(&mut buf[..want])?;
        self.left -= n as u64;
        Ok(n)
    }
}

/// Decompresses xz to at most `max` bytes, with bounded memory.
pub fn xz<R: Read>(packed: R, max: Bytes) -> Limited<lzma_rust2::XzReader<R>> {
    let memory = u32::try_from(XZ_MEMORY.0 >> 10).unwrap_or(u32::MAX);
    Limited::new(lzma_rust2::XzReader::new_mem_limit(packed, true, memory), max)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn the_limit_itself_is_read_and_one_byte_more_is_an_error() {
        let mut bytes = Vec::new();
        Limited::new([7; 10].as_slice(), Bytes(10)).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, [7; 10]);
        let error = Limited::new([7; 11].as_slice(), Bytes(10)).read_to_end(&mut bytes).unwrap_err();
        assert_eq!(error.to_string(), "it unpacks to more than 10 B");
    }

    #[test]
    fn a_bomb_of_xz_stops_at_the_limit() {
        let mut xz_writer = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
        xz_writer.write_all(&vec![0; 1 << 20]).unwrap();
        let packed = xz_writer.finish().unwrap();
        assert!(packed.len() < 4096);
        let mut bytes = Vec::new();
        xz(packed.as_slice(), Bytes(1 << 16)).read_to_end(&mut bytes).unwrap_err();
        assert_eq!(bytes.len(), 1 << 16);
    }
}
