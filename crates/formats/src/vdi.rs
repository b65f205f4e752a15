//! VirtualBox's format (VirtualBox, `src/VBox/Storage/VDICore.h`).
//!
//! ```text
//! header, 512 bytes │ for each block of 1 MiB its place among the blocks that are there │ these blocks
//! ```

use crate::{
    Header,
    blocks::{blocks, size},
};
use std::{fs::File, io, os::unix::fs::FileExt as _};

const BLOCK: u64 = 1 << 20;
/// A block of the map that is not there.
const ABSENT: u32 = u32::MAX;
const MAP_AT: u64 = 512;
/// The format has 32 bits for the number of a block.
const LARGEST: u64 = 1 << 41;

/// Writes a raw disk as a dynamic VDI. The GUID is the disk's own.
///
/// # Errors
/// When reading or writing fails, or the disk is too large.
pub fn vdi(raw: &File, out: &File, guid: [u8; 16]) -> io::Result<()> {
    let size = size(raw, LARGEST)?;
    let count = size.div_ceil(BLOCK);
    let data_at = (MAP_AT + count * 4).next_multiple_of(BLOCK);
    let mut map = vec![ABSENT; crate::blocks::len(count)?];
    let mut there = 0;
    out.set_len(0)?;
    blocks(raw, BLOCK, |n, bytes| {
        map[n as usize] = there;
        out.write_all_at(bytes, data_at + u64::from(there) * BLOCK)?;
        there += 1;
        Ok(())
    })?;
    out.set_len(data_at + u64::from(there) * BLOCK)?;
    let map: Vec<u8> = map.into_iter().flat_map(u32::to_le_bytes).collect();
    out.write_all_at(&map, MAP_AT)?;
    let header = Header::default().bytes(b"<<< Oracle VM VirtualBox Disk Image >>>\n").to(64);
    // signature, version 1.1, size of the header, dynamic, no flags, no comment
    let header = header.u32(0xbeda_107f).u32(0x0001_0001).u32(400).u32(1).u32(0).to(84 + 256);
    let header = header.u32(MAP_AT as u32).u32(data_at as u32);
    // no geometry, which is LBA's; 512 bytes a sector
    let header = header.u32(0).u32(0).u32(0).u32(512).u32(0);
    let header = header.u64(size).u32(BLOCK as u32).u32(0).u32(count as u32).u32(there);
    // the image and its state; no snapshot, no parent
    let header = header.bytes(&guid).bytes(&guid).to(MAP_AT as usize);
    out.write_all_at(&header.0, 0)
}
