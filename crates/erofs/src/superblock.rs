//! The superblock, `struct erofs_super_block`, 128 bytes at byte 1024; all numbers little-endian.
//!
//! ```text
//!  0 magic u32            14 root inode u16       44 xattr block u32      86 … zero here: devices,
//!  4 crc32c u32           16 inodes u64           48 uuid[16]                prefixes, packed inode,
//!  8 compatible u32       24 time u64, 32 ns u32  64 label[16]               directory block bits
//! 12 block bits u8 = 12   36 blocks u32           80 incompatible u32
//! 13 extra slots u8       40 metadata block u32   84 compression u16
//! ```

use crate::{BLOCK, Plan};
use types::Bytes;

/// Where it lies in block 0.
pub(crate) const AT: usize = 1024;
pub(crate) const LEN: usize = 128;
const MAGIC: u32 = 0xe0f5_e1e2;
const BLOCK_BITS: u8 = 12;
/// The checksum is valid; times are of modification.
const COMPATIBLE: u32 = 0x1 | 0x2;

/// What a superblock says, as far as a plain file system needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Number of blocks of [`BLOCK`] bytes.
    pub blocks: u32,
    /// Number of inodes.
    pub inodes: u64,
    /// The file system's UUID, in the order of RFC 4122.
    pub uuid: [u8; 16],
    /// The label.
    pub label: String,
    /// Seconds since 1970 that compact inodes have as their time.
    pub epoch: u64,
}

/// Why bytes are no superblock that this crate reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no EROFS superblock: {problem}")]
pub struct BadSuperblock {
    /// What is wrong with it.
    pub problem: String,
}

pub(crate) fn bytes<const N: usize>(block: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&block[AT + at..AT + at + N]);
    out
}

impl Superblock {
    /// Reads the superblock from the first [`BLOCK`] or more bytes of a file system; the checksum must be there and right.
    ///
    /// # Errors
    /// [`BadSuperblock`].
    pub fn read(start: &[u8]) -> Result<Self, BadSuperblock> {
        let bad = |problem: String| BadSuperblock { problem };
        let block = start.get(..BLOCK as usize).ok_or_else(|| bad(format!("{} bytes are too few", start.len())))?;
        let number = |at| u32::from_le_bytes(bytes(block, at));
        if number(0) != MAGIC {
            return Err(bad(format!("the magic number is {:#x}", number(0))));
        }
        if bytes(block, 12) != [BLOCK_BITS] {
            return Err(bad(format!("blocks are 2^{} bytes, not {BLOCK}", block[AT + 12])));
        }
        if number(8) & 1 == 0 || number(4) != checksum(block) {
            return Err(bad(format!("the checksum is {:#x}, not {:#x}", number(4), checksum(block))));
        }
        let label: [u8; 16] = bytes(block, 64);
        Ok(Self {
            blocks: number(36),
            inodes: u64::from_le_bytes(bytes(block, 16)),
            uuid: bytes(block, 48),
            label: String::from_utf8_lossy(&label).trim_end_matches('\0').to_owned(),
            epoch: u64::from_le_bytes(bytes(block, 24)),
        })
    }

    /// The file system's length.
    #[must_use]
    pub const fn size(&self) -> Bytes {
        Bytes(self.blocks as u64 * BLOCK)
    }
}

/// Puts the superblock of a plan into the metadata, which must be complete but for it.
pub(crate) fn put(plan: &Plan<'_>, metadata: &mut [u8]) {
    let mut put = |at: usize, bytes: &[u8]| metadata[AT + at..AT + at + bytes.len()].copy_from_slice(bytes);
    put(0, &MAGIC.to_le_bytes());
    put(8, &COMPATIBLE.to_le_bytes());
    put(12, &[BLOCK_BITS]);
    put(14, &(plan.inodes[0].number() as u16).to_le_bytes());
    put(16, &(plan.inodes.len() as u64).to_le_bytes());
    put(24, &plan.options.epoch.to_le_bytes());
    put(36, &plan.blocks.to_le_bytes());
    put(48, &plan.options.uuid);
    put(64, plan.options.label.as_bytes());
    let checksum = checksum(&metadata[..BLOCK as usize]);
    metadata[AT + 4..AT + 8].copy_from_slice(&checksum.to_le_bytes());
}

/// CRC-32C over the rest of block 0 from the superblock on, the field itself being zero, without the final inversion.
fn checksum(block: &[u8]) -> u32 {
    block.iter().enumerate().skip(AT).fold(!0, |crc, (at, byte)| {
        let byte = if (AT + 4..AT + 8).contains(&at) { 0 } else { *byte };
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}
