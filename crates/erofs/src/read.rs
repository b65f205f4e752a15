//! Reads a file system: the bytes that each file takes, in compressed ones too, and the contents of plain ones.
//!
//! Format: kernel, `fs/erofs/erofs_fs.h`, `struct erofs_inode_compact`, `erofs_inode_extended` and `erofs_dirent`.

use crate::{BLOCK, BadSuperblock, Superblock, folder::ENTRY, inode::SLOT, superblock};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::Path,
};
use types::Bytes;

/// Features that change where things are and that are understood here: zero padding, large compressed units, a list of
/// compression settings, chunks. Not among them: tails and fragments of files in places that files share, 48-bit addresses.
const KNOWN: u32 = 0x1 | 0x2 | 0x4 | 0x8;

/// A regular file of a file system, hard links once, by their first name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Its path, without a leading slash.
    pub path: String,
    /// Its length.
    pub plain: Bytes,
    /// The blocks that hold it, compressed where it is; of a tail that lies behind its inode the bytes alone.
    pub stored: Bytes,
}

/// Why a file system cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It has no superblock of ours.
    #[error(transparent)]
    Superblock(#[from] BadSuperblock),
    /// Something in it is not as the format has it, or is not understood here.
    #[error("EROFS: inode {inode}: {problem}")]
    Inode {
        /// The inode's number.
        inode: u64,
        /// What is wrong.
        problem: String,
    },
    /// The file cannot be read.
    #[error("EROFS: cannot read: {0}")]
    Io(#[from] io::Error),
}

/// Every regular file of a file system, by path.
///
/// # Errors
/// [`ReadError`].
pub fn files(image: &Path) -> Result<Vec<StoredFile>, ReadError> {
    let mut found = Vec::new();
    walk(image, |_, path, inode| {
        found.push(StoredFile { path, plain: Bytes(inode.size), stored: Bytes(inode.stored()?) });
        Ok(())
    })?;
    found.sort_by(|a: &StoredFile, b| a.path.cmp(&b.path));
    Ok(found)
}

/// Writes every regular file of a file system without compression into a folder.
///
/// # Errors
/// [`ReadError`], also for a compressed file.
pub fn extract(image: &Path, to: &Path) -> Result<(), ReadError> {
    walk(image, |reader, path, inode| {
        let bad = || bad(inode.number, format!("`{path}` leads out of the file system"));
        let path = Path::new(&path);
        let plain = path.components().all(|c| matches!(c, std::path::Component::Normal(_)));
        let file = if plain { to.join(path) } else { return Err(bad()) };
        std::fs::create_dir_all(file.parent().ok_or_else(bad)?)?;
        let mut out = File::create(file)?;
        let (blocks, tail) = inode.plain(inode.size)?;
        let mut at = 0;
        let mut buffer = vec![0; COPY];
        while at < blocks {
            let part = &mut buffer[..usize::try_from(blocks - at).unwrap_or(COPY).min(COPY)];
            reader.file.read_exact_at(part, u64::from(inode.union) * BLOCK + at)?;
            out.write_all(part)?;
            at += part.len() as u64;
        }
        let part = &mut buffer[..tail];
        reader.file.read_exact_at(part, inode.behind)?;
        out.write_all(part)?;
        Ok(())
    })
}

/// How much is copied at once.
const COPY: usize = 1 << 20;

/// Shows every regular file, hard links once.
fn walk(
    image: &Path,
    mut file_found: impl FnMut(&Reader, String, &Data) -> Result<(), ReadError>,
) -> Result<(), ReadError> {
    let file = File::open(image)?;
    let mut start = [0; BLOCK as usize];
    file.read_exact_at(&mut start, 0)?;
    Superblock::read(&start)?;
    let field = |at: usize| u32::from_le_bytes(superblock::bytes(&start, at));
    let root = u64::from(u16::from_le_bytes(superblock::bytes(&start, 14)));
    let reader = Reader { file, metadata: u64::from(field(40)) * BLOCK };
    let unknown = field(80) & !KNOWN;
    if unknown != 0 {
        return Err(bad(root, format!("the file system has features {unknown:#x}, which are not understood here")));
    }
    let mut seen = BTreeSet::new();
    let mut folders = vec![(root, String::new())];
    while let Some((number, path)) = folders.pop() {
        if !seen.insert(number) {
            return Err(bad(number, "the folder is inside itself".to_owned()));
        }
        let inode = reader.inode(number)?;
        for (name, number) in reader.items(&inode)? {
            let item = reader.inode(number)?;
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            match item.mode & 0o170_000 {
                0o040_000 => folders.push((number, path)),
                0o100_000 if seen.insert(number) => {
                    file_found(&reader, path, &item)?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn bad(inode: u64, problem: String) -> ReadError {
    ReadError::Inode { inode, problem }
}

struct Reader {
    file: File,
    /// Where inode 0 would be.
    metadata: u64,
}

/// What an inode says of its data.
struct Data {
    number: u64,
    mode: u16,
    layout: u16,
    size: u64,
    /// First block, or the number of compressed blocks.
    union: u32,
    /// Where what lies behind inode and attributes starts.
    behind: u64,
}

impl Data {
    /// How many of its bytes lie in blocks, and how many behind its inode; none of them compressed.
    fn plain(&self, size: u64) -> Result<(u64, usize), ReadError> {
        match self.layout {
            0 => Ok((size, 0)),
            2 => Ok((size - size % BLOCK, (size % BLOCK) as usize)),
            other => Err(bad(self.number, format!("data layout {other} is not understood here"))),
        }
    }

    fn stored(&self) -> Result<u64, ReadError> {
        match self.layout {
            0 | 4 => Ok(self.size.next_multiple_of(BLOCK)),
            1 | 3 => Ok(u64::from(self.union) * BLOCK),
            2 => Ok(self.size),
            other => Err(bad(self.number, format!("data layout {other} is not understood here"))),
        }
    }
}

impl Reader {
    fn inode(&self, number: u64) -> Result<Data, ReadError> {
        let at = number.checked_mul(SLOT).and_then(|n| n.checked_add(self.metadata));
        let at = at.ok_or_else(|| bad(number, "its number is out of range".to_owned()))?;
        let mut head = [0; 32];
        self.file.read_exact_at(&mut head, at)?;
        let short = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let long = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (format, attributes) = (short(0), u64::from(short(2)));
        let extended = format & 1 == 1;
        let size = u64::from(long(8)) | if extended { u64::from(long(12)) << 32 } else { 0 };
        // struct erofs_xattr_ibody_header is 12 bytes, every further count stands for four
        let attributes = if attributes == 0 { 0 } else { 12 + (attributes - 1) * 4 };
        Ok(Data {
            number,
            mode: short(4),
            layout: format >> 1 & 7,
            size,
            union: long(16),
            behind: at + if extended { 64 } else { 32 } + attributes,
        })
    }

    /// Names and inode numbers of a folder's items, without `.` and `..`.
    fn items(&self, folder: &Data) -> Result<Vec<(String, u64)>, ReadError> {
        let wrong = |problem: &str| bad(folder.number, problem.to_owned());
        // a folder with a million names of full length is larger than any that mkfs would make of a tar of ours
        let size =
            usize::try_from(folder.size).ok().filter(|n| *n < 1 << 28).ok_or_else(|| wrong("it is too large"))?;
        let mut bytes = vec![0; size];
        let (_, tail) = folder.plain(folder.size)?;
        let (blocks, tail) = bytes.split_at_mut(size - tail);
        self.file.read_exact_at(blocks, u64::from(folder.union) * BLOCK)?;
        self.file.read_exact_at(tail, folder.behind)?;
        let mut items = Vec::new();
        for block in bytes.chunks(BLOCK as usize) {
            let entry = |n: usize| block.get(n * ENTRY..(n + 1) * ENTRY);
            let name_at = |n: usize| entry(n).map(|e| usize::from(u16::from_le_bytes([e[8], e[9]])));
            let count = name_at(0).ok_or_else(|| wrong("a block of the folder is too short"))? / ENTRY;
            for n in 0..count {
                let (entry, start) = entry(n).zip(name_at(n)).ok_or_else(|| wrong("an entry is cut off"))?;
                let end = if n + 1 < count { name_at(n + 1).unwrap_or(0) } else { block.len() };
                let name = block.get(start..end).ok_or_else(|| wrong("a name is outside of its block"))?;
                let name = name.split(|b| *b == 0).next().unwrap_or_default();
                if name == b"." || name == b".." {
                    continue;
                }
                let number = entry[..8].try_into().map(u64::from_le_bytes).unwrap_or_default();
                items.push((String::from_utf8_lossy(name).into_owned(), number));
            }
        }
        Ok(items)
    }
}
