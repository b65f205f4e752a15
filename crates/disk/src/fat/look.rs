//! Finding and reading files of an existing volume.
//!
//! ```text
//! EFI/Linux/x.efi    root ─► entry EFI ─► folder ─► entry Linux ─► folder ─► entry x.efi ─► chain ─► bytes
//! ```

use super::{
    edit::Edit,
    folder::{Entry, Folder},
    table::Table,
};
use crate::{Blocks, Error};

/// A file or folder in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its name: the long one if it has both.
    pub name: String,
    /// Its size in bytes; 0 for a folder.
    pub size: u64,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// The target of a path.
pub(super) struct Found<'p> {
    /// The last existing folder on the way.
    pub(super) folder: Folder,
    /// The item that the path names.
    pub(super) entry: Option<Entry>,
    /// The missing names on the way.
    pub(super) missing: Vec<&'p str>,
}

impl<B: Blocks> Edit<B> {
    /// The content of a folder, in its order; `""` is the root.
    ///
    /// # Errors
    /// [`Error::File`] when it is missing or a file, [`Error::BadVolume`], [`Error::Io`].
    pub fn list(&self, folder: &str) -> Result<Vec<Item>, Error> {
        let table = self.table()?;
        let folder = match folder.trim_matches('/') {
            "" => self.folder(&table, 0)?,
            path => {
                let entry = self.find(&table, path)?.entry.ok_or_else(|| refuse(path, "it is missing"))?;
                self.enter(&table, &entry)?
            }
        };
        let item =
            |e: Entry| Item { size: if e.is_folder { 0 } else { e.size.into() }, name: e.name, is_folder: e.is_folder };
        Ok(folder.entries.into_iter().map(item).collect())
    }

    /// Whether a file or folder exists.
    ///
    /// # Errors
    /// [`Error::BadVolume`], [`Error::Io`].
    pub fn has(&self, path: &str) -> Result<bool, Error> {
        Ok(self.find(&self.table()?, path)?.entry.is_some())
    }

    /// The bytes of a file; `None` if it is missing.
    ///
    /// # Errors
    /// [`Error::File`] when it is a folder, [`Error::BadVolume`] when its chain of clusters is damaged, [`Error::Io`].
    pub fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let table = self.table()?;
        let Some(entry) = self.find(&table, path)?.entry else { return Ok(None) };
        self.content(&table, &entry, path).map(Some)
    }

    pub(super) fn content(&self, table: &Table, entry: &Entry, path: &str) -> Result<Vec<u8>, Error> {
        if entry.is_folder {
            return Err(refuse(path, "it is a folder"));
        }
        if entry.size == 0 {
            return Ok(Vec::new());
        }
        let chain = table.chain(entry.first, u32::MAX, path)?;
        if (chain.len() as u64) < self.clusters_of(entry.size as usize).into() {
            return Err(Error::BadVolume { problem: format!("{path}: its chain of clusters is shorter than it") });
        }
        let mut bytes = vec![0; entry.size as usize];
        let mut rest = &mut bytes[..];
        for (first, clusters) in runs(&chain) {
            let len = rest.len().min(clusters * self.geometry.cluster_len() as usize);
            let (head, tail) = rest.split_at_mut(len);
            self.blocks.read_at(head, self.geometry.cluster(first)).map_err(Error::io(format!("read /{path}")))?;
            rest = tail;
        }
        Ok(bytes)
    }

    pub(super) fn table(&self) -> Result<Table, Error> {
        Table::load(&self.blocks, &self.geometry)
    }

    pub(super) fn folder(&self, table: &Table, first: u32) -> Result<Folder, Error> {
        Folder::read(&self.blocks, &self.geometry, table, first)
    }

    /// The folder that an entry names.
    pub(super) fn enter(&self, table: &Table, entry: &Entry) -> Result<Folder, Error> {
        if !entry.is_folder {
            return Err(refuse(&entry.name, "it is a file, not a folder"));
        }
        if entry.first < 2 || entry.first == self.geometry.root_cluster {
            return Err(Error::BadVolume { problem: format!("the folder {} is the root folder", entry.name) });
        }
        self.folder(table, entry.first)
    }

    pub(super) fn find<'p>(&self, table: &Table, path: &'p str) -> Result<Found<'p>, Error> {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let mut folder = self.folder(table, 0)?;
        for (n, part) in parts.iter().enumerate() {
            let entry = folder.all(part).next().cloned();
            match entry {
                None => return Ok(Found { folder, entry: None, missing: parts[n..].to_vec() }),
                Some(entry) if n + 1 == parts.len() => {
                    return Ok(Found { folder, entry: Some(entry), missing: Vec::new() });
                }
                Some(entry) => folder = self.enter(table, &entry)?,
            }
        }
        Err(refuse(path, "it is no path"))
    }
}

pub(super) fn refuse(path: &str, problem: &str) -> Error {
    Error::File { path: path.trim_start_matches('/').to_owned(), problem: problem.to_owned() }
}

/// Pieces of a chain that lie together: the first cluster and how many.
pub(super) fn runs(chain: &[u32]) -> impl Iterator<Item = (u32, usize)> {
    chain.chunk_by(|a, b| a + 1 == *b).map(|run| (run[0], run.len()))
}
