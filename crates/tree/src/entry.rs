use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::Arc,
};

/// One file, folder, link or device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Permission bits with set-id and sticky bits, `0o7777` at most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes by full name (`security.capability`), raw values.
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// What it is.
    pub kind: Kind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Dir,
    /// A regular file.
    File(Content),
    /// A symbolic link with its target as written.
    Symlink(String),
    /// Another name of the regular file at this path of the same tree.
    Hardlink(crate::TreePath),
    /// A character device: major, minor.
    Char(u32, u32),
    /// A block device: major, minor.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

/// Where a file's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// In memory; for small, computed files.
    Inline(Arc<[u8]>),
    /// In a range of a file on disk, such as an unpacked `data.tar`.
    Range {
        /// The file, shared by all entries that lie in it.
        file: Arc<PathBuf>,
        /// First byte.
        offset: u64,
        /// Number of bytes.
        len: u64,
    },
}

impl Content {
    /// Number of bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Range { len, .. } => *len,
        }
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Opens the bytes for streaming.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        Ok(match self {
            Self::Inline(bytes) => Box::new(io::Cursor::new(bytes.as_ref())),
            Self::Range { file, offset, len } => {
                Box::new(RangeReader { file: File::open(file.as_ref())?, at: *offset, left: *len })
            }
        })
    }

    /// All bytes in memory.
    ///
    /// # Errors
    /// When they cannot be read, or the file is shorter than the range.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::Inline(bytes) => Ok(bytes.to_vec()),
            Self::Range { file, offset, len } => {
                let mut bytes = vec![0; usize::try_from(*len).map_err(io::Error::other)?];
                File::open(file.as_ref())?.read_exact_at(&mut bytes, *offset)?;
                Ok(bytes)
            }
        }
    }
}

struct RangeReader {
    file: File,
    at: u64,
    left: u64,
}

impl Read for RangeReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.file.read_at(&mut buf[..want], self.at)?;
        if n == 0 && want > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

impl Kind {
    /// The word for it in messages.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Dir => "folder",
            Self::File(_) => "file",
            Self::Symlink(_) => "symlink",
            Self::Hardlink(_) => "hard link",
            Self::Char(..) | Self::Block(..) => "device",
            Self::Fifo => "pipe",
        }
    }
}

impl Entry {
    fn root_owned(mode: u32, kind: Kind) -> Self {
        Self { mode, uid: 0, gid: 0, xattrs: BTreeMap::new(), kind }
    }

    /// A folder of root's.
    #[must_use]
    pub fn dir(mode: u32) -> Self {
        Self::root_owned(mode, Kind::Dir)
    }

    /// A file of root's with bytes from memory.
    #[must_use]
    pub fn file(mode: u32, bytes: impl Into<Arc<[u8]>>) -> Self {
        Self::root_owned(mode, Kind::File(Content::Inline(bytes.into())))
    }

    /// A file of root's that is a whole file on disk of `len` bytes.
    #[must_use]
    pub fn file_from(mode: u32, file: PathBuf, len: u64) -> Self {
        Self::root_owned(mode, Kind::File(Content::Range { file: Arc::new(file), offset: 0, len }))
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(target: impl Into<String>) -> Self {
        Self::root_owned(0o777, Kind::Symlink(target.into()))
    }

    /// Whether owner, mode, xattrs, kind and bytes are equal. Two entries in one place of one file are not compared byte
    /// by byte.
    ///
    /// # Errors
    /// When file contents cannot be read.
    pub fn same_as(&self, other: &Self) -> io::Result<bool> {
        if (self.mode, self.uid, self.gid) != (other.mode, other.uid, other.gid) || self.xattrs != other.xattrs {
            return Ok(false);
        }
        match (&self.kind, &other.kind) {
            (Kind::File(a), Kind::File(b)) => Ok(a == b || a.len() == b.len() && a.read()? == b.read()?),
            (a, b) => Ok(a == b),
        }
    }

    /// The same with another owner.
    #[must_use]
    pub fn owned_by(mut self, uid: u32, gid: u32) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }
}
