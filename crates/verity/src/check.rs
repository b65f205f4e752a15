//! Checking an image against its root hash, top-down, as the kernel does.

use crate::{
    BLOCK, Error, Superblock,
    hash::{BLOCK_LEN, DIGEST, PER_BLOCK, RUN, of_block},
};
use rayon::prelude::*;
use std::{fmt, fs::File, os::unix::fs::FileExt as _};
use types::Digest;

/// The first block that does not have the digest that the level above promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A block of the data, counted from 0.
    Data(u64),
    /// A block of the tree, counted from the start of the image in blocks of [`BLOCK`] bytes. The highest block is also the
    /// one named when the root hash belongs to another image.
    Tree(u64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, block) = match self {
            Self::Data(block) => ("data", block),
            Self::Tree(block) => ("hash", block),
        };
        write!(f, "{what} block {block} (byte {}) is wrong", block * BLOCK)
    }
}

/// Checks data and tree of an image whose superblock lies at byte `data_blocks × 4096`. Nothing is believed that the root
/// hash does not cover: the caller passes the number of blocks, from the signed command line.
///
/// # Errors
/// [`Error::Corrupt`] with the first bad block, [`Error::Superblock`] when that is damaged, [`Error::Io`] when the image is
/// shorter than it should be.
pub fn verify(file: &File, data_blocks: u64, root_hash: Digest) -> Result<(), Error> {
    let hash_offset = data_blocks
        .checked_mul(BLOCK)
        .filter(|o| *o > 0)
        .ok_or(Error::Length { len: data_blocks.wrapping_mul(BLOCK) })?;
    let mut raw = vec![0; BLOCK_LEN];
    read(file, &mut raw, hash_offset)?;
    let superblock = Superblock::parse(&raw)?;
    if superblock.data_blocks() != data_blocks {
        return Err(Error::Superblock {
            field: "data blocks",
            found: superblock.data_blocks().to_string(),
            expected: data_blocks.to_string(),
        });
    }
    let salt = superblock.salt();

    // blocks a level, lowest first; on disk the highest comes first
    let mut counts = Vec::new();
    let mut digests = data_blocks;
    while digests > 1 {
        digests = digests.div_ceil(PER_BLOCK);
        counts.push(digests);
    }
    let mut expected = root_hash.as_bytes().to_vec();
    let mut at = data_blocks + 1;
    for count in counts.into_iter().rev() {
        expected = check_run(file, at, count, &expected, salt, true)
            .map_err(|e| e.into_error(root_hash, |block| Fault::Tree(at + block)))?;
        at += count;
    }
    let runs = expected.par_chunks(RUN * DIGEST).enumerate();
    let first = runs.find_map_first(|(run, expected)| {
        let start = (run * RUN) as u64;
        let count = data_blocks.saturating_sub(start).min((expected.len() / DIGEST) as u64);
        let checked = check_run(file, start, count, expected, salt, false);
        checked.err().map(|e| e.into_error(root_hash, |block| Fault::Data(start + block)))
    });
    first.map_or(Ok(()), Err)
}

enum RunError {
    Bad(u64),
    Read(Error),
}

impl RunError {
    fn into_error(self, root_hash: Digest, fault: impl FnOnce(u64) -> Fault) -> Error {
        match self {
            Self::Bad(block) => Error::Corrupt { root_hash, fault: fault(block) },
            Self::Read(e) => e,
        }
    }
}

/// Compares `count` blocks from block `at` on with their digests; returns the blocks when they are to be kept.
fn check_run(file: &File, at: u64, count: u64, expected: &[u8], salt: &[u8], keep: bool) -> Result<Vec<u8>, RunError> {
    let len = usize::try_from(count * BLOCK).map_err(|_| RunError::Read(Error::Length { len: count * BLOCK }))?;
    let mut blocks = vec![0; len];
    read(file, &mut blocks, at * BLOCK).map_err(RunError::Read)?;
    let pairs = blocks.chunks_exact(BLOCK_LEN).zip(expected.chunks_exact(DIGEST));
    for (n, (block, digest)) in pairs.enumerate() {
        if of_block(block, salt) != digest {
            return Err(RunError::Bad(n as u64));
        }
    }
    Ok(if keep { blocks } else { Vec::new() })
}

fn read(file: &File, buf: &mut [u8], offset: u64) -> Result<(), Error> {
    file.read_exact_at(buf, offset).map_err(|source| Error::Io { action: "read", offset, source })
}
