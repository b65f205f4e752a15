//! Copying with holes, by the kernel if it can.

use rustix::{
    fs::{SeekFrom, copy_file_range, seek},
    io::Errno,
};
use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _};

/// Bytes moved between two reports of progress.
const STEP: u64 = 32 << 20;

/// The ranges of a file that are not holes, in order. Where a file system knows no holes, the whole file is one range.
///
/// # Errors
/// When the file cannot be examined.
pub fn extents(file: &File) -> io::Result<Vec<Range<u64>>> {
    let len = file.metadata()?.len();
    let mut found = Vec::new();
    let mut at = 0;
    while at < len {
        let start = match seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(e) => return Err(e.into()),
        };
        at = seek(file, SeekFrom::Hole(start))?.min(len);
        found.push(start..at);
    }
    Ok(found)
}

/// Copies a whole file to an offset of another, leaving holes as they are, and calls `progress` with the bytes of each
/// step. The target's bytes under a hole stay unchanged.
///
/// # Errors
/// When reading or writing fails.
pub fn copy_sparse(from: &File, to: &File, offset: u64, progress: &mut dyn FnMut(u64)) -> io::Result<()> {
    for extent in extents(from)? {
        let mut at = extent.start;
        while at < extent.end {
            let n = STEP.min(extent.end - at);
            copy_range(from, at, to, offset + at, n)?;
            progress(n);
            at += n;
        }
    }
    Ok(())
}

/// Copies exactly `len` bytes between two files, without their positions.
///
/// # Errors
/// When the source is shorter, or one of them cannot be read or written.
pub fn copy_range(from: &File, mut at: u64, to: &File, mut offset: u64, mut len: u64) -> io::Result<()> {
    while len > 0 {
        let want = usize::try_from(len.min(STEP)).map_err(io::Error::other)?;
        let (mut source, mut target) = (at, offset);
        match copy_file_range(from, Some(&mut source), to, Some(&mut target), want) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => (at, offset, len) = (at + n as u64, offset + n as u64, len - n as u64),
            // not between these two file systems, or not for these files
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                return copy_by_hand(from, at, to, offset, len);
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

fn copy_by_hand(from: &File, mut at: u64, to: &File, mut offset: u64, mut len: u64) -> io::Result<()> {
    let mut buf = vec![0; 1 << 20];
    while len > 0 {
        let want = usize::try_from(len).unwrap_or(usize::MAX).min(buf.len());
        let n = from.read_at(&mut buf[..want], at)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        to.write_all_at(&buf[..n], offset)?;
        (at, offset, len) = (at + n as u64, offset + n as u64, len - n as u64);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn holes_stay_holes() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.set_len(64 << 20).unwrap();
        from.write_all_at(b"middle", 32 << 20).unwrap();
        to.set_len(65 << 20).unwrap();
        let mut copied = 0;
        copy_sparse(&from, &to, 1 << 20, &mut |n| copied += n).unwrap();
        let mut read = [0; 6];
        to.read_exact_at(&mut read, 33 << 20).unwrap();
        assert_eq!(&read, b"middle");
        assert!(copied < 1 << 20, "{copied}");
        assert!(to.metadata().unwrap().blocks() * 512 < 1 << 20);
    }

    #[test]
    fn a_short_source_is_an_error() {
        let (from, to) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        from.write_all_at(b"abc", 0).unwrap();
        assert_eq!(copy_range(&from, 0, &to, 0, 4).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(copy_by_hand(&from, 0, &to, 0, 4).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        copy_by_hand(&from, 1, &to, 7, 2).unwrap();
        let mut read = [0; 2];
        to.read_exact_at(&mut read, 7).unwrap();
        assert_eq!(&read, b"bc");
    }
}
