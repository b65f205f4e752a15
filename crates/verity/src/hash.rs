//! Hashing blocks, in parallel and without holding the data in memory.

use crate::{BLOCK, Error};
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use std::{fs::File, os::unix::fs::FileExt as _};
use types::Digest;

/// Digests in one hash block.
pub(crate) const PER_BLOCK: u64 = BLOCK / DIGEST as u64;
pub(crate) const DIGEST: usize = 32;
pub(crate) const BLOCK_LEN: usize = BLOCK as usize;
/// Blocks that one task reads at once: 1 MiB, enough to hide the cost of a read.
pub(crate) const RUN: usize = 256;

/// `sha256(salt ‖ block)`, as format version 1 has it (version 0 has the salt behind).
pub(crate) fn of_block(block: &[u8], salt: &[u8]) -> [u8; DIGEST] {
    Sha256::new().chain_update(salt).chain_update(block).finalize().into()
}

/// One digest for each data block, one after the other.
pub(crate) fn digests_of_data(file: &File, blocks: u64, salt: &[u8]) -> Result<Vec<u8>, Error> {
    let too_large = |_| Error::Length { len: blocks.saturating_mul(BLOCK) };
    let mut digests = vec![0; usize::try_from(blocks).map_err(too_large)? * DIGEST];
    digests.par_chunks_mut(RUN * DIGEST).enumerate().try_for_each_init(
        || vec![0; RUN * BLOCK_LEN],
        |buf, (run, out)| {
            let offset = (run * RUN * BLOCK_LEN) as u64;
            let buf = &mut buf[..out.len() / DIGEST * BLOCK_LEN];
            file.read_exact_at(buf, offset).map_err(|source| Error::Io { action: "read", offset, source })?;
            for (digest, block) in out.chunks_exact_mut(DIGEST).zip(buf.chunks_exact(BLOCK_LEN)) {
                digest.copy_from_slice(&of_block(block, salt));
            }
            Ok(())
        },
    )?;
    Ok(digests)
}

/// The hash blocks of every level, lowest first, and the digest of the highest.
pub(crate) struct Levels {
    pub(crate) root: Digest,
    levels: Vec<Vec<u8>>,
}

impl Levels {
    /// Builds the tree above the digests of the data. A single digest is the root hash itself, with no tree.
    pub(crate) fn build(mut digests: Vec<u8>, salt: &[u8]) -> Self {
        let mut levels = Vec::new();
        while digests.len() > DIGEST {
            digests.resize(digests.len().next_multiple_of(BLOCK_LEN), 0);
            let above = digests.par_chunks(BLOCK_LEN).flat_map_iter(|block| of_block(block, salt)).collect();
            levels.push(std::mem::replace(&mut digests, above));
        }
        let mut root = [0; DIGEST];
        root.copy_from_slice(&digests);
        Self { root: Digest::from_bytes(root), levels }
    }

    /// Appends the blocks, highest level first, as they lie on disk.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        self.levels.iter().rev().for_each(|level| out.extend_from_slice(level));
    }
}
