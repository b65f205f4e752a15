//! From the bytes of a disk to its segments.

use crate::{Content, LONGEST, SECTOR, Segment, SegmentList};
use std::{
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
};
use types::{Bytes, Digest};

/// A block of this size is either zeros or content, so that the list stays short.
const BLOCK: u64 = 64 << 10;

/// Runs of at most this many bytes are in the list themselves.
const INLINE: u64 = 1024;

/// Lists the content of a disk, or of anything else that can be read: all bytes in the used ranges, which must consist of
/// sectors, be in order and not overlap. The list depends on the bytes only, not on holes in a file.
///
/// # Errors
/// When reading fails.
pub fn scan(disk: &mut (impl Read + Seek), size: Bytes, used: &[Range<u64>]) -> io::Result<SegmentList> {
    let mut segments = Vec::new();
    for range in used {
        // a short range, such as a table, is looked at sector by sector
        let block = if range.end - range.start < BLOCK { SECTOR } else { BLOCK };
        let mut run = Run::default();
        disk.seek(SeekFrom::Start(range.start))?;
        let mut at = range.start;
        while at < range.end {
            let next = ((at / block + 1) * block).min(range.end);
            let mut bytes = vec![0; usize::try_from(next - at).map_err(io::Error::other)?];
            disk.read_exact(&mut bytes)?;
            run.add(at, bytes, &mut segments);
            at = next;
        }
        run.end(&mut segments);
    }
    Ok(SegmentList { size, segments })
}

/// Blocks that follow each other and belong into one segment.
#[derive(Default)]
struct Run {
    start: u64,
    length: u64,
    /// Empty for zeros.
    bytes: Vec<u8>,
}

impl Run {
    fn add(&mut self, at: u64, bytes: Vec<u8>, segments: &mut Vec<Segment>) {
        let zeros = bytes.iter().all(|b| *b == 0);
        let border = !zeros && at.is_multiple_of(LONGEST);
        if self.length > 0 && (zeros != self.bytes.is_empty() || border) {
            self.end(segments);
        }
        if self.length == 0 {
            self.start = at;
        }
        self.length += bytes.len() as u64;
        if !zeros {
            self.bytes.extend(bytes);
        }
    }

    fn end(&mut self, segments: &mut Vec<Segment>) {
        let Self { start, length, bytes } = std::mem::take(self);
        let content = match length {
            0 => return,
            _ if bytes.is_empty() => Content::Zeros,
            1..=INLINE => Content::Bytes(bytes),
            _ => Content::Digest(Digest::of(&bytes)),
        };
        segments.push(Segment { start: Bytes(start), length: Bytes(length), content });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    fn shape(list: &SegmentList) -> Vec<(u64, u64, &'static str)> {
        let name = |content: &Content| match content {
            Content::Zeros => "zeros",
            Content::Bytes(_) => "bytes",
            Content::Digest(_) => "digest",
        };
        list.segments.iter().map(|s| (s.start.0, s.length.0, name(&s.content))).collect()
    }

    #[test]
    fn tables_are_in_the_list_and_content_is_in_pieces() {
        let mut disk = vec![0; 16 << 20];
        disk[..1024].fill(1);
        disk[(1 << 20) + 5..6 << 20].fill(2);
        disk[7 << 20..(7 << 20) + 1].fill(3);
        // free
        disk[9 << 20..10 << 20].fill(4);
        let used = [0..17 << 10, 1 << 20..8 << 20];
        let list = scan(&mut Cursor::new(&disk), Bytes(16 << 20), &used).unwrap();
        list.check().unwrap();
        let mib = 1 << 20;
        assert_eq!(
            shape(&list),
            [
                (0, 1024, "bytes"),
                (1024, 16 << 10, "zeros"),
                (mib, 3 * mib, "digest"),
                (4 * mib, 2 * mib, "digest"),
                (6 * mib, mib, "zeros"),
                (7 * mib, 64 << 10, "digest"),
                (7 * mib + (64 << 10), mib - (64 << 10), "zeros"),
            ]
        );
        assert!(scan(&mut Cursor::new(&disk), Bytes(17 << 20), std::slice::from_ref(&(0..17 << 20))).is_err());
    }

    proptest! {
        #[test]
        fn every_used_byte_is_in_one_segment_that_has_it(
            blocks in prop::collection::vec(0u8..3, 1..200),
            start in 0u64..300,
        ) {
            let disk: Vec<u8> = blocks.iter().flat_map(|b| vec![*b; 33 << 10]).collect();
            let size = disk.len() as u64 / SECTOR * SECTOR;
            let range = (start * SECTOR).min(size - SECTOR)..size;
            let list = scan(&mut Cursor::new(&disk), Bytes(size), std::slice::from_ref(&range)).unwrap();
            list.check().unwrap();
            let mut at = range.start;
            for segment in &list.segments {
                prop_assert_eq!(segment.start.0, at);
                let own = segment.range();
                at = own.end;
                prop_assert!(segment.is(&disk[own.start as usize..own.end as usize]));
            }
            prop_assert_eq!(at, range.end);
        }
    }
}
