//! Writes plain, uncompressed EROFS file systems from a [`tree::Tree`], on the builder and on the device, and reads the
//! regular files of such a file system back.
//!
//! ```text
//! block 0            1 …             metadata end
//! ├ 1024 0 │ super- ─┼─ inodes, each ┼─ folders ─┼─ files, in the order of the tree ─┤
//! │ bytes  │ block   │  with xattrs  │  whole    │  each from a block's start        │
//! │        │ inodes… │  and its tail │  blocks   │  on, the last block padded        │
//! ```
//! Format: kernel, `fs/erofs/erofs_fs.h` and `Documentation/filesystems/erofs.rst`. Blocks are 4096 bytes. Inodes are
//! compact (32 bytes) where owner, size and links allow, otherwise extended (64). The rests of folders, symlinks and files
//! of at most 2048 bytes lie behind their inode (`FLAT_INLINE`); everything else is `FLAT_PLAIN`.
//!
//! [`Plan::new`] finds a place for everything from names and sizes alone; [`Plan::write`] streams, reading each file once,
//! so that files of any size pass through. The bytes depend on tree and [`Options`] only: a device that rebuilds a slot
//! gets the root hash that was signed.
//!
//! Three readers belong to it. [`Superblock`] reads the length of a file system, [`files()`] the bytes that each file takes,
//! in compressed file systems too, and [`extract`] copies the contents of a plain one.
//!
//! Deliberately absent: compression (layers are compressed by `mkfs.erofs`, once), reading compressed contents, shared
//! xattrs, chunks and deduplication, and other block sizes.

mod folder;
mod inode;
mod plan;
mod read;
mod superblock;
mod write;
mod xattr;

pub use plan::{Options, Plan};
pub use read::{ReadError, StoredFile, extract, files};
pub use superblock::{BadSuperblock, Superblock};
pub use write::PlacedFile;

use std::io::{self, Write};
use tree::Tree;
use types::Bytes;

/// Size of a block, in bytes.
pub const BLOCK: u64 = 4096;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that EROFS or this writer cannot hold.
    #[error("EROFS: /{path}: {problem}")]
    Entry {
        /// The entry's path.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A label of more than 16 bytes, or a file system of 16 TiB or more.
    #[error("EROFS: {0}")]
    Limit(&'static str),
    /// Reading a file or writing the image failed; a full disk arrives here too.
    #[error("EROFS: cannot {action} /{path}: {source}")]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The entry being written, or empty for the metadata.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// What [`write()`] wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Length of the file system, a multiple of [`BLOCK`].
    pub size: Bytes,
    /// Files, folders and all else, hard links counted once.
    pub inodes: u64,
}

/// Plans and writes a file system in one go.
///
/// # Errors
/// [`Error`].
pub fn write(tree: &Tree, options: &Options, out: impl Write) -> Result<Layout, Error> {
    let plan = Plan::new(tree, options)?;
    plan.write(out)?;
    Ok(plan.layout())
}

#[cfg(test)]
mod tests;
