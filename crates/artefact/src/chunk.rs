//! Pieces of a file, from which a device assembles a new file out of an old one. The content decides the cuts (FastCDC,
//! *USENIX ATC '16*), so inserted or removed bytes move no other cut.

use fastcdc::v2020::FastCDC;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::{Bytes, Digest};

/// Minimum, average and maximum length of a piece, in bytes. Part of the format: builder and device must cut alike.
const LENGTHS: [usize; 3] = [8 << 10, 32 << 10, 128 << 10];

/// A piece of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chunk {
    /// Digest of its bytes.
    pub digest: Digest,
    /// Its length; it starts at the end of the piece before it.
    pub size: Bytes,
}

/// The pieces of a file, in their order.
#[must_use]
pub fn chunks(file: &[u8]) -> Vec<Chunk> {
    ranges(file)
        .map(|range| Chunk { digest: Digest::of(&file[range.clone()]), size: Bytes(range.len() as u64) })
        .collect()
}

/// The pieces of a file by digest, with their places.
#[must_use]
pub fn places(file: &[u8]) -> BTreeMap<Digest, std::ops::Range<usize>> {
    ranges(file).map(|range| (Digest::of(&file[range.clone()]), range)).collect()
}

fn ranges(file: &[u8]) -> impl Iterator<Item = std::ops::Range<usize>> {
    let [least, usual, greatest] = LENGTHS;
    FastCDC::new(file, least, usual, greatest).map(|cut| cut.offset..cut.offset + cut.length)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        (0..len.div_ceil(32)).flat_map(|n| *Digest::of(&n.to_le_bytes()).as_bytes()).take(len).collect()
    }

    #[test]
    fn what_is_inserted_moves_no_other_cut() {
        let old = noise(4 << 20);
        let mut new = old.clone();
        new.splice(1_000_000..1_000_003, *b"other bytes");
        let known = places(&old);
        let missing: u64 = chunks(&new).iter().filter(|c| !known.contains_key(&c.digest)).map(|c| c.size.0).sum();
        assert!((1..=3 * (128 << 10)).contains(&missing), "{missing}");
        assert_eq!(chunks(&new).iter().map(|c| c.size.0).sum::<u64>(), new.len() as u64);
    }

    /// Devices in use cut their files like this; a change makes them fetch whole kernel images.
    #[test]
    fn the_cuts_stay_where_they_are() {
        let lengths: Vec<u64> = chunks(&noise(256 << 10)).iter().map(|c| c.size.0).collect();
        assert_eq!(lengths, [49058, 48133, 53985, 41413, 46140, 23415]);
    }
}
