//! The blocks of a raw disk that are not zero.

use std::{fs::File, io, os::unix::fs::FileExt as _};

/// Calls `each` with the number and the bytes of every block that has a byte other than zero, in order. The last block is filled
/// up with zeros.
pub(crate) fn blocks(raw: &File, block: u64, mut each: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
    let size = raw.metadata()?.len();
    let mut bytes = vec![0; len(block)?];
    let mut next = 0;
    for extent in disk::extents(raw)? {
        for n in next.max(extent.start / block)..extent.end.div_ceil(block) {
            let at = n * block;
            let there = len(block.min(size - at))?;
            raw.read_exact_at(&mut bytes[..there], at)?;
            bytes[there..].fill(0);
            if bytes.iter().any(|b| *b != 0) {
                each(n, &bytes)?;
            }
            next = n + 1;
        }
    }
    Ok(())
}

pub(crate) fn len(n: u64) -> io::Result<usize> {
    usize::try_from(n).map_err(io::Error::other)
}

/// The disk's size, which must consist of sectors and be less than a format's limit.
pub(crate) fn size(raw: &File, limit: u64) -> io::Result<u64> {
    let size = raw.metadata()?.len();
    if size == 0 || !size.is_multiple_of(disk::SECTOR) || size > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{size} bytes is no size of a disk")));
    }
    Ok(size)
}
