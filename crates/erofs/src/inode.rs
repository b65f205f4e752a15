//! Inodes: `struct erofs_inode_compact`, 32 bytes, and `struct erofs_inode_extended`, 64.

use crate::{BLOCK, folder::Item, xattr};
use tree::{Content, Entry, Kind};

/// Inodes start at multiples of this; their number is their place divided by it.
pub(crate) const SLOT: u64 = 32;
const PLAIN: u16 = 0;
const INLINE: u16 = 2;

/// An inode with its place.
#[derive(Debug)]
pub(crate) struct Inode<'t> {
    pub(crate) path: &'t str,
    pub(crate) entry: &'t Entry,
    pub(crate) links: u32,
    /// Entries, sorted, of a folder.
    pub(crate) items: Vec<Item<'t>>,
    pub(crate) size: u64,
    pub(crate) xattrs: Vec<u8>,
    /// Whether the rest beyond whole blocks lies behind the inode.
    pub(crate) inline: bool,
    /// Place in the metadata.
    pub(crate) at: u64,
    /// First block of data, when there is one.
    pub(crate) block: u32,
}

impl<'t> Inode<'t> {
    pub(crate) fn number(&self) -> u64 {
        self.at / SLOT
    }

    pub(crate) fn extended(&self) -> bool {
        let small = |n: u32| u16::try_from(n).is_ok();
        !(small(self.entry.uid) && small(self.entry.gid) && small(self.links) && u32::try_from(self.size).is_ok())
    }

    /// Length of inode and attributes.
    pub(crate) fn head(&self) -> u64 {
        (if self.extended() { 64 } else { 32 }) + self.xattrs.len() as u64
    }

    /// Length of what lies behind the inode.
    pub(crate) fn tail(&self) -> u64 {
        if self.inline { self.size % BLOCK } else { 0 }
    }

    /// Blocks of data of its own.
    pub(crate) fn blocks(&self) -> u64 {
        if self.inline { self.size / BLOCK } else { self.size.div_ceil(BLOCK) }
    }

    pub(crate) fn content(&self) -> Option<&'t Content> {
        if let Kind::File(content) = &self.entry.kind { Some(content) } else { None }
    }

    /// The file type in folder entries.
    pub(crate) fn kind(&self) -> u8 {
        match self.entry.kind {
            Kind::File(_) | Kind::Hardlink(_) => 1,
            Kind::Dir => 2,
            Kind::Char(..) => 3,
            Kind::Block(..) => 4,
            Kind::Fifo => 5,
            Kind::Symlink(_) => 7,
        }
    }

    /// The inode's bytes, attributes included. `index` is what 32-bit programs see as its number.
    pub(crate) fn encode(&self, index: u32, epoch: u64) -> Vec<u8> {
        let kind: u32 = match self.entry.kind {
            Kind::File(_) | Kind::Hardlink(_) => 0o100_000,
            Kind::Dir => 0o040_000,
            Kind::Char(..) => 0o020_000,
            Kind::Block(..) => 0o060_000,
            Kind::Fifo => 0o010_000,
            Kind::Symlink(_) => 0o120_000,
        };
        let union = match self.entry.kind {
            Kind::Char(major, minor) | Kind::Block(major, minor) => device(major, minor),
            _ => self.block,
        };
        let extended = self.extended();
        let layout = if self.inline { INLINE } else { PLAIN };
        let mut out = Vec::with_capacity(self.head() as usize);
        out.extend((layout << 1 | u16::from(extended)).to_le_bytes());
        out.extend(xattr::count(self.xattrs.len()).unwrap_or(0).to_le_bytes());
        out.extend(((kind | self.entry.mode & 0o7777) as u16).to_le_bytes());
        if extended {
            out.extend([0; 2]);
            out.extend(self.size.to_le_bytes());
        } else {
            out.extend((self.links as u16).to_le_bytes());
            out.extend((self.size as u32).to_le_bytes());
            out.extend([0; 4]);
        }
        out.extend(union.to_le_bytes());
        out.extend(index.to_le_bytes());
        if extended {
            out.extend(self.entry.uid.to_le_bytes());
            out.extend(self.entry.gid.to_le_bytes());
            out.extend(epoch.to_le_bytes());
            out.extend([0; 4]);
            out.extend(self.links.to_le_bytes());
            out.extend([0; 16]);
        } else {
            out.extend((self.entry.uid as u16).to_le_bytes());
            out.extend((self.entry.gid as u16).to_le_bytes());
            out.extend([0; 4]);
        }
        out.extend(&self.xattrs);
        out
    }
}

/// A device number as the kernel's `new_encode_dev` has it.
fn device(major: u32, minor: u32) -> u32 {
    minor & 0xff | major << 8 | (minor & !0xff) << 12
}
