//! What stands on P3: one list of snapshots, and a folder for each.
//!
//! ```text
//! /persist/stored/snapshots.json     the list; replaced as a whole (temp, fsync, rename, fsync of the folder)
//! /persist/stored/<id>/fs            what the snapshot holds: upper layer of an overlay, or plain files
//! /persist/stored/<id>/work          overlay's own
//! /persist/stored/trash/<id>         removed, being deleted
//! ```
//! A folder is made before it is listed and unlisted before it is deleted, so that after a crash a folder may be too many
//! but never one too few. Those too many are deleted at the next start.

use crate::error::Error;
use api::message::{Labels, snapshot::Kind};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

/// What kind of snapshot a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Life {
    View,
    Active,
    Committed,
}

impl From<Life> for Kind {
    fn from(life: Life) -> Self {
        match life {
            Life::View => Self::View,
            Life::Active => Self::Active,
            Life::Committed => Self::Committed,
        }
    }
}

/// Disk space of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: u64,
    #[serde(default)]
    pub(crate) parent: String,
    pub(crate) life: Life,
    /// Nanoseconds since 1970.
    pub(crate) created: u64,
    pub(crate) updated: u64,
    #[serde(default)]
    pub(crate) labels: Labels,
    /// Known for committed ones.
    #[serde(default)]
    pub(crate) usage: Option<Usage>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct List {
    next: u64,
    snapshots: BTreeMap<String, Record>,
}

/// The list, in memory and on disk.
pub(crate) struct State {
    root: PathBuf,
    list: List,
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}

impl State {
    /// Reads the list in `root`, and deletes folders that are not on it.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        let trash = root.join("trash");
        fs::create_dir_all(&trash).map_err(io_error("create", &trash))?;
        // whose containers' files these are is nobody's business but root's
        fs::set_permissions(root, fs::Permissions::from_mode(0o700)).map_err(io_error("set the mode of", root))?;
        let path = root.join("snapshots.json");
        let list: List = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| Error::Json { path, source })?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => List::default(),
            Err(source) => return Err(Error::Io { action: "read", path, source }),
        };
        let state = Self { root: root.to_owned(), list };
        let known: BTreeSet<_> = state.list.snapshots.values().map(|r| r.id.to_string()).collect();
        for entry in fs::read_dir(root).map_err(io_error("read", root))? {
            let name = entry.map_err(io_error("read", root))?.file_name();
            let name = name.to_string_lossy();
            if name.parse::<u64>().is_ok() && !known.contains(&*name) {
                state.to_trash(&name)?;
            }
        }
        state.empty_trash();
        Ok(state)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Record> {
        self.list.snapshots.get(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Record)> {
        self.list.snapshots.iter()
    }

    pub(crate) fn has_children(&self, key: &str) -> bool {
        self.list.snapshots.values().any(|r| r.parent == key)
    }

    /// The folder with a snapshot's own files.
    pub(crate) fn fs(&self, record: &Record) -> PathBuf {
        self.folder(record.id).join("fs")
    }

    /// Overlay's work folder beside it.
    pub(crate) fn work(&self, record: &Record) -> PathBuf {
        self.folder(record.id).join("work")
    }

    fn folder(&self, id: u64) -> PathBuf {
        self.root.join(id.to_string())
    }

    /// Makes the folders of a new snapshot and puts it on the list. `model` is a folder whose owner and mode the new root
    /// takes over.
    pub(crate) fn add(
        &mut self,
        key: &str,
        parent: &str,
        life: Life,
        labels: Labels,
        model: Option<&Path>,
    ) -> Result<(), Error> {
        let id = self.list.next;
        let folder = self.folder(id);
        if folder.exists() {
            self.to_trash(&id.to_string())?;
        }
        for folder in [folder.join("fs"), folder.join("work")] {
            fs::create_dir_all(&folder).map_err(io_error("create", &folder))?;
        }
        let top = folder.join("fs");
        let mut mode = 0o755;
        if let Some(model) = model {
            use std::os::unix::fs::MetadataExt as _;
            let meta = fs::metadata(model).map_err(io_error("look at", model))?;
            std::os::unix::fs::chown(&top, Some(meta.uid()), Some(meta.gid())).map_err(io_error("chown", &top))?;
            mode = meta.mode() & 0o7777;
        }
        fs::set_permissions(&top, fs::Permissions::from_mode(mode)).map_err(io_error("set the mode of", &top))?;
        let (created, updated) = (now(), now());
        let record = Record { id, parent: parent.to_owned(), life, created, updated, labels, usage: None };
        self.list.next = id + 1;
        self.list.snapshots.insert(key.to_owned(), record);
        self.save().inspect_err(|_| {
            self.list.snapshots.remove(key);
        })
    }

    /// Makes an active snapshot a committed one under another name, once its files are safely on disk.
    pub(crate) fn commit(&mut self, name: &str, key: &str, labels: Labels) -> Result<(), Error> {
        let Some(old) = self.list.snapshots.get(key).cloned() else { return Ok(()) };
        let path = self.fs(&old);
        let file = fs::File::open(&path).map_err(io_error("open", &path))?;
        rustix::fs::syncfs(&file).map_err(|e| io_error("sync", &path)(e.into()))?;
        let usage = Some(usage(&path)?);
        let record = Record { life: Life::Committed, updated: now(), labels, usage, ..old.clone() };
        self.list.snapshots.remove(key);
        self.list.snapshots.insert(name.to_owned(), record);
        self.save().inspect_err(|_| {
            self.list.snapshots.remove(name);
            self.list.snapshots.insert(key.to_owned(), old);
        })
    }

    /// Replaces a snapshot's labels.
    pub(crate) fn set_labels(&mut self, key: &str, labels: Labels) -> Result<(), Error> {
        let Some(record) = self.list.snapshots.get_mut(key) else { return Ok(()) };
        let old = record.clone();
        record.labels = labels;
        record.updated = now();
        self.save().inspect_err(|_| {
            self.list.snapshots.insert(key.to_owned(), old);
        })
    }

    /// Takes a snapshot off the list; its files are deleted in the background.
    pub(crate) fn remove(&mut self, key: &str) -> Result<(), Error> {
        let Some(record) = self.list.snapshots.remove(key) else { return Ok(()) };
        let id = record.id;
        self.save().inspect_err(|_| {
            self.list.snapshots.insert(key.to_owned(), record);
        })?;
        self.to_trash(&id.to_string())?;
        self.empty_trash();
        Ok(())
    }

    /// Disk space used: known for committed snapshots, measured for others.
    pub(crate) fn usage(&self, record: &Record) -> Result<Usage, Error> {
        match record.usage {
            Some(known) => Ok(known),
            None => usage(&self.fs(record)),
        }
    }

    fn to_trash(&self, name: &str) -> Result<(), Error> {
        let from = self.root.join(name);
        // the same id may be in the trash from before a crash
        let to = self.root.join("trash").join(format!("{name}-{}", now()));
        fs::rename(&from, &to).map_err(io_error("remove", &from))
    }

    fn empty_trash(&self) {
        let trash = self.root.join("trash");
        thread::spawn(move || {
            let Ok(entries) = fs::read_dir(&trash) else { return };
            for entry in entries.flatten() {
                if let Err(e) = fs::remove_dir_all(entry.path()) {
                    // another sweep may be deleting the same; what stays is tried again at the next one
                    if e.kind() != io::ErrorKind::NotFound {
                        eprintln!("cannot delete {}: {e}", entry.path().display());
                    }
                }
            }
        });
    }

    fn save(&self) -> Result<(), Error> {
        let path = self.root.join("snapshots.json");
        let temporary = self.root.join("snapshots.json.new");
        let bytes = serde_json::to_vec(&self.list).map_err(|source| Error::Json { path: path.clone(), source })?;
        let write = || {
            let mut file = fs::File::create(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_data()?;
            fs::rename(&temporary, &path)?;
            fs::File::open(&self.root)?.sync_all()
        };
        write().map_err(io_error("write", &path))
    }
}

fn usage(root: &Path) -> Result<Usage, Error> {
    use std::os::unix::fs::MetadataExt as _;
    let mut usage = Usage::default();
    let mut seen = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            // a container is at work in there
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(Error::Io { action: "read", path: folder, source }),
        };
        for entry in entries {
            let entry = entry.map_err(io_error("read", &folder))?;
            let meta = match entry.metadata() {
                Ok(meta) => meta,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(Error::Io { action: "look at", path: entry.path(), source }),
            };
            if meta.nlink() == 1 || meta.is_dir() || seen.insert(meta.ino()) {
                usage.bytes += meta.blocks() * 512;
                usage.inodes += 1;
            }
            if meta.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(usage)
}
