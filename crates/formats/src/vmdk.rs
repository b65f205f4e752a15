//! VMware's format, one sparse file (VMware, *Virtual Disk Format 5.0*, *Hosted Sparse Extent*).
//!
//! ```text
//! header │ descriptor: text │ directory, tables │ the same again │ grains of 64 KiB
//! ```

use crate::{
    Header,
    blocks::{blocks, len, size},
};
use std::{fs::File, io, os::unix::fs::FileExt as _};

const SECTOR: u64 = 512;
/// Sectors of a grain.
const GRAIN: u64 = 128;
/// Grains of a table; a table has 4 sectors.
const PER_TABLE: u64 = 512;
/// Sectors of the descriptor.
const DESCRIPTOR: u64 = 20;
/// The place of a grain is a sector in 32 bits.
const LARGEST: u64 = 1 << 40;

/// Writes a raw disk as a monolithic sparse VMDK. The GUID gives its content ID.
///
/// # Errors
/// When reading or writing fails, or the disk is too large.
pub fn vmdk(raw: &File, out: &File, name: &str, guid: [u8; 16]) -> io::Result<()> {
    let size = size(raw, LARGEST)?;
    let grains = size.div_ceil(GRAIN * SECTOR);
    let tables = grains.div_ceil(PER_TABLE);
    let directory = (tables * 4).div_ceil(SECTOR);
    let [second, first] = [1, 0].map(|n| 1 + DESCRIPTOR + n * (directory + tables * 4));
    let data = (second + directory + tables * 4).next_multiple_of(GRAIN);
    let mut places = vec![0u32; len(tables * PER_TABLE)?];
    let mut next = data;
    out.set_len(0)?;
    blocks(raw, GRAIN * SECTOR, |n, bytes| {
        places[n as usize] = next as u32;
        out.write_all_at(bytes, next * SECTOR)?;
        next += GRAIN;
        Ok(())
    })?;
    out.set_len(next * SECTOR)?;
    let places: Vec<u8> = places.into_iter().flat_map(u32::to_le_bytes).collect();
    for at in [first, second] {
        let tables = (0..tables).flat_map(|n| ((at + directory + n * 4) as u32).to_le_bytes());
        out.write_all_at(&tables.collect::<Vec<u8>>(), at * SECTOR)?;
        out.write_all_at(&places, (at + directory) * SECTOR)?;
    }
    out.write_all_at(descriptor(name, size, guid).as_bytes(), SECTOR)?;
    // version 1; new lines are tested, and the second directory is used, too
    let header = Header::default().bytes(b"KDMV").u32(1).u32(3);
    let header = header.u64(size / SECTOR).u64(GRAIN).u64(1).u64(DESCRIPTOR).u32(PER_TABLE as u32);
    let header = header.u64(second).u64(first).u64(data).bytes(b"\0\n \r\n").bytes(&[0; 2]).to(SECTOR as usize);
    out.write_all_at(&header.0, 0)
}

fn descriptor(name: &str, size: u64, guid: [u8; 16]) -> String {
    let cid = u32::from_be_bytes([guid[0], guid[1], guid[2], guid[3]]);
    let cylinders = (size / SECTOR / (16 * 63)).min(16383);
    format!(
        "# Disk DescriptorFile\nversion=1\nCID={cid:08x}\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\n\n\
         # Extent description\nRW {} SPARSE \"{name}\"\n\n# The Disk Data Base\n#DDB\n\n\
         ddb.virtualHWVersion = \"4\"\nddb.geometry.cylinders = \"{cylinders}\"\nddb.geometry.heads = \"16\"\n\
         ddb.geometry.sectors = \"63\"\nddb.adapterType = \"ide\"\n",
        size / SECTOR
    )
}
