//! The list of snapshots on disk.
//!
//! ```text
//!   snapshots.json          the list, JSON with spaces up to a multiple of 16 KiB
//!   snapshots.json.spare    the list before this one; its blocks take the next one
//! ```
//! A new list is written into the spare file, synced, and exchanged with the list in one step. Both files have the blocks
//! for the longer of the two lists. So a list that becomes no longer can always be written, on a full disk as well: what
//! fills a disk can be removed from it.

use crate::error::{Error, io_error};
use rustix::{
    fs::{CWD, FallocateFlags, RenameFlags, fallocate, renameat_with},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use super::{Life, Record};

/// Files are a multiple of this long.
const CHUNK: u64 = 16 << 10;

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct List {
    pub(super) next: u64,
    /// Another number after each loss of the list. containerd's metadata, which names snapshots, belongs to one generation.
    #[serde(default)]
    pub(super) generation: u64,
    pub(super) snapshots: BTreeMap<String, Record>,
}

impl List {
    /// Refuses what this program never writes: two snapshots in one folder, or parents in a circle.
    fn verify(&self) -> Result<(), String> {
        let mut ids = BTreeSet::new();
        for (key, record) in &self.snapshots {
            if record.id >= self.next || !ids.insert(record.id) {
                return Err(format!("snapshot {key} has the folder {}, which is another's", record.id));
            }
            let mut below = record;
            for steps in 0.. {
                if steps > self.snapshots.len() {
                    return Err(format!("the parents of snapshot {key} form a circle"));
                }
                match self.snapshots.get(&below.parent) {
                    Some(parent) if parent.life == Life::Committed => below = parent,
                    Some(_) => return Err(format!("snapshot {} has children and is not committed", below.parent)),
                    // of the store, of an earlier store, or none
                    None => break,
                }
            }
        }
        Ok(())
    }
}

/// Where the list is.
#[derive(Debug, Clone)]
pub(super) struct Files {
    list: PathBuf,
    spare: PathBuf,
}

/// The state of the list on disk.
#[derive(Debug)]
pub(super) enum Found {
    /// There is none.
    Nothing,
    /// It is whole.
    List(List),
    /// It is damaged, for this reason.
    Damaged(String),
}

impl Files {
    pub(super) fn of(root: &Path) -> Self {
        Self { list: root.join("snapshots.json"), spare: root.join("snapshots.json.spare") }
    }

    pub(super) fn list(&self) -> &Path {
        &self.list
    }

    pub(super) fn read(&self) -> Result<Found, Error> {
        let bytes = match fs::read(&self.list) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(source) => return Err(Error::Io { action: "read", path: self.list.clone(), source }),
        };
        let list: Result<List, _> = serde_json::from_slice(&bytes);
        Ok(match list.map_err(|e| e.to_string()).and_then(|list| list.verify().map(|()| list)) {
            Ok(list) => Found::List(list),
            Err(why) => Found::Damaged(why),
        })
    }

    /// Replaces the list, durably.
    pub(super) fn write(&self, list: &List) -> Result<(), Error> {
        let path = &self.list;
        let text = serde_json::to_vec(list).map_err(|source| Error::Json { path: path.clone(), source })?;
        self.replace(text).map_err(io_error("write", path))
    }

    fn replace(&self, mut text: Vec<u8>) -> io::Result<()> {
        let old = match File::options().write(true).open(&self.list) {
            Ok(file) => Some(file),
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        let len = old.as_ref().map_or(Ok(0), |file| file.metadata().map(|m| m.len()))?;
        let len = (text.len() as u64).next_multiple_of(CHUNK).max(len);
        text.resize(len as usize, b' ');
        let mut spare = File::options().write(true).create(true).truncate(false).open(&self.spare)?;
        reserve(&spare, len)?;
        if let Some(old) = &old {
            reserve(old, len)?;
        }
        spare.rewind()?;
        spare.write_all(&text)?;
        spare.set_len(len)?;
        spare.sync_data()?;
        match old {
            Some(_) => renameat_with(CWD, &self.spare, CWD, &self.list, RenameFlags::EXCHANGE)?,
            None => fs::rename(&self.spare, &self.list)?,
        }
        self.list.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

/// Allocates the file's blocks, without changing its content.
fn reserve(file: &File, len: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, len) {
        // a file system that cannot reserve has no such promise to make
        Err(Errno::OPNOTSUPP) => Ok(()),
        result => Ok(result?),
    }
}
