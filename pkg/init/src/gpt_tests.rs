use super::*;
use std::cell::RefCell;

/// A disk in memory, which notes what is asked beyond its end.
struct Disk(RefCell<Vec<u8>>);

impl FileExt for Disk {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.0.borrow();
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let n = buf.len().min(bytes.len() - from);
        buf[..n].copy_from_slice(&bytes[from..from + n]);
        Ok(n)
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        unreachable!("a table is only read")
    }
}

const BLOCKS: u64 = 100;

fn header(block: usize, at: u64, entries_at: u64, entries: &[u8]) -> Vec<u8> {
    let mut h = vec![0; block];
    h[..8].copy_from_slice(b"EFI PART");
    h[8..12].copy_from_slice(&0x0001_0000u32.to_le_bytes());
    h[12..16].copy_from_slice(&92u32.to_le_bytes());
    h[24..32].copy_from_slice(&at.to_le_bytes());
    h[72..80].copy_from_slice(&entries_at.to_le_bytes());
    h[80..84].copy_from_slice(&(entries.len() as u32 / 128).to_le_bytes());
    h[84..88].copy_from_slice(&128u32.to_le_bytes());
    h[88..92].copy_from_slice(&crc32(entries).to_le_bytes());
    let crc = crc32(&h[..92]);
    h[16..20].copy_from_slice(&crc.to_le_bytes());
    h
}

fn disk(block: usize) -> Disk {
    let mut entries = vec![0; 8 * 128];
    for (slot, label, seed) in [(0, "EFI System", 1u8), (2, "IMGA", 2)] {
        let e = &mut entries[slot * 128..][..128];
        e[..16].fill(7);
        for (i, b) in e[16..32].iter_mut().enumerate() {
            *b = seed << 4 | i as u8;
        }
        e[32..40].copy_from_slice(&(10 * slot as u64 + 3).to_le_bytes());
        e[40..48].copy_from_slice(&(10 * slot as u64 + 9).to_le_bytes());
        for (i, unit) in label.encode_utf16().enumerate() {
            e[56 + 2 * i..][..2].copy_from_slice(&unit.to_le_bytes());
        }
    }
    let mut bytes = vec![0; block * BLOCKS as usize];
    bytes[block..2 * block].copy_from_slice(&header(block, 1, 2, &entries));
    bytes[2 * block..][..entries.len()].copy_from_slice(&entries);
    let (copy, last) = (BLOCKS - 10, BLOCKS - 1);
    bytes[copy as usize * block..][..entries.len()].copy_from_slice(&entries);
    bytes[last as usize * block..].copy_from_slice(&header(block, last, copy, &entries));
    Disk(RefCell::new(bytes))
}

#[test]
fn partitions_are_found_with_both_sizes_of_block() {
    for block in [512, 4096] {
        let found = read(&disk(block), block as u64, BLOCKS).unwrap();
        assert_eq!(
            found.iter().map(|p| (p.number, p.name.as_str())).collect::<Vec<_>>(),
            [(1, "EFI System"), (3, "IMGA")]
        );
        let block = block as u64;
        assert_eq!([&found[0].range, &found[1].range], [&(3 * block..10 * block), &(23 * block..30 * block)]);
        // 20 21 22 23 24 25 26 27 … on disk
        assert_eq!(guid_text(&found[1].guid), "23222120-2524-2726-2829-2a2b2c2d2e2f");
    }
}

#[test]
fn a_damaged_table_is_read_from_its_copy() {
    for at in [512, 512 + 16, 512 + 91, 1024, 1024 + 1023] {
        let disk = disk(512);
        disk.0.borrow_mut()[at] ^= 1;
        assert_eq!(read(&disk, 512, BLOCKS).unwrap().len(), 2, "byte {at}");
    }
}

#[test]
fn with_both_damaged_the_fault_of_the_first_is_named() {
    let last = 512 * (BLOCKS as usize - 1);
    for (at, text) in
        [(512, "no GPT"), (512 + 20, "GPT damaged: header checksum"), (1024 + 5, "GPT damaged: checksum of entries")]
    {
        let disk = disk(512);
        disk.0.borrow_mut()[at] ^= 1;
        disk.0.borrow_mut()[last] ^= 1;
        assert_eq!(read(&disk, 512, BLOCKS).unwrap_err().to_string(), text);
    }
}

#[test]
fn no_header_leads_outside_or_takes_memory() {
    let entries = vec![0; 128];
    for (range, value, text) in [
        (12..16, 0xffff_ffffu64, "header size"),
        (12..16, 0, "header size"),
        (24..32, 7, "header place"),
        (72..80, u64::MAX, "place of entries"),
        (80..84, 0xffff_ffff, "size of entries"),
        (84..88, 1, "size of entries"),
    ] {
        let mut h = header(512, 1, 2, &entries);
        let bytes = value.to_le_bytes();
        h[range.clone()].copy_from_slice(&bytes[..range.len()]);
        h[16..20].fill(0);
        let crc = crc32(&h[..92]);
        h[16..20].copy_from_slice(&crc.to_le_bytes());
        let disk = Disk(RefCell::new([vec![0; 512], h, entries.clone()].concat()));
        let fault = read(&disk, 512, 3).unwrap_err().to_string();
        assert_eq!(fault, format!("GPT damaged: {text}"));
    }
    for len in [0, 511, 1023] {
        let disk = Disk(RefCell::new(vec![0; len]));
        assert!(matches!(read(&disk, 512, (len / 512) as u64).unwrap_err(), Fault::Io(_)));
    }
}

#[test]
fn a_partition_that_cannot_be_is_nowhere() {
    for (first, last) in [(5, 4), (0, u64::MAX), (u64::MAX / 512 + 1, u64::MAX / 512 + 2)] {
        assert_eq!(range(first, last, 512), None, "{first} {last}");
    }
    assert_eq!(range(5, 5, 512), Some(2560..3072));
}

#[test]
fn the_checksum_is_that_of_ieee_802_3() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}
