//! Streaming a planned file system.

use crate::{BLOCK, Error, Plan, folder, inode::Inode, superblock};
use std::{
    borrow::Cow,
    io::{self, Read, Write},
};
use tree::{Content, Kind};
use types::Bytes;

const BUFFER: usize = 1 << 20;

/// A file with its place.
#[derive(Debug, Clone)]
pub struct PlacedFile<'p> {
    /// Its path, without a leading slash.
    pub path: &'p str,
    /// Its first byte, at a block's start.
    pub at: Bytes,
    /// Where its bytes come from.
    pub content: Cow<'p, Content>,
}

impl Plan<'_> {
    /// Writes the file system. Metadata and folders are built in memory, files pass through a buffer.
    ///
    /// # Errors
    /// [`Error::Io`], also for a file that is not as long any more as it was in the tree.
    pub fn write(&self, mut out: impl Write) -> Result<(), Error> {
        out.write_all(&self.head()?).map_err(failed("write", ""))?;
        let mut buf = vec![0; BUFFER];
        for PlacedFile { path, content, .. } in self.files() {
            copy(path, &content, &mut buf, &mut out)?;
            let padding = content.len().next_multiple_of(BLOCK) - content.len();
            out.write_all(&[0; BLOCK as usize][..padding as usize]).map_err(failed("write", path))?;
        }
        out.flush().map_err(failed("write", ""))
    }

    /// The start of the file system: everything but the files that have blocks of their own.
    ///
    /// # Errors
    /// [`Error::Io`], for a small file that cannot be read.
    pub fn head(&self) -> Result<Vec<u8>, Error> {
        let mut head = self.metadata()?;
        for inode in self.inodes.iter().filter(|i| i.entry.kind == Kind::Dir && i.blocks() > 0) {
            let whole = (inode.blocks() * BLOCK) as usize;
            let mut bytes = self.folder(inode);
            if inode.inline {
                bytes.truncate(whole);
            }
            bytes.resize(whole, 0);
            head.extend(bytes);
        }
        Ok(head)
    }

    /// The files that have blocks of their own, in the order of their places, which follow [`Self::head`] without gaps. What
    /// is behind a file in its last block is zero.
    pub fn files(&self) -> impl Iterator<Item = PlacedFile<'_>> {
        self.inodes.iter().filter_map(|inode| {
            let content = match &inode.entry.kind {
                Kind::File(content) => Cow::Borrowed(content),
                // one that is too long to lie behind its inode
                Kind::Symlink(target) => Cow::Owned(Content::Inline(target.as_bytes().into())),
                _ => return None,
            };
            let at = Bytes(u64::from(inode.block) * BLOCK);
            (inode.blocks() > 0).then_some(PlacedFile { path: inode.path, at, content })
        })
    }

    fn folder(&self, inode: &Inode<'_>) -> Vec<u8> {
        folder::encode(&inode.items, |n| (self.inodes[n].number(), self.inodes[n].kind()))
    }

    /// Superblock, inodes and what lies behind them.
    fn metadata(&self) -> Result<Vec<u8>, Error> {
        let mut metadata = vec![0; (u64::from(self.metadata_blocks) * BLOCK) as usize];
        for (index, inode) in (1..).zip(&self.inodes) {
            let mut bytes = inode.encode(index, self.options.epoch);
            if inode.inline {
                let whole = (inode.blocks() * BLOCK) as usize;
                match &inode.entry.kind {
                    Kind::Dir => bytes.extend(&self.folder(inode)[whole..]),
                    Kind::Symlink(target) => bytes.extend(target.as_bytes()),
                    Kind::File(content) => bytes.extend(small(inode, content)?),
                    _ => {}
                }
            }
            metadata[inode.at as usize..inode.at as usize + bytes.len()].copy_from_slice(&bytes);
        }
        superblock::put(self, &mut metadata);
        Ok(metadata)
    }
}

fn small(inode: &Inode<'_>, content: &Content) -> Result<Vec<u8>, Error> {
    content.read().map_err(|source| Error::Io { action: "read", path: inode.path.to_owned(), source })
}

fn failed(action: &'static str, path: &str) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}

fn copy(path: &str, content: &Content, buf: &mut [u8], out: &mut impl Write) -> Result<(), Error> {
    let mut reader = content.open().map_err(failed("read", path))?;
    let mut left = content.len();
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        reader.read_exact(&mut buf[..want]).map_err(failed("read", path))?;
        out.write_all(&buf[..want]).map_err(failed("write", path))?;
        left -= want as u64;
    }
    Ok(())
}
