//! Hyper-V's format (Microsoft, *[MS-VHDX]: Virtual Hard Disk v2 File Format*).
//!
//! ```text
//! 0      64 KiB  128 KiB  192 KiB  256 KiB  1 MiB  2 MiB     3 MiB
//! name │ header │ header │ table  │ table  │ log  │ metadata │ allocation table │ blocks of 1 MiB
//! ```

use crate::{
    Header,
    blocks::{blocks, len, size},
};
use crc::{CRC_32_ISCSI, Crc};
use std::{fs::File, io, os::unix::fs::FileExt as _};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const BLOCK: u64 = MIB;
const LOG_AT: u64 = MIB;
const METADATA_AT: u64 = 2 * MIB;
const TABLE_AT: u64 = 3 * MIB;
/// Blocks for which there is one entry of a bitmap that only differencing disks use (§2.5).
const PER_BITMAP: u64 = (1 << 23) * 512 / BLOCK;
const LARGEST: u64 = 1 << 41;
/// `PAYLOAD_BLOCK_FULLY_PRESENT` (§2.5.1.1)
const PRESENT: u64 = 6;

/// GUIDs as they lie in the file: the first three fields are little-endian.
const BAT: [u8; 16] = guid(0x2dc2_7766, 0xf623, 0x4200, 0x9d64_115e_9bfd_4a08);
const METADATA: [u8; 16] = guid(0x8b7c_a206, 0x4790, 0x4b9a, 0xb8fe_575f_050f_886e);
const FILE_PARAMETERS: [u8; 16] = guid(0xcaa1_6737, 0xfa36, 0x4d43, 0xb3b6_33f0_aa44_e76b);
const DISK_SIZE: [u8; 16] = guid(0x2fa5_4224, 0xcd1b, 0x4876, 0xb211_5dbe_d83b_f4b8);
const LOGICAL_SECTOR: [u8; 16] = guid(0x8141_bf1d, 0xa96f, 0x4709, 0xba47_f233_a8fa_ab5f);
const PHYSICAL_SECTOR: [u8; 16] = guid(0xcda3_48c7, 0x445d, 0x4471, 0x9cc9_e988_5251_c556);
const DISK_ID: [u8; 16] = guid(0xbeca_12ab, 0xb2e6, 0x4523, 0x93ef_c309_e000_c746);

const fn guid(a: u32, b: u16, c: u16, d: u64) -> [u8; 16] {
    let ([a0, a1, a2, a3], [b0, b1], [c0, c1]) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
    let [d0, d1, d2, d3, d4, d5, d6, d7] = d.to_be_bytes();
    [a0, a1, a2, a3, b0, b1, c0, c1, d0, d1, d2, d3, d4, d5, d6, d7]
}

/// Writes a raw disk as a dynamic VHDX. The GUID is the disk's own.
///
/// # Errors
/// When reading or writing fails, or the disk is too large.
pub fn vhdx(raw: &File, out: &File, guid: [u8; 16]) -> io::Result<()> {
    let size = size(raw, LARGEST)?;
    let count = size.div_ceil(BLOCK);
    let entries = count + (count - 1) / PER_BITMAP;
    let table_len = (entries * 8).next_multiple_of(MIB);
    let mut table = vec![0u64; len(entries)?];
    let mut next = TABLE_AT + table_len;
    out.set_len(0)?;
    blocks(raw, BLOCK, |n, bytes| {
        // the place is a multiple of 1 MiB, in the bits from 20 on
        table[(n + n / PER_BITMAP) as usize] = next | PRESENT;
        out.write_all_at(bytes, next)?;
        next += BLOCK;
        Ok(())
    })?;
    out.set_len(next)?;
    let table: Vec<u8> = table.into_iter().flat_map(u64::to_le_bytes).collect();
    out.write_all_at(&table, TABLE_AT)?;
    for (at, item) in metadata(size, guid) {
        out.write_all_at(&item, METADATA_AT + at)?;
    }
    let regions = with_crc(regions(table_len), 64 * KIB);
    for at in [192, 256] {
        out.write_all_at(&regions, at * KIB)?;
    }
    for (at, sequence) in [(64, 1), (128, 2)] {
        out.write_all_at(&with_crc(header(sequence, guid), 4 * KIB), at * KIB)?;
    }
    // §2.2.1: the name, and who has made it in UTF-16
    let creator: Vec<u8> = "evek".encode_utf16().flat_map(u16::to_le_bytes).collect();
    out.write_all_at(&Header::default().bytes(b"vhdxfile").bytes(&creator).0, 0)
}

/// §2.2.2
fn header(sequence: u64, guid: [u8; 16]) -> Header {
    let header = Header::default().bytes(b"head").u32(0).u64(sequence);
    // the states of file and data; no log to replay; versions of log and format
    let header = header.bytes(&guid).bytes(&guid).bytes(&[0; 16]).bytes(&[0, 0, 1, 0]);
    header.u32(MIB as u32).u64(LOG_AT)
}

/// §2.2.3
fn regions(table_len: u64) -> Header {
    let header = Header::default().bytes(b"regi").u32(0).u32(2).u32(0);
    // both are required
    let header = header.bytes(&BAT).u64(TABLE_AT).u32(table_len as u32).u32(1);
    header.bytes(&METADATA).u64(METADATA_AT).u32(MIB as u32).u32(1)
}

/// The items of the metadata by offset, the table of them first (§2.6).
fn metadata(size: u64, guid: [u8; 16]) -> Vec<(u64, Vec<u8>)> {
    const IS_VIRTUAL_DISK: u32 = 2;
    const IS_REQUIRED: u32 = 4;
    let block = Header::default().u32(BLOCK as u32).u32(0).0;
    let items = [
        (FILE_PARAMETERS, IS_REQUIRED, block),
        (DISK_SIZE, IS_VIRTUAL_DISK | IS_REQUIRED, size.to_le_bytes().to_vec()),
        (DISK_ID, IS_VIRTUAL_DISK | IS_REQUIRED, guid.to_vec()),
        (LOGICAL_SECTOR, IS_VIRTUAL_DISK | IS_REQUIRED, 512u32.to_le_bytes().to_vec()),
        (PHYSICAL_SECTOR, IS_VIRTUAL_DISK | IS_REQUIRED, 512u32.to_le_bytes().to_vec()),
    ];
    let mut table = Header::default().bytes(b"metadata").bytes(&[0; 2]).bytes(&[items.len() as u8, 0]).to(32);
    let mut all = Vec::new();
    let mut at = 64 * KIB;
    for (item, flags, bytes) in items {
        table = table.bytes(&item).u32(at as u32).u32(bytes.len() as u32).u32(flags).u32(0);
        all.push((at, bytes));
        at += 32;
    }
    all.insert(0, (0, table.0));
    all
}

/// The checksum is over the whole structure, whose own field at 4 is zero (§2.2.2, §2.2.3).
fn with_crc(header: Header, len: u64) -> Vec<u8> {
    let mut bytes = header.to(len as usize).0;
    let sum = Crc::<u32>::new(&CRC_32_ISCSI).checksum(&bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}
