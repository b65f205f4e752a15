//! Snapshots that are not layers of the store: one list of them, and a folder for each.
//!
//! ```text
//! <root>/snapshots.json      the list, see `list.rs`
//! <root>/<id>/fs             the snapshot's files: upper layer of an overlay, or plain files
//! <root>/<id>/work           overlay's own
//! <root>/trash/<id>          removed, being deleted
//! <root>/damaged             a copy of the last list that was damaged
//! ```
//! A folder is made before it is listed, and unlisted before it is deleted. So after a crash a folder may be too many, but
//! never one too few; the next start deletes those that are too many. Removing a snapshot needs no free space.
//!
//! The list is an index: an empty one of another generation takes the place of a damaged one, whose snapshots are deleted.
//! `stored prepare` then makes containerd's metadata anew, because it names the snapshots.

mod list;
#[cfg(test)]
#[path = "state_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
mod usage;

pub(crate) use usage::Usage;

use crate::{
    aside,
    error::{Error, io_error},
};
use api::message::{Labels, snapshot::Kind};
use list::{Files, Found, List};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};
use usage::usage;

/// The kind of a snapshot.
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

/// The list, in memory and on disk.
pub(crate) struct State {
    root: PathBuf,
    files: Files,
    list: List,
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}

/// The generation of the list in `root`, for containerd's metadata; 0 where there is none yet.
pub(crate) fn generation(root: &Path) -> Result<u64, Error> {
    Ok(match Files::of(root).read()? {
        Found::List(list) => list.generation,
        Found::Nothing | Found::Damaged(_) => 0,
    })
}

impl State {
    /// Reads the list in `root`, or begins a new one, and deletes folders that are not on it.
    pub(crate) fn open(root: &Path) -> Result<Self, Error> {
        let trash = root.join("trash");
        fs::create_dir_all(&trash).map_err(io_error("create", &trash))?;
        // containers' files are root's business only
        fs::set_permissions(root, fs::Permissions::from_mode(0o700)).map_err(io_error("set the mode of", root))?;
        let files = Files::of(root);
        let (list, found) = match files.read()? {
            Found::List(list) => (list, true),
            Found::Nothing => (List::default(), false),
            Found::Damaged(why) => {
                aside::keep(root, files.list(), &why)?;
                let root = root.display();
                eprintln!(
                    "all snapshots in {root} are deleted: containers get new ones, pulled images must be pulled again"
                );
                (List { generation: now(), ..List::default() }, false)
            }
        };
        let state = Self { root: root.to_owned(), files, list };
        // also where nothing has changed, so that both files have their blocks
        if let Err(e) = state.save() {
            if !found {
                return Err(e);
            }
            eprintln!("{e}; containers can be removed, and started when there is room");
        }
        let known: BTreeSet<_> = state.list.snapshots.values().map(|r| r.id.to_string()).collect();
        for entry in fs::read_dir(root).map_err(io_error("read", root))? {
            let name = entry.map_err(io_error("read", root))?.file_name();
            let name = name.to_string_lossy();
            if name.parse::<u64>().is_ok() && !known.contains(&*name) {
                state.discard(&name);
            }
        }
        state.empty_trash();
        Ok(state)
    }

    /// Forgets snapshots with keys that belong to the store. Nothing here makes such a snapshot.
    pub(crate) fn drop_shadowed(&mut self, belongs: impl Fn(&str) -> bool) {
        self.list.snapshots.retain(|key, record| {
            let keep = !belongs(key);
            if !keep {
                eprintln!("snapshot {key} is a layer of the store: the one in folder {} is dropped", record.id);
            }
            keep
        });
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

    /// Makes the folders of a new snapshot and adds it to the list. `model` is a folder whose owner and mode the new root
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
        // a view of what is below it has no files of its own, and none are made on a full disk
        if life != Life::View || parent.is_empty() {
            self.make_folders(id, model).inspect_err(|_| self.discard(&id.to_string()))?;
        }
        let (created, updated) = (now(), now());
        let record = Record { id, parent: parent.to_owned(), life, created, updated, labels, usage: None };
        self.list.next = id + 1;
        self.list.snapshots.insert(key.to_owned(), record);
        self.save().inspect_err(|_| {
            self.list.snapshots.remove(key);
            self.discard(&id.to_string());
        })
    }

    fn make_folders(&self, id: u64, model: Option<&Path>) -> Result<(), Error> {
        let folder = self.folder(id);
        for folder in [folder.join("fs"), folder.join("work")] {
            fs::create_dir_all(&folder).map_err(io_error("create", &folder))?;
        }
        let top = folder.join("fs");
        let mut mode = 0o755;
        if let Some(model) = model {
            let meta = fs::metadata(model).map_err(io_error("look at", model))?;
            std::os::unix::fs::chown(&top, Some(meta.uid()), Some(meta.gid())).map_err(io_error("chown", &top))?;
            mode = meta.mode() & 0o7777;
        }
        fs::set_permissions(&top, fs::Permissions::from_mode(mode)).map_err(io_error("set the mode of", &top))
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

    /// Takes a snapshot off the list; its files are deleted in the background. That works on a full disk, too.
    pub(crate) fn remove(&mut self, key: &str) -> Result<(), Error> {
        let Some(record) = self.list.snapshots.remove(key) else { return Ok(()) };
        let id = record.id;
        self.save().inspect_err(|_| {
            self.list.snapshots.insert(key.to_owned(), record);
        })?;
        self.discard(&id.to_string());
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

    /// Deletes a folder that is not listed: it goes to the trash, or is deleted where it is when a full disk has no room
    /// for its name there. A folder that stays is deleted at the next start.
    fn discard(&self, name: &str) {
        let from = self.root.join(name);
        let to = self.root.join("trash").join(format!("{name}-{}", now()));
        match fs::rename(&from, &to) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                thread::spawn(move || delete(&from));
            }
            _ => {}
        }
    }

    fn empty_trash(&self) {
        let trash = self.root.join("trash");
        thread::spawn(move || {
            let Ok(entries) = fs::read_dir(&trash) else { return };
            for entry in entries.flatten() {
                delete(&entry.path());
            }
        });
    }

    fn save(&self) -> Result<(), Error> {
        self.files.write(&self.list)
    }
}

/// Deletes a folder. Another sweep may be deleting the same one; a folder that stays is tried again at the next sweep.
fn delete(folder: &Path) {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => eprintln!("cannot delete {}: {e}", folder.display()),
        _ => {}
    }
}
