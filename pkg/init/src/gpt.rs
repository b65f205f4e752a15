//! Reading a GUID partition table (UEFI 2.10 §5.3), as little of it as finding a partition takes.
//!
//! ```text
//! block 1          header: signature "EFI PART", its own CRC at 16 (counted as 0), last block's copy
//! block n (at 72)  entries: number at 80, size at 84, CRC of all at 88
//!                  entry: type GUID[16], unique GUID[16], first block, last block, attributes, name[36] UTF-16LE
//! ```

use std::{fmt, io, ops::Range, os::unix::fs::FileExt};

/// A used entry of a partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Partition {
    /// Its number, from 1.
    pub(crate) number: u32,
    /// Its unique GUID, in the order of the text form.
    pub(crate) guid: [u8; 16],
    /// Its name.
    pub(crate) name: String,
    /// Where it lies on the disk, in bytes; nothing where that cannot be.
    pub(crate) range: Range<u64>,
}

/// Why a disk has no usable partition table.
#[derive(Debug)]
pub(crate) enum Fault {
    Io(io::Error),
    NoTable,
    Damaged(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(e) => write!(f, "unreadable: {e}"),
            Self::NoTable => f.write_str("no GPT"),
            Self::Damaged(what) => write!(f, "GPT damaged: {what}"),
        }
    }
}

/// Most entries' bytes that are read; tables have 16 KiB.
const ENTRIES_MAX: u64 = 1 << 20;

/// Reads the table of a disk with `block` bytes a logical block and `blocks` blocks: the first, or else its copy at the
/// end.
pub(crate) fn read(disk: &impl FileExt, block: u64, blocks: u64) -> Result<Vec<Partition>, Fault> {
    match read_at(disk, block, 1) {
        Ok(partitions) => Ok(partitions),
        Err(first) => match blocks.checked_sub(1).filter(|last| *last > 1).map(|last| read_at(disk, block, last)) {
            Some(Ok(partitions)) => Ok(partitions),
            _ => Err(first),
        },
    }
}

fn read_at(disk: &impl FileExt, block: u64, at: u64) -> Result<Vec<Partition>, Fault> {
    let mut header = vec![0; block as usize];
    disk.read_exact_at(&mut header, at * block).map_err(Fault::Io)?;
    if header.get(..8) != Some(b"EFI PART") {
        return Err(Fault::NoTable);
    }
    let size = u32_at(&header, 12) as usize;
    if !(92..=header.len()).contains(&size) {
        return Err(Fault::Damaged("header size"));
    }
    let crc = u32_at(&header, 16);
    header[16..20].fill(0);
    if crc32(&header[..size]) != crc {
        return Err(Fault::Damaged("header checksum"));
    }
    if u64_at(&header, 24) != at {
        return Err(Fault::Damaged("header place"));
    }
    let (first, count, entry) = (u64_at(&header, 72), u32_at(&header, 80), u32_at(&header, 84) as usize);
    let length = u64::from(count) * entry as u64;
    if entry < 128 || length > ENTRIES_MAX {
        return Err(Fault::Damaged("size of entries"));
    }
    let place = first.checked_mul(block).ok_or(Fault::Damaged("place of entries"))?;
    let mut entries = vec![0; length as usize];
    disk.read_exact_at(&mut entries, place).map_err(Fault::Io)?;
    if crc32(&entries) != u32_at(&header, 88) {
        return Err(Fault::Damaged("checksum of entries"));
    }
    let used = (1..).zip(entries.chunks_exact(entry)).filter(|(_, e)| e[..16] != [0; 16]);
    let partition = |(number, e): (u32, &[u8])| {
        let range = range(u64_at(e, 32), u64_at(e, 40), block).unwrap_or_default();
        Partition { number, guid: text_order(&e[16..32]), name: name(&e[56..128]), range }
    };
    Ok(used.map(partition).collect())
}

/// From the first block to the last, both of which belong to it.
fn range(first: u64, last: u64, block: u64) -> Option<Range<u64>> {
    let range = first.checked_mul(block)?..last.checked_add(1)?.checked_mul(block)?;
    (range.start < range.end).then_some(range)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// On disk the first three fields are little-endian (UEFI 2.10, appendix A).
fn text_order(disk: &[u8]) -> [u8; 16] {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    ORDER.map(|at| disk[at])
}

fn name(raw: &[u8]) -> String {
    let units = raw.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).take_while(|u| *u != 0);
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// A GUID given in the order of its text form.
pub(crate) fn guid_text(guid: &[u8; 16]) -> String {
    let hex: String = guid.iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// CRC-32 as in IEEE 802.3, bit by bit: a table is 16 KiB.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

#[cfg(test)]
#[path = "gpt_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
