//! An image for Google Compute Engine: `disk.raw`, of whole GiB, in a tar of GNU's old form with holes, in gzip (Compute Engine,
//! *Requirements to build custom images*; GNU tar, *The Sparse Format Families: Old GNU Format*).

use crate::blocks::{blocks, len, size};
use flate2::{Compression, GzBuilder};
use std::{
    fs::File,
    io::{self, Write},
    ops::Range,
    os::unix::fs::FileExt as _,
};

const GIB: u64 = 1 << 30;
const BLOCK: u64 = 64 << 10;
const LARGEST: u64 = 1 << 41;
/// Ranges of data in the header itself.
const IN_HEADER: usize = 4;
/// And in each of the sectors that follow it.
const IN_SECTOR: usize = 21;

/// Writes a raw disk as an archive for Compute Engine.
///
/// # Errors
/// When reading or writing fails, or the disk is too large.
pub fn gcp(raw: &File, out: &File) -> io::Result<()> {
    let size = size(raw, LARGEST)?;
    let mut ranges: Vec<Range<u64>> = Vec::new();
    blocks(raw, BLOCK, |n, _| {
        let (start, end) = (n * BLOCK, ((n + 1) * BLOCK).min(size));
        match ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => ranges.push(start..end),
        }
        Ok(())
    })?;
    let whole = size.next_multiple_of(GIB);
    // the end of the file, where it is a hole
    ranges.push(whole..whole);
    out.set_len(0)?;
    // no name and no time in it
    let mut gzip = GzBuilder::new().write(out, Compression::default());
    for sector in headers(&ranges, whole) {
        gzip.write_all(&sector)?;
    }
    let mut sent = 0;
    let mut bytes = vec![0; len(BLOCK)?];
    for range in &ranges {
        let mut at = range.start;
        while at < range.end {
            let n = BLOCK.min(range.end - at);
            let piece = &mut bytes[..len(n)?];
            raw.read_exact_at(piece, at)?;
            gzip.write_all(piece)?;
            at += n;
        }
        sent += range.end - range.start;
    }
    let padding = sent.next_multiple_of(512) - sent;
    // and two sectors of zeros, which end an archive
    gzip.write_all(&vec![0; len(padding)? + 1024])?;
    gzip.finish()?;
    Ok(())
}

/// The header of the one file, and the sectors with its further ranges.
fn headers(ranges: &[Range<u64>], size: u64) -> Vec<[u8; 512]> {
    let stored = ranges.iter().map(|range| range.end - range.start).sum();
    let mut header = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"disk.raw");
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, &number(stored));
    put(136, &number(types::EPOCH));
    put(156, b"S");
    put(257, b"ustar  \0");
    for (n, range) in ranges.iter().take(IN_HEADER).enumerate() {
        put(386 + n * 24, &entry(range));
    }
    let rest = ranges.get(IN_HEADER..).unwrap_or_default();
    put(482, &[u8::from(!rest.is_empty())]);
    put(483, &number(size));
    put(148, &[b' '; 8]);
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let chunks = rest.chunks(IN_SECTOR);
    let last = chunks.len();
    let more = chunks.enumerate().map(|(n, chunk)| {
        let mut sector = [0; 512];
        for (n, range) in chunk.iter().enumerate() {
            sector[n * 24..(n + 1) * 24].copy_from_slice(&entry(range));
        }
        sector[504] = u8::from(n + 1 < last);
        sector
    });
    [header].into_iter().chain(more).collect()
}

fn entry(range: &Range<u64>) -> [u8; 24] {
    let mut entry = [0; 24];
    entry[..12].copy_from_slice(&number(range.start));
    entry[12..].copy_from_slice(&number(range.end - range.start));
    entry
}

/// 11 octal digits; where these are too few, GNU's form: a mark, and the number with its highest byte first.
fn number(n: u64) -> [u8; 12] {
    let mut field = [0; 12];
    if n < 1 << 33 {
        field[..11].copy_from_slice(format!("{n:011o}").as_bytes());
    } else {
        field[0] = 0x80;
        field[4..].copy_from_slice(&n.to_be_bytes());
    }
    field
}
