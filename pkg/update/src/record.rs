//! What is kept in `/persist/update`, one file a fact, each replaced as a whole. None of it decides what starts: if it is lost, an
//! update starts anew and a failure stays without its reason.

use crate::{efi::BootNumber, error::Error, places::Places};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};
use types::{Bytes, Digest};

/// An update that is under way: `progress.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// Where it comes from.
    pub(crate) source: String,
    /// Digest of `update.json`.
    pub(crate) update: Digest,
    /// Its image.
    pub(crate) image: String,
    /// The options that it was begun with.
    pub(crate) limit: Option<Bytes>,
    pub(crate) allow_older: bool,
    /// The blob that is being fetched, and how much of it is on the disk for sure.
    pub(crate) blob: Option<(Digest, Bytes)>,
}

/// A try of an image: `attempts.json` has those since the last update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// The image that started.
    pub(crate) image: String,
    pub(crate) root_hash: Digest,
    /// The kernel's name of the start.
    pub(crate) boot_id: String,
    /// Why it was given up; absent when nobody could say so.
    pub(crate) reason: Option<String>,
}

/// What the last update was, and what became of it: `last.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Last {
    /// What ran before.
    pub(crate) from: String,
    /// What was to run.
    pub(crate) to: String,
    /// The root hash of that.
    pub(crate) root_hash: Digest,
    /// Bytes that were fetched for it.
    pub(crate) fetched: Bytes,
    /// Bytes of the store that were here already.
    pub(crate) reused: Bytes,
    /// What became of it.
    pub(crate) result: Outcome,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// What becomes of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// It is written and starts next.
    Ready,
    /// It was found good.
    Good,
    /// It failed; what ran before runs again.
    FellBack,
}

/// The trial of a boot loader: `loader.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LoaderTrial {
    /// What has become of it.
    pub(crate) state: LoaderState,
    /// Of the loader.
    pub(crate) digest: Digest,
    /// The boot entry that starts it.
    pub(crate) number: BootNumber,
    /// The boot entry that has started what set the trial up: the default's.
    pub(crate) before: Option<BootNumber>,
    /// The kernel's name of the start in which the trial was set up.
    pub(crate) boot_id: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// What becomes of the trial of a boot loader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LoaderState {
    /// It starts next, or has started and nobody has said yet how that went.
    Trial,
    /// It has started this device, and is on its way to its place.
    Works,
    /// It has not, and is not tried again.
    Failed,
}

/// `floor.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Floor {
    /// The oldest version that this device takes.
    pub(crate) version: String,
}

/// The folder.
#[derive(Debug, Clone)]
pub(crate) struct Records(PathBuf);

impl Records {
    pub(crate) fn open(places: &Places) -> Result<Self, Error> {
        fs::create_dir_all(&places.state).map_err(Error::io("make", &places.state))?;
        Ok(Self(places.state.clone()))
    }

    /// For reading only: the folder need not be there.
    pub(crate) fn at(places: &Places) -> Self {
        Self(places.state.clone())
    }

    /// What keeps others from changing slots at the same time, until it is dropped.
    pub(crate) fn alone(&self, wait: bool) -> Result<File, Error> {
        let path = self.0.join("lock");
        let file = File::create(&path).map_err(Error::io("open", &path))?;
        let how = if wait { FlockOperation::LockExclusive } else { FlockOperation::NonBlockingLockExclusive };
        flock(&file, how).map_err(|e| Error::io("be the only one that holds", &path)(e.into()))?;
        Ok(file)
    }

    pub(crate) fn progress(&self) -> Result<Option<Progress>, Error> {
        self.read("progress.json")
    }

    pub(crate) fn set_progress(&self, progress: &Progress) -> Result<(), Error> {
        self.write("progress.json", progress)
    }

    pub(crate) fn forget_progress(&self) -> Result<(), Error> {
        self.remove("progress.json")
    }

    pub(crate) fn attempts(&self) -> Result<Vec<Attempt>, Error> {
        Ok(self.read("attempts.json")?.unwrap_or_default())
    }

    pub(crate) fn set_attempts(&self, attempts: &[Attempt]) -> Result<(), Error> {
        self.write("attempts.json", &attempts)
    }

    pub(crate) fn last(&self) -> Result<Option<Last>, Error> {
        self.read("last.json")
    }

    pub(crate) fn set_last(&self, last: &Last) -> Result<(), Error> {
        self.write("last.json", last)
    }

    pub(crate) fn floor(&self) -> Result<Option<Floor>, Error> {
        self.read("floor.json")
    }

    pub(crate) fn set_floor(&self, floor: &Floor) -> Result<(), Error> {
        self.write("floor.json", floor)
    }

    /// The boot loader that came with an update; it is tried once the image is good.
    pub(crate) fn loader(&self) -> Result<Option<Vec<u8>>, Error> {
        let path = self.0.join("loader.efi");
        match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            program => program.map(Some).map_err(Error::io("read", &path)),
        }
    }

    pub(crate) fn set_loader(&self, program: &[u8]) -> Result<(), Error> {
        replace(&self.0.join("loader.efi"), program)
    }

    pub(crate) fn forget_loader(&self) -> Result<(), Error> {
        self.remove("loader.efi")
    }

    pub(crate) fn loader_trial(&self) -> Result<Option<LoaderTrial>, Error> {
        self.read("loader.json")
    }

    pub(crate) fn set_loader_trial(&self, trial: &LoaderTrial) -> Result<(), Error> {
        self.write("loader.json", trial)
    }

    pub(crate) fn forget_loader_trial(&self) -> Result<(), Error> {
        self.remove("loader.json")
    }

    /// A damaged file is as good as none: nothing depends on it.
    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let path = self.0.join(name);
        match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            other => Ok(serde_json::from_slice(&other.map_err(Error::io("read", &path))?).ok()),
        }
    }

    fn write<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Error> {
        let path = self.0.join(name);
        let text = serde_json::to_vec_pretty(value).map_err(|e| Error::io("write", &path)(e.into()))?;
        replace(&path, &text)
    }

    fn remove(&self, name: &str) -> Result<(), Error> {
        let path = self.0.join(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &path)(e)),
            _ => Ok(()),
        }
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
    write().map_err(Error::io("write", path))
}
