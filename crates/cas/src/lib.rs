//! The content-addressed store of the build cache: immutable bytes named by sha256.
//!
//! ```text
//! <root>/blobs/ab/abcdef…64 hex    one file a blob, mode 0444
//! <root>/tmp/…                     being written; renamed into place once complete, so that a
//!                                  crash at any moment leaves either the whole blob or none
//! <root>/damaged/<64 hex>          set aside because its bytes did not have its digest
//! ```
//! A blob's name is a promise, not a proof: power cuts and bad disks break it. [`Cas::verify`] reads every byte;
//! [`Cas::verify_once`] does so once in a process, and is what a reader of an input calls. A broken input is set aside
//! ([`Cas::set_aside`]) and fetched anew; a broken output is removed ([`Cas::remove`]) and made anew.
//!
//! This crate knows nothing of steps, keys or downloads.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use types::{Bytes, Digest, DigestWriter, Hasher};

/// What can go wrong with a blob.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing failed; a full disk arrives here too.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: `create`, `write`, `read`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes do not have the digest that was promised.
    #[error("{}: content is {found}, expected {expected}", path.display())]
    Mismatch {
        /// Where the bytes are or came from.
        path: PathBuf,
        /// The digest promised.
        expected: Digest,
        /// The digest found.
        found: Digest,
    },
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}

/// A content-addressed store in a folder. Several processes may use one at a time.
#[derive(Debug, Clone)]
pub struct Cas {
    root: PathBuf,
    /// The blobs whose bytes this process has hashed, reading or writing them.
    verified: Arc<Mutex<HashSet<Digest>>>,
}

impl Cas {
    /// Opens the store in `root`, making the folder where needed.
    ///
    /// # Errors
    /// When the folders cannot be made.
    pub fn open(root: &Path) -> Result<Self, Error> {
        for folder in ["blobs", "damaged", "tmp"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(io_error("create", &path))?;
        }
        Ok(Self { root: root.to_owned(), verified: Arc::default() })
    }

    /// The folder given to [`Cas::open`].
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder on the same file system for files that are not complete yet.
    #[must_use]
    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Where the blob is, or would be.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.root.join("blobs").join(&hex[..2]).join(hex)
    }

    /// The size of the blob, or `None` when it is not here. Does not look at the bytes.
    #[must_use]
    pub fn size(&self, digest: &Digest) -> Option<Bytes> {
        fs::metadata(self.path(digest)).ok().map(|m| Bytes(m.len()))
    }

    /// Whether the blob is here. Does not look at the bytes.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.size(digest).is_some()
    }

    /// Reads the whole blob, for small ones.
    ///
    /// # Errors
    /// When it is not here or cannot be read.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let path = self.path(digest);
        fs::read(&path).map_err(io_error("read", &path))
    }

    /// Starts a blob whose digest is not known yet.
    ///
    /// # Errors
    /// When the temporary file cannot be made.
    pub fn writer(&self) -> Result<Writer<'_>, Error> {
        let tmp = self.tmp();
        let file = tempfile::NamedTempFile::new_in(&tmp).map_err(io_error("create a file in", &tmp))?;
        Ok(Writer { cas: self, out: DigestWriter::new(file) })
    }

    /// Stores bytes from memory.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, Error> {
        let digest = Digest::of(bytes);
        if self.size(&digest) == Some(Bytes(bytes.len() as u64)) {
            return Ok(digest);
        }
        let mut writer = self.writer()?;
        let path = writer.out_path();
        io::Write::write_all(&mut writer, bytes).map_err(io_error("write", &path))?;
        writer.commit()
    }

    /// Takes over a complete file, which must be on the same file system (see [`Cas::tmp`]), and hashes it. Holes stay
    /// holes.
    ///
    /// # Errors
    /// When it cannot be read, made durable or renamed.
    pub fn adopt(&self, file: &Path) -> Result<Digest, Error> {
        let digest = digest_of_file(file)?;
        self.adopt_as(file, digest)
    }

    /// As [`Cas::adopt`], for a caller that has hashed the bytes already.
    ///
    /// # Errors
    /// When it cannot be made durable or renamed.
    pub fn adopt_as(&self, file: &Path, digest: Digest) -> Result<Digest, Error> {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(file, fs::Permissions::from_mode(0o444)).map_err(io_error("set the mode of", file))?;
        fs::File::open(file).and_then(|f| f.sync_data()).map_err(io_error("sync", file))?;
        self.rename_in(file, &digest)?;
        Ok(digest)
    }

    fn rename_in(&self, file: &Path, digest: &Digest) -> Result<(), Error> {
        let path = self.path(digest);
        let folder = path.parent().expect("a blob's path has a folder");
        fs::create_dir_all(folder).map_err(io_error("create", folder))?;
        fs::rename(file, &path).map_err(io_error("rename into", &path))?;
        self.verified().insert(*digest);
        Ok(())
    }

    /// A thread that panicked leaves the set as it was.
    fn verified(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that the blob's bytes have its digest.
    ///
    /// # Errors
    /// [`Error::Mismatch`] when they do not; [`Error::Io`] when it is not here or unreadable.
    pub fn verify(&self, digest: &Digest) -> Result<(), Error> {
        let path = self.path(digest);
        let found = digest_of_file(&path)?;
        if found == *digest {
            self.verified().insert(*digest);
            return Ok(());
        }
        self.verified().remove(digest);
        Err(Error::Mismatch { path, expected: *digest, found })
    }

    /// As [`Cas::verify`], for a blob that is about to be read: hashes it unless this process has done so before.
    ///
    /// # Errors
    /// As [`Cas::verify`].
    pub fn verify_once(&self, digest: &Digest) -> Result<(), Error> {
        // not locked while hashing: two threads may hash one blob, which costs time and nothing else
        if self.verified().contains(digest) && self.has(digest) { Ok(()) } else { self.verify(digest) }
    }

    /// Moves a damaged blob out of the way, to be looked at, and returns where it went. A blob that is not here is no error.
    ///
    /// # Errors
    /// When it is here and cannot be moved.
    pub fn set_aside(&self, digest: &Digest) -> Result<PathBuf, Error> {
        let (path, aside) = (self.path(digest), self.damaged().join(digest.hex()));
        self.verified().remove(digest);
        match fs::rename(&path, &aside) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error("move away", &path)(e)),
            _ => Ok(aside),
        }
    }

    /// The folder of the blobs that were set aside.
    #[must_use]
    pub fn damaged(&self) -> PathBuf {
        self.root.join("damaged")
    }

    /// Removes the blob; one that is not here is no error.
    ///
    /// # Errors
    /// When it is here and cannot be removed.
    pub fn remove(&self, digest: &Digest) -> Result<(), Error> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &path)(e)),
            _ => Ok(()),
        }
    }
}

/// The sha256 of a file's bytes.
///
/// # Errors
/// When it cannot be read.
pub fn digest_of_file(path: &Path) -> Result<Digest, Error> {
    let mut file = fs::File::open(path).map_err(io_error("open", path))?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match io::Read::read(&mut file, &mut buffer).map_err(io_error("read", path))? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// A blob being written. Dropped without [`Writer::commit`], it leaves nothing.
pub struct Writer<'a> {
    cas: &'a Cas,
    out: DigestWriter<tempfile::NamedTempFile>,
}

impl Writer<'_> {
    fn out_path(&self) -> PathBuf {
        self.cas.tmp()
    }

    /// Makes the bytes durable and gives them their name.
    ///
    /// # Errors
    /// When they cannot be synced or renamed.
    pub fn commit(self) -> Result<Digest, Error> {
        let (file, digest, _) = self.out.finish();
        let file = file.into_temp_path();
        self.cas.adopt_as(&file, digest)?;
        // The name is gone by now; nothing is left to remove.
        file.keep()
            .map(drop)
            .or_else(|e| if e.error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
            .map_err(|e| Error::Io { action: "keep", path: self.cas.path(&digest), source: e.error })?;
        Ok(digest)
    }

    /// As [`Writer::commit`], refusing bytes that do not have the `expected` digest.
    ///
    /// # Errors
    /// [`Error::Mismatch`], and then nothing is stored; or as [`Writer::commit`].
    pub fn commit_as(self, expected: &Digest, origin: &Path) -> Result<(), Error> {
        let (file, found, _) = self.out.finish();
        if found != *expected {
            return Err(Error::Mismatch { path: origin.to_owned(), expected: *expected, found });
        }
        let file = file.into_temp_path();
        self.cas.adopt_as(&file, found)?;
        drop(file.keep());
        Ok(())
    }
}

impl io::Write for Writer<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.out.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_blob_is_found_under_its_digest_and_only_when_complete() {
        let dir = tempfile::tempdir().unwrap();
        let cas = Cas::open(dir.path()).unwrap();
        let mut half = cas.writer().unwrap();
        half.write_all(b"half").unwrap();
        drop(half);
        assert_eq!(fs::read_dir(cas.tmp()).unwrap().count(), 0, "a dropped writer leaves nothing");
        let mut whole = cas.writer().unwrap();
        whole.write_all(b"whole").unwrap();
        let digest = whole.commit().unwrap();
        assert_eq!(cas.read(&digest).unwrap(), b"whole");
        assert_eq!(digest, Digest::of(b"whole"));
    }

    #[test]
    fn a_truncated_blob_is_found_by_verify() {
        let dir = tempfile::tempdir().unwrap();
        let cas = Cas::open(dir.path()).unwrap();
        let digest = cas.put(b"some bytes").unwrap();
        cas.verify(&digest).unwrap();
        fs::remove_file(cas.path(&digest)).unwrap();
        fs::write(cas.path(&digest), b"some").unwrap();
        assert!(matches!(cas.verify(&digest), Err(Error::Mismatch { .. })));
    }

    #[test]
    fn a_flipped_bit_is_found_once_and_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let digest = Cas::open(dir.path()).unwrap().put(b"some bytes").unwrap();
        let damage = |cas: &Cas| {
            fs::remove_file(cas.path(&digest)).unwrap();
            fs::write(cas.path(&digest), b"some bytez").unwrap();
        };
        // as another process would see it
        let cas = Cas::open(dir.path()).unwrap();
        cas.verify_once(&digest).unwrap();
        damage(&cas);
        cas.verify_once(&digest).expect("hashed before in this process");
        assert!(matches!(cas.verify(&digest), Err(Error::Mismatch { .. })));
        assert!(matches!(cas.clone().verify_once(&digest), Err(Error::Mismatch { .. })), "no longer taken as verified");
        let aside = cas.set_aside(&digest).unwrap();
        assert_eq!(fs::read(aside).unwrap(), b"some bytez");
        assert!(!cas.has(&digest));
        assert!(matches!(cas.verify_once(&digest), Err(Error::Io { .. })), "it is not here");
        cas.set_aside(&digest).unwrap();
        cas.put(b"some bytes").unwrap();
        cas.verify_once(&digest).unwrap();
    }

    #[test]
    fn wrong_bytes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let cas = Cas::open(dir.path()).unwrap();
        let mut w = cas.writer().unwrap();
        w.write_all(b"bad").unwrap();
        let expected = Digest::of(b"good");
        assert!(matches!(w.commit_as(&expected, Path::new("mirror")), Err(Error::Mismatch { .. })));
        assert!(!cas.has(&expected) && !cas.has(&Digest::of(b"bad")));
    }
}
