//! dm-verity: the hash tree and superblock behind the data of a slot, and the check of both.
//!
//! ```text
//! byte 0                    data_blocks × 4096                                                  end
//! ├── data (EROFS store) ───┼── superblock ──┼── top level ──┼── … ──┼── level 0 ───────────────┤
//!                           │ 4096 bytes,    │ 1 block       │       │ 128 sha256 digests a     │
//!                           │ 512 used       │               │       │ block, one a data block  │
//!                                              └─ sha256 of it is the root hash
//! ```
//! The bytes are those of `veritysetup format --hash-offset=<data>` with sha256, 4096-byte blocks and format version 1
//! (cryptsetup, `lib/verity/verity.c`; kernel, `Documentation/admin-guide/device-mapper/verity.rst`).
//!
//! There is no salt: a salt hinders collisions prepared for many images at once, but it has to be chosen, and a chosen
//! constant hinders nothing. Superblocks *with* a salt are read and verified. The UUID is the second half of the root
//! hash, because the root hash does not cover the superblock and nothing random may be in an image.
//!
//! Deliberately absent: forward error correction, signatures of the root hash (the UKI that carries it is signed), and
//! setting up the device-mapper target; [`Superblock::target`] only words its parameters.

mod check;
mod hash;
mod superblock;

pub use check::{Fault, verify};
pub use superblock::Superblock;

use hash::{Levels, digests_of_data};
use std::{fs::File, io, os::unix::fs::FileExt as _};
use types::{Bytes, Digest};

/// Size of data and hash blocks, in bytes.
pub const BLOCK: u64 = 4096;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing failed; a full disk arrives here too.
    #[error("cannot {action} at byte {offset}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where in the file.
        offset: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The data is not a whole, positive number of blocks.
    #[error("the data is {len} bytes long; dm-verity needs a positive multiple of {BLOCK}: pad the file system")]
    Length {
        /// Its length in bytes.
        len: u64,
    },
    /// The bytes are not a superblock that this crate and the kernel command line of EVE-k agree on.
    #[error("bad verity superblock: {field} is {found}, expected {expected}")]
    Superblock {
        /// The field's name.
        field: &'static str,
        /// What is there.
        found: String,
        /// What should be there.
        expected: String,
    },
    /// The image does not have the root hash that was promised.
    #[error("the image does not match root hash {}: {fault}", root_hash.hex())]
    Corrupt {
        /// The promise.
        root_hash: Digest,
        /// The first block that breaks it.
        fault: Fault,
    },
}

/// What [`append`] and [`format()`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verity {
    /// The hash that the kernel is given to trust.
    pub root_hash: Digest,
    /// Length of the data, in blocks of [`BLOCK`] bytes; also where the superblock lies.
    pub data_blocks: u64,
    /// The superblock as written.
    pub superblock: Superblock,
    /// Length of data, superblock and tree together.
    pub size: Bytes,
}

/// The number of bytes that superblock and tree take behind so much data.
#[must_use]
pub fn overhead(data: Bytes) -> Bytes {
    let mut digests = data.0.div_ceil(BLOCK);
    let mut blocks = 1;
    while digests > 1 {
        digests = digests.div_ceil(hash::PER_BLOCK);
        blocks += digests;
    }
    Bytes(blocks * BLOCK)
}

/// Hashes a whole file, which must be open for reading and writing, and appends superblock and tree.
///
/// # Errors
/// [`Error::Length`] when the file is no whole number of blocks, [`Error::Io`] otherwise.
pub fn append(file: &File) -> Result<Verity, Error> {
    let len = file.metadata().map_err(|source| Error::Io { action: "stat", offset: 0, source })?.len();
    let (verity, tail) = format(file, Bytes(len), &[], None)?;
    file.write_all_at(&tail, len).map_err(|source| Error::Io { action: "write the hash tree", offset: len, source })?;
    Ok(verity)
}

/// Hashes the first `data` bytes of a file and returns superblock and tree as bytes, to be written right behind the data.
/// The tree takes 1/128 of the data's size in memory. Without a UUID, the second half of the root hash is taken.
///
/// # Errors
/// [`Error::Length`], [`Error::Io`], or [`Error::Superblock`] for a salt of more than 256 bytes.
pub fn format(file: &File, data: Bytes, salt: &[u8], uuid: Option<[u8; 16]>) -> Result<(Verity, Vec<u8>), Error> {
    if data.0 == 0 || !data.0.is_multiple_of(BLOCK) {
        return Err(Error::Length { len: data.0 });
    }
    let data_blocks = data.0 / BLOCK;
    let levels = Levels::build(digests_of_data(file, data_blocks, salt)?, salt);
    let mut second_half = [0; 16];
    second_half.copy_from_slice(&levels.root.as_bytes()[16..]);
    let superblock = Superblock::new(data_blocks, salt, uuid.unwrap_or(second_half))?;
    let mut tail = superblock.to_block();
    levels.write_to(&mut tail);
    let size = Bytes(data.0 + tail.len() as u64);
    Ok((Verity { root_hash: levels.root, data_blocks, superblock, size }, tail))
}

#[cfg(test)]
mod tests;
