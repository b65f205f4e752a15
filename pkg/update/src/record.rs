//! The records of updates in `/persist/update`: one file a fact, each replaced as a whole.
//!
//! ```text
//!  progress.json  attempts.json  last.json  refused.json    explain and resume; kept in /run/evek/update while P3 cannot
//!  loader.json    loader.efi                                the trial of a boot loader; P3 only
//!  floor.json                                               the oldest version accepted; a damaged one is an error
//! ```
//! No record decides which slot starts. Without them an update is fetched from the beginning and a failure has no reason. A full,
//! broken or missing P3 therefore stops neither an update nor the judgement of an image: such a fault is reported as a warning.

use crate::{efi::BootNumber, error::Error, paths::Paths};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    cell::RefCell,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};
use types::{Bytes, Digest};

/// An update that is being written: `progress.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Its source.
    pub(crate) source: String,
    /// Digest of `update.json`.
    pub(crate) update: Digest,
    /// Its image.
    pub(crate) image: String,
    /// The options of `update apply`.
    pub(crate) limit: Option<Bytes>,
    pub(crate) allow_older: bool,
    /// The blob that is being fetched, and how many of its bytes are certainly on the disk.
    pub(crate) blob: Option<(Digest, Bytes)>,
}

/// A start of an image on trial: `attempts.json` has those since the last update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// The image that started.
    pub(crate) image: String,
    pub(crate) root_hash: Digest,
    /// The kernel's identifier of the start.
    pub(crate) boot_id: String,
    /// Why it was given up; absent where nothing recorded a reason.
    pub(crate) reason: Option<String>,
}

/// The last update and its result: `last.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Last {
    /// The image that ran before.
    pub(crate) from: String,
    /// The image of the update.
    pub(crate) to: String,
    /// The root hash of the update.
    pub(crate) root_hash: Digest,
    /// Bytes that were fetched for it.
    pub(crate) fetched: Bytes,
    /// Bytes of the store that were on this device.
    pub(crate) reused: Bytes,
    /// Its result.
    pub(crate) result: Outcome,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// The result of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// It is written and starts next.
    Ready,
    /// It is good.
    Good,
    /// It failed; the image that ran before runs again.
    FellBack,
}

/// An update that this device refuses, so that no start tries it again: `refused.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refusal {
    /// The source that offered it.
    pub(crate) source: String,
    /// Its image.
    pub(crate) image: String,
    /// Why it is refused.
    pub(crate) reason: String,
}

/// The trial of a boot loader: `loader.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LoaderTrial {
    /// Its state.
    pub(crate) state: LoaderState,
    /// Of the loader.
    pub(crate) digest: Digest,
    /// The boot entry that starts it.
    pub(crate) number: BootNumber,
    /// The boot entry that started the system which set the trial up: the default.
    pub(crate) before: Option<BootNumber>,
    /// The kernel's identifier of the start in which the trial was set up.
    pub(crate) boot_id: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// The state of the trial of a boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LoaderState {
    /// It starts next, or it has started and is not judged yet.
    Trial,
    /// It has started this device and becomes the first boot loader.
    Works,
    /// It did not start this device and is not tried again.
    Failed,
}

/// `floor.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptFloor {
    /// The oldest version that this device accepts.
    pub(crate) version: String,
}

/// Both folders of the records.
#[derive(Debug)]
pub(crate) struct Records {
    kept: PathBuf,
    volatile: PathBuf,
    lock: PathBuf,
    prints: bool,
    warnings: RefCell<Vec<String>>,
}

impl Records {
    /// For a program that changes them: warnings are printed, too.
    pub(crate) fn open(paths: &Paths) -> Self {
        Self { prints: true, ..Self::at(paths) }
    }

    /// For reading only: warnings are collected.
    pub(crate) fn at(paths: &Paths) -> Self {
        Self {
            kept: paths.state.clone(),
            volatile: paths.volatile.clone(),
            lock: paths.lock.clone(),
            prints: false,
            warnings: RefCell::default(),
        }
    }

    /// Keeps other programs from changing slots until it is dropped. Waits at most so long for one that does.
    pub(crate) fn alone(&self, within: Duration) -> Result<File, Error> {
        let begin = Instant::now();
        if let Some(folder) = self.lock.parent() {
            fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
        }
        let file = File::create(&self.lock).map_err(Error::io("open", &self.lock))?;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(rustix::io::Errno::WOULDBLOCK) if begin.elapsed() < within => {
                    thread::sleep(Duration::from_millis(200).min(within));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(Error::Busy { path: self.lock.clone(), seconds: within.as_secs() });
                }
                Err(e) => return Err(Error::io("lock", &self.lock)(e.into())),
            }
        }
    }

    /// Faults of P3 and of its files since this was opened.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.warnings.borrow().clone()
    }

    /// Reports a fault that stops nothing, once.
    pub(crate) fn warn(&self, text: String) {
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&text) {
            if self.prints {
                eprintln!("warning: {text}");
            }
            warnings.push(text);
        }
    }

    pub(crate) fn progress(&self) -> Option<Progress> {
        self.read("progress.json")
    }

    pub(crate) fn set_progress(&self, progress: &Progress) {
        self.write("progress.json", progress);
    }

    pub(crate) fn forget_progress(&self) {
        self.forget("progress.json");
    }

    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        self.read("attempts.json").unwrap_or_default()
    }

    pub(crate) fn set_attempts(&self, attempts: &[Attempt]) {
        self.write("attempts.json", &attempts);
    }

    pub(crate) fn last(&self) -> Option<Last> {
        self.read("last.json")
    }

    pub(crate) fn set_last(&self, last: &Last) {
        self.write("last.json", last);
    }

    pub(crate) fn refusal(&self) -> Option<Refusal> {
        self.read("refused.json")
    }

    pub(crate) fn set_refusal(&self, refusal: &Refusal) {
        self.write("refused.json", refusal);
    }

    pub(crate) fn forget_refusal(&self) {
        self.forget("refused.json");
    }

    /// The floor that is kept. A file that cannot be read is an error: it must not pass for one that was never written.
    pub(crate) fn floor(&self) -> Result<Option<KeptFloor>, Error> {
        let path = self.kept.join("floor.json");
        let bad = |problem: String| Error::Record { path: path.clone(), problem };
        match fs::read(&path) {
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(bad(e.to_string())),
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| bad(e.to_string())),
        }
    }

    pub(crate) fn set_floor(&self, floor: &KeptFloor) -> Result<(), Error> {
        self.keep("floor.json", &json(floor))
    }

    /// The boot loader that came with an update; it is tried once the image is good.
    pub(crate) fn loader(&self) -> Result<Option<Vec<u8>>, Error> {
        let path = self.kept.join("loader.efi");
        match fs::read(&path) {
            Err(e) if is_absent(&e) => Ok(None),
            program => program.map(Some).map_err(Error::io("read", &path)),
        }
    }

    pub(crate) fn set_loader(&self, program: &[u8]) -> Result<(), Error> {
        self.keep("loader.efi", program)
    }

    pub(crate) fn forget_loader(&self) -> Result<(), Error> {
        remove(&self.kept.join("loader.efi"))
    }

    pub(crate) fn loader_trial(&self) -> Option<LoaderTrial> {
        self.read_in(&self.kept, "loader.json")
    }

    pub(crate) fn set_loader_trial(&self, trial: &LoaderTrial) -> Result<(), Error> {
        self.keep("loader.json", &json(trial))
    }

    pub(crate) fn forget_loader_trial(&self) -> Result<(), Error> {
        remove(&self.kept.join("loader.json"))
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.read_in(&self.volatile, name).or_else(|| self.read_in(&self.kept, name))
    }

    fn read_in<T: DeserializeOwned>(&self, folder: &Path, name: &str) -> Option<T> {
        let path = folder.join(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if is_absent(&e) => return None,
            Err(e) => {
                self.warn(format!("cannot read {}: {e}", path.display()));
                return None;
            }
        };
        let read = serde_json::from_slice(&bytes);
        read.map_err(|e| self.warn(format!("{} is damaged and is ignored: {e}", path.display()))).ok()
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) {
        let (text, volatile) = (json(value), self.volatile.join(name));
        let Err(e) = self.keep(name, &text) else {
            // the one on P3 is newer
            remove(&volatile).unwrap_or_else(|e| self.warn(e.to_string()));
            return;
        };
        self.warn(format!("{e}; until P3 can be written, a restart forgets it"));
        let in_memory = fs::create_dir_all(&self.volatile).map_err(Error::io("make", &self.volatile));
        in_memory.and_then(|()| replace(&volatile, &text)).unwrap_or_else(|e| self.warn(e.to_string()));
    }

    fn forget(&self, name: &str) {
        for folder in [&self.volatile, &self.kept] {
            remove(&folder.join(name)).unwrap_or_else(|e| self.warn(e.to_string()));
        }
    }

    /// Writes a file of P3.
    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        fs::create_dir_all(&self.kept).map_err(Error::io("make", &self.kept))?;
        replace(&self.kept.join(name), bytes)
    }
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("records have string keys")
}

/// Whether there is no such file. Without P3 its folder is missing, too.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(e) if !is_absent(&e) => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

/// Writes a file under another name, and renames it once it is on the disk.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let new = path.with_extension("new");
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    write().map_err(|e| {
        // a part of it would only take room
        let _ = fs::remove_file(&new);
        Error::io("write", path)(e)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn paths(folder: &Path) -> Paths {
        let at = |name: &str| folder.join(name);
        Paths { state: at("p3/update"), volatile: at("run"), lock: at("run/lock"), ..Paths::default() }
    }

    fn attempt(boot_id: &str) -> Attempt {
        Attempt { image: "2".into(), root_hash: Digest::of(b"2"), boot_id: boot_id.into(), reason: None }
    }

    #[test]
    fn records_are_kept_in_memory_while_p3_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        // no folder can be made below a file: as on a file system that is full or read-only
        fs::write(folder.path().join("p3"), "").unwrap();
        let records = Records::open(&paths);
        records.set_attempts(&[attempt("1")]);
        assert_eq!(records.attempts(), [attempt("1")]);
        assert!(records.warnings()[0].contains("p3/update"), "{:?}", records.warnings());
        assert!(records.set_loader(b"program").is_err(), "a boot loader needs P3");
        assert_eq!((records.loader().unwrap(), records.floor().unwrap()), (None, None));
        // P3 is back, and newer than memory
        fs::remove_file(folder.path().join("p3")).unwrap();
        records.set_attempts(&[attempt("1"), attempt("2")]);
        assert!(paths.state.join("attempts.json").exists() && !paths.volatile.join("attempts.json").exists());
        assert_eq!(Records::at(&paths).attempts().len(), 2);
    }

    #[test]
    fn a_damaged_record_is_named_and_a_damaged_floor_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let paths = paths(folder.path());
        fs::create_dir_all(&paths.state).unwrap();
        for name in ["progress.json", "attempts.json", "last.json", "refused.json", "loader.json", "floor.json"] {
            fs::write(paths.state.join(name), "{\"version\"").unwrap();
        }
        let records = Records::at(&paths);
        let nothing = (records.progress(), records.last(), records.refusal(), records.loader_trial());
        assert_eq!((nothing, records.attempts()), ((None, None, None, None), Vec::new()));
        let warnings = records.warnings();
        assert_eq!(warnings.len(), 5, "{warnings:?}");
        assert!(warnings.iter().all(|text| text.contains("is damaged")), "{warnings:?}");
        let error = records.floor().unwrap_err().to_string();
        assert!(error.contains("floor.json"), "{error}");
    }

    #[test]
    fn nobody_waits_for_the_lock_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::at(&paths(folder.path()));
        let held = records.alone(Duration::ZERO).unwrap();
        let begin = Instant::now();
        assert!(matches!(records.alone(Duration::from_millis(300)), Err(Error::Busy { .. })));
        assert!(begin.elapsed() >= Duration::from_millis(300));
        drop(held);
        records.alone(Duration::ZERO).unwrap();
    }
}
