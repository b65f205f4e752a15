use crate::{Error, KeyDocument, Reason, StepId, folder};
use cas::Cas;
use rustix::fs::{AtFlags, CWD, FlockOperation, Timespec, Timestamps, UTIME_NOW, flock};
use std::{
    collections::BTreeMap,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use types::{Bytes, Digest};

/// Whether an output is a file or a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputKind {
    /// A file, in `blobs/`.
    Blob,
    /// A folder, in `trees/`.
    Tree,
}

/// Something a step made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Output {
    /// File or folder.
    pub kind: OutputKind,
    /// The digest of the bytes, or of the folder's listing.
    pub digest: Digest,
    /// The size of the file, or of all files of the folder.
    pub size: Bytes,
}

/// The outputs of one step, by name.
pub type Outputs = BTreeMap<String, Output>;

/// The cache's record of one run of a step.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Record {
    /// The step that ran. Others may share its key.
    pub step: StepId,
    /// The document of everything that it depended on.
    pub key: KeyDocument,
    /// Its outputs.
    pub outputs: Outputs,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// When it ended, in seconds since 1970. For people only.
    pub date: u64,
}

/// The cache of steps and their outputs, in a folder. Several builds may use one at a time.
#[derive(Debug)]
pub struct Cache {
    root: PathBuf,
    cas: Cas,
    lock: fs::File,
    session: tempfile::TempDir,
    counter: AtomicU64,
}

/// The prefix of temporary files' names, ours and those of `cas`.
const TEMPORARY: [&str; 2] = ["run-", ".tmp"];

impl Cache {
    /// Opens the cache in `root`, making it where needed, and removes the temporary files of a killed process, unless
    /// another process uses the cache now.
    ///
    /// # Errors
    /// When folders cannot be made or the lock file cannot be locked.
    pub fn open(root: &Path) -> Result<Self, Error> {
        for folder in ["steps", "last", "trees", "logs"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(Error::io("create", path))?;
        }
        let cas = Cas::open(root)?;
        let path = root.join("lock");
        let lock = fs::File::create(&path).map_err(Error::io("create", &path))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            sweep(&cas.tmp())?;
        }
        flock(&lock, FlockOperation::LockShared).map_err(|e| Error::io("lock", &path)(e.into()))?;
        let session = tempfile::Builder::new()
            .prefix("run-")
            .tempdir_in(cas.tmp())
            .map_err(Error::io("create a folder in", cas.tmp()))?;
        Ok(Self { root: root.to_owned(), cas, lock, session, counter: AtomicU64::new(0) })
    }

    /// The folder given to [`Cache::open`].
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The blobs: outputs and inputs alike.
    #[must_use]
    pub fn cas(&self) -> &Cas {
        &self.cas
    }

    /// Where an output is.
    #[must_use]
    pub fn path(&self, output: &Output) -> PathBuf {
        match output.kind {
            OutputKind::Blob => self.cas.path(&output.digest),
            OutputKind::Tree => self.tree_path(&output.digest),
        }
    }

    /// The log of the last run of a step.
    #[must_use]
    pub fn log_path(&self, id: &StepId) -> PathBuf {
        self.root.join("logs").join(format!("{}.log", id.file_name()))
    }

    /// The record of a key. An unreadable record is treated as missing: the step runs again.
    #[must_use]
    pub fn record(&self, key: &Digest) -> Option<Record> {
        serde_json::from_slice(&fs::read(self.record_path(key)).ok()?).ok()
    }

    /// The document that a step of this name had when its outputs were last made or found.
    #[must_use]
    pub fn last(&self, id: &StepId) -> Option<KeyDocument> {
        serde_json::from_slice(&fs::read(self.last_path(id)).ok()?).ok()
    }

    /// How long the last run of a step of this name took on this machine; `None` before the first one.
    #[must_use]
    pub fn usual(&self, id: &StepId) -> Option<Duration> {
        self.record(&self.last(id)?.key()).map(|record| Duration::from_millis(record.ms))
    }

    /// Why the outputs of a record cannot be used; `None` when they can. Looks at sizes; with `verify` at every byte, and then
    /// removes what is broken.
    pub(crate) fn broken(&self, record: &Record, verify: bool) -> Result<Option<Reason>, Error> {
        for (name, output) in &record.outputs {
            let name = || name.clone();
            match output.kind {
                OutputKind::Blob => match self.cas.size(&output.digest) {
                    None => return Ok(Some(Reason::OutputMissing { output: name() })),
                    Some(found) if found != output.size => {
                        return Ok(Some(Reason::OutputSize { output: name(), expected: output.size, found }));
                    }
                    Some(_) => {}
                },
                OutputKind::Tree if !self.path(output).is_dir() => {
                    return Ok(Some(Reason::OutputMissing { output: name() }));
                }
                OutputKind::Tree => {}
            }
            if verify && !self.verify_output(output)? {
                self.remove_output(output)?;
                return Ok(Some(Reason::OutputBroken { output: name() }));
            }
        }
        Ok(None)
    }

    /// Whether the bytes of an output have its digest.
    pub(crate) fn verify_output(&self, output: &Output) -> Result<bool, Error> {
        match output.kind {
            OutputKind::Tree => Ok(folder::listing(&self.path(output))?.digest == output.digest),
            OutputKind::Blob => match self.cas.verify(&output.digest) {
                Ok(()) => Ok(true),
                Err(cas::Error::Mismatch { .. }) => Ok(false),
                Err(e) => Err(e.into()),
            },
        }
    }

    pub(crate) fn remove_output(&self, output: &Output) -> Result<(), Error> {
        match output.kind {
            OutputKind::Blob => Ok(self.cas.remove(&output.digest)?),
            OutputKind::Tree => self.remove_tree(&output.digest),
        }
    }

    /// Removes a tree. Renames it first, so that a crash never leaves half of it under its name.
    pub(crate) fn remove_tree(&self, digest: &Digest) -> Result<(), Error> {
        let (path, away) = (self.tree_path(digest), self.fresh_path());
        match fs::rename(&path, &away) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Error::io("remove", path)(e)),
            Ok(()) => remove_all(&away),
        }
    }

    /// Moves a finished folder from [`Cache::fresh_path`] into the cache.
    pub(crate) fn adopt_tree(&self, folder: &Path) -> Result<Output, Error> {
        folder::stamp(folder)?;
        let listing = folder::listing(folder)?;
        // one sync for the whole file system: one for each of some ten thousand files takes minutes
        let sync = || rustix::fs::syncfs(fs::File::open(folder)?).map_err(io::Error::from);
        sync().map_err(Error::io("sync", folder))?;
        let output = Output { kind: OutputKind::Tree, digest: listing.digest, size: listing.size };
        let path = self.tree_path(&listing.digest);
        match fs::rename(folder, &path) {
            Ok(()) => Ok(output),
            // the same folder is there already, and someone may be using it
            Err(e) if matches!(e.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => Ok(output),
            Err(e) => Err(Error::io("rename into", path)(e)),
        }
    }

    /// Writes the record of a step under its key.
    pub(crate) fn save(&self, key: &Digest, record: &Record) -> Result<(), Error> {
        let path = self.record_path(key);
        self.write(&path, &serde_json::to_vec_pretty(record).map_err(|e| Error::io("write", &path)(e.into()))?)
    }

    /// Notes the use of the record, and the step's current document.
    pub(crate) fn used(&self, id: &StepId, key: &Digest, document: &KeyDocument) -> Result<(), Error> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        let path = self.record_path(key);
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty()).map_err(|e| Error::io("touch", path)(e.into()))?;
        let path = self.last_path(id);
        let bytes = serde_json::to_vec_pretty(document).map_err(|e| Error::io("write", &path)(e.into()))?;
        if fs::read(&path).is_ok_and(|old| old == bytes) {
            return Ok(());
        }
        self.write(&path, &bytes)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), Error> {
        let mut file = tempfile::NamedTempFile::new_in(self.session.path())
            .map_err(Error::io("create a file in", self.session.path()))?;
        file.write_all(bytes).and_then(|()| file.as_file().sync_data()).map_err(Error::io("write", path))?;
        file.persist(path).map(drop).map_err(|e| Error::io("rename into", path)(e.error))
    }

    /// A unique path in this process's part of `tmp/`.
    pub(crate) fn fresh_path(&self) -> PathBuf {
        self.session.path().join(self.counter.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Keeps every other process out while `work` runs.
    pub(crate) fn alone<T>(&self, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let path = self.root.join("lock");
        let alone = flock(&self.lock, FlockOperation::NonBlockingLockExclusive);
        let result = match alone {
            Ok(()) => work(),
            Err(_) => Err(Error::InUse { path: self.root.clone() }),
        };
        // a refused change of the lock drops the shared one (flock(2)), so it is locked again in both cases
        flock(&self.lock, FlockOperation::LockShared).map_err(|e| Error::io("lock", path)(e.into()))?;
        result
    }

    pub(crate) fn record_path(&self, key: &Digest) -> PathBuf {
        self.root.join("steps").join(format!("{}.json", key.hex()))
    }

    fn last_path(&self, id: &StepId) -> PathBuf {
        self.root.join("last").join(format!("{}.json", id.file_name()))
    }

    fn tree_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("trees").join(digest.hex())
    }
}

/// Removes the temporary files of processes that have ended.
fn sweep(tmp: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(tmp).map_err(Error::io("read", tmp))? {
        let entry = entry.map_err(Error::io("read", tmp))?;
        let name = entry.file_name();
        if TEMPORARY.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            remove_all(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a file or folder, also where folders inside forbid it by their mode.
pub(crate) fn remove_all(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt as _;
    let meta = match path.symlink_metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(Error::io("look at", path))?,
    };
    if !meta.is_dir() {
        return fs::remove_file(path).map_err(Error::io("remove", path));
    }
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            let mut open = vec![path.to_owned()];
            while let Some(folder) = open.pop() {
                fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))
                    .map_err(Error::io("open up", &folder))?;
                for entry in fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
                    let entry = entry.map_err(Error::io("read", &folder))?;
                    if entry.file_type().is_ok_and(|t| t.is_dir()) {
                        open.push(entry.path());
                    }
                }
            }
            fs::remove_dir_all(path).map_err(Error::io("remove", path))
        }
        other => other.map_err(Error::io("remove", path)),
    }
}
