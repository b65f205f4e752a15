use crate::TreePath;
use rustix::{
    fd::OwnedFd,
    fs::{Mode, OFlags, ResolveFlags, openat2},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A folder of the builder's disk whose contents others have chosen: an unpacked package, or the output of a sandboxed
/// program. The kernel opens everything below it with `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS` (openat2(2)), so that no
/// path leads out of it, whichever links lie in it.
#[derive(Debug)]
pub struct Beneath {
    folder: OwnedFd,
    path: PathBuf,
}

impl Beneath {
    /// Opens the folder itself, following symlinks on the way to it.
    ///
    /// # Errors
    /// When it cannot be opened; errors of this type name the path.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(folder, flags, Mode::empty()).map_err(|e| named(folder, e.into()))?;
        Ok(Self { folder: opened, path: folder.to_owned() })
    }

    /// Opens a folder below, for calls that take a folder and a name.
    pub(crate) fn folder(&self, path: &TreePath) -> io::Result<OwnedFd> {
        self.at(path, OFlags::PATH | OFlags::DIRECTORY)
    }

    /// Opens a regular file below for reading.
    ///
    /// # Errors
    /// When it is not there, is no regular file, or a symlink is on the way.
    pub fn file(&self, path: &TreePath) -> io::Result<fs::File> {
        // without O_NONBLOCK, a pipe in its place would block for ever
        let file = fs::File::from(self.at(path, OFlags::RDONLY | OFlags::NONBLOCK)?);
        if !file.metadata().map_err(|e| self.named(path, e))?.is_file() {
            return Err(self.named(path, io::Error::new(io::ErrorKind::InvalidInput, "is no regular file")));
        }
        Ok(file)
    }

    /// All bytes of a regular file below.
    ///
    /// # Errors
    /// As [`Beneath::file`], and when it cannot be read.
    pub fn read(&self, path: &TreePath) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut self.file(path)?, &mut bytes).map_err(|e| self.named(path, e))?;
        Ok(bytes)
    }

    fn at(&self, path: &TreePath, flags: OFlags) -> io::Result<OwnedFd> {
        let below = if path.is_root() { "." } else { path.as_str() };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        openat2(&self.folder, below, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
            .map_err(|e| self.named(path, e.into()))
    }

    pub(crate) fn named(&self, path: &TreePath, e: io::Error) -> io::Error {
        named(&self.path.join(path.as_str()), e)
    }
}

fn named(path: &Path, e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}
