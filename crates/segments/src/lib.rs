//! The bytes of a disk that matter, as a list.
//!
//! ```text
//! disk    │ table │ ESP: files, tables of FAT │ free │ slot … │ free │ CONFIG │ free │ backup table │
//! list    bytes    digest  zeros  digest                digest …        digest          bytes
//! ```
//! A [`SegmentList`] names what must be on a medium, and where. Bytes between two segments are free: a file system does not
//! look at them, so nobody has to write or to compare them. A disk of 13 GB with 300 MB of content is 300 MB of work.
//!
//! Deliberately absent: reading and writing media (`flash`), and formats of disk images (`disk`).

mod hex;
mod scan;

pub use scan::scan;

use serde::{Deserialize, Serialize};
use std::ops::Range;
use types::{Bytes, Digest};

/// No segment with a digest is longer, so that a wrong one names a small place and a reader needs little memory.
pub const LONGEST: u64 = 4 << 20;

/// Every segment starts and ends at a multiple of this many bytes, the smallest sector of disks.
pub const SECTOR: u64 = 512;

/// The content of a disk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentList {
    /// The size of the disk.
    pub size: Bytes,
    /// Its segments, in the order of the disk.
    pub segments: Vec<Segment>,
}

/// Bytes of a disk that follow each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// The first byte.
    pub start: Bytes,
    /// The number of bytes.
    pub length: Bytes,
    /// The bytes.
    pub content: Content,
}

/// The content of a segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// Zeros, which are needed: a file system reads them.
    Zeros,
    /// The bytes themselves, in hexadecimal digits: parts of partition tables.
    Bytes(#[serde(with = "hex")] Vec<u8>),
    /// The sha256 of the bytes.
    Digest(Digest),
}

/// A list that describes no disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("segment {n}, at byte {}, {problem}", start.0)]
pub struct BadList {
    /// Its place in the list, from 0.
    pub n: usize,
    /// Its first byte.
    pub start: Bytes,
    /// What is wrong with it.
    pub problem: &'static str,
}

impl Segment {
    /// Its bytes on the disk.
    #[must_use]
    pub const fn range(&self) -> Range<u64> {
        self.start.0..self.start.0.saturating_add(self.length.0)
    }

    /// Whether these are its bytes.
    #[must_use]
    pub fn is(&self, bytes: &[u8]) -> bool {
        bytes.len() as u64 == self.length.0
            && match &self.content {
                Content::Zeros => bytes.iter().all(|b| *b == 0),
                Content::Bytes(own) => own == bytes,
                Content::Digest(digest) => *digest == Digest::of(bytes),
            }
    }
}

impl SegmentList {
    /// Bytes of all segments.
    #[must_use]
    pub fn content(&self) -> Bytes {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    /// Refuses a list that no disk can follow: it may come from a file or a server.
    ///
    /// # Errors
    /// [`BadList`] for the first segment that is empty, too long, at no sector, out of order or beyond the end.
    pub fn check(&self) -> Result<(), BadList> {
        let mut end = 0;
        for (n, segment) in self.segments.iter().enumerate() {
            let Range { start, end: next } = segment.range();
            let problem = match &segment.content {
                _ if start < end => Some("starts before the end of the one before it"),
                _ if next <= start => Some("is empty"),
                _ if next > self.size.0 => Some("is beyond the end of the disk"),
                _ if !start.is_multiple_of(SECTOR) || !next.is_multiple_of(SECTOR) => {
                    Some("does not consist of sectors of 512 bytes")
                }
                Content::Digest(_) if segment.length.0 > LONGEST => Some("is longer than 4 MiB"),
                Content::Bytes(bytes) if bytes.len() as u64 != segment.length.0 => {
                    Some("has another number of bytes than its length")
                }
                _ => None,
            };
            if let Some(problem) = problem {
                return Err(BadList { n, start: segment.start, problem });
            }
            end = next;
        }
        Ok(())
    }

    /// Puts the segments of a range in place of those that were there, such as the owner's CONFIG into an image. Both must
    /// lie within the range wholly.
    ///
    /// # Errors
    /// [`BadList`] for the first segment that does not.
    pub fn replace(&mut self, range: Range<u64>, with: Vec<Segment>) -> Result<(), BadList> {
        let crosses = |segment: &Segment| {
            let own = segment.range();
            own.start < range.end && own.end > range.start && (own.start < range.start || own.end > range.end)
        };
        let within = |segment: &Segment| segment.start.0 >= range.start && segment.range().end <= range.end;
        let bad = self.segments.iter().enumerate().find(|(_, segment)| crosses(segment));
        let bad = bad.or_else(|| with.iter().enumerate().find(|(_, segment)| !within(segment)));
        if let Some((n, segment)) = bad {
            return Err(BadList { n, start: segment.start, problem: "crosses the border of what is replaced" });
        }
        self.segments.retain(|segment| !within(segment));
        let at = self.segments.partition_point(|segment| segment.start.0 < range.start);
        self.segments.splice(at..at, with);
        self.check()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn segment(start: u64, length: u64, content: Content) -> Segment {
        Segment { start: Bytes(start), length: Bytes(length), content }
    }

    fn list(segments: Vec<Segment>) -> SegmentList {
        SegmentList { size: Bytes(1 << 20), segments }
    }

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let all = list(vec![
            segment(0, 512, Content::Bytes((0..512).map(|n| n as u8).collect())),
            segment(1024, 512, Content::Zeros),
            segment(4096, 4096, Content::Digest(Digest::of(b"x"))),
        ]);
        all.check().unwrap();
        let text = serde_json::to_string(&all).unwrap();
        assert!(text.contains(r#"{"start":1024,"length":512,"content":"zeros"}"#), "{text}");
        assert_eq!(serde_json::from_str::<SegmentList>(&text).unwrap(), all);
        let odd = text.replacen("000102", "00010", 1);
        assert!(serde_json::from_str::<SegmentList>(&odd).is_err());
        assert!(serde_json::from_str::<SegmentList>(&text.replace("000102", "0001é")).is_err());
    }

    #[test]
    fn a_list_that_no_disk_can_follow_is_refused() {
        for (segments, problem) in [
            (vec![segment(0, 0, Content::Zeros)], "segment 0, at byte 0, is empty"),
            (vec![segment(u64::MAX - 511, 512, Content::Zeros)], "is beyond the end"),
            (vec![segment(0, 2 << 20, Content::Zeros)], "is beyond the end of the disk"),
            (vec![segment(7, 512, Content::Zeros)], "sectors"),
            (vec![segment(0, 700, Content::Zeros)], "sectors"),
            (vec![segment(0, 512, Content::Bytes(vec![0; 511]))], "another number of bytes"),
            (
                vec![segment(0, 1024, Content::Zeros), segment(512, 512, Content::Zeros)],
                "segment 1, at byte 512, starts",
            ),
        ] {
            let error = list(segments).check().unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
        let long =
            SegmentList { size: Bytes(8 << 20), segments: vec![segment(0, 5 << 20, Content::Digest(Digest::of(b"")))] };
        assert!(long.check().is_err());
    }

    #[test]
    fn a_range_gets_other_segments_and_no_other_changes() {
        let at = |start: u64| segment(start, 512, Content::Zeros);
        let mut all = list(vec![at(0), at(1024), at(2048), at(4096)]);
        all.replace(1024..4096, vec![at(1536)]).unwrap();
        assert_eq!(all, list(vec![at(0), at(1536), at(4096)]));
        for (range, with) in [(1024..1600, vec![]), (1024..4096, vec![at(4096)])] {
            let before = all.clone();
            assert!(all.replace(range, with).is_err());
            assert_eq!(all, before);
        }
    }
}
