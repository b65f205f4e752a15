//! Streaming a planned file system.

use crate::{BLOCK, Error, Plan, folder, inode::Inode, superblock};
use std::io::{self, Read, Write};
use tree::{Content, Kind};

const BUFFER: usize = 1 << 20;

impl Plan<'_> {
    /// Writes the file system. Metadata and folders are built in memory, files pass through a buffer.
    ///
    /// # Errors
    /// [`Error::Io`], also for a file that is not as long any more as it was in the tree.
    pub fn write(&self, mut out: impl Write) -> Result<(), Error> {
        let failed = |action, inode: &Inode<'_>| {
            let path = inode.path.to_owned();
            move |source| Error::Io { action, path, source }
        };
        out.write_all(&self.metadata()?).map_err(failed("write", &self.inodes[0]))?;
        for inode in self.inodes.iter().filter(|i| i.entry.kind == Kind::Dir && i.blocks() > 0) {
            let mut bytes = self.folder(inode);
            if inode.inline {
                bytes.truncate((inode.blocks() * BLOCK) as usize);
            }
            bytes.resize((inode.blocks() * BLOCK) as usize, 0);
            out.write_all(&bytes).map_err(failed("write", inode))?;
        }
        let mut buf = vec![0; BUFFER];
        for inode in self.inodes.iter().filter(|i| i.entry.kind != Kind::Dir && i.blocks() > 0) {
            match &inode.entry.kind {
                Kind::File(content) => copy(inode, content, &mut buf, &mut out)?,
                Kind::Symlink(target) => out.write_all(target.as_bytes()).map_err(failed("write", inode))?,
                _ => continue, // nothing else has a size
            }
            let padding = inode.size.next_multiple_of(BLOCK) - inode.size;
            out.write_all(&[0; BLOCK as usize][..padding as usize]).map_err(failed("write", inode))?;
        }
        out.flush().map_err(failed("write", &self.inodes[0]))
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

fn copy(inode: &Inode<'_>, content: &Content, buf: &mut [u8], out: &mut impl Write) -> Result<(), Error> {
    let failed = |action| move |source: io::Error| Error::Io { action, path: inode.path.to_owned(), source };
    let mut reader = content.open().map_err(failed("read"))?;
    let mut left = content.len();
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        reader.read_exact(&mut buf[..want]).map_err(failed("read"))?;
        out.write_all(&buf[..want]).map_err(failed("write"))?;
        left -= want as u64;
    }
    Ok(())
}
