//! Changing an existing volume so that a power cut leaves the old state or the new one.
//!
//! ```text
//!            invisible                        F  one sector: it happens     F  afterwards                       F
//! create   │ clusters, their chain           │  the set of slots           │                                  │
//! replace  │ clusters, their chain           │  first cluster and size     │  old chain is freed              │
//! rename   │                                 │  new set over the old, or   │                                  │
//!          │                                 │  new set elsewhere          │  old set removed                 │
//! remove   │                                 │  the entry of the set       │  rest of the set, chain freed    │
//! ```
//! `F` is a flush. A cut before the one sector leaves unreferenced new clusters, a cut after it leaves unreferenced old
//! ones; [`Edit::reclaim`] frees both. A rename to another place shows both names in between, for the same content.
//! Everything read from the volume is checked, because firmware, Linux or an attacker may have written it.
//!
//! Deliberately absent: FAT12, volumes whose second FAT is not a copy, moving between folders, and concurrent changes:
//! the volume must not be mounted.

use super::{
    folder::{Entry, Folder},
    geometry::{Geometry, Width},
    look::{Found, refuse, runs},
    name::{self, Name},
    table::Table,
    write::{ARCHIVE, FOLDER, SLOT, dos_clock, slot},
};
use crate::{Blocks, Error, SECTOR};
use std::{collections::BTreeSet, io};
use types::{Bytes, EPOCH};

/// Bytes in one write of a file's content.
const STEP: usize = 1 << 20;

/// A FAT16 or FAT32 volume to be changed. Paths are like `EFI/Linux/x.efi`; capitals and small letters of ASCII are alike.
#[derive(Debug)]
pub struct Edit<B> {
    pub(super) blocks: B,
    pub(super) geometry: Geometry,
    pub(super) free: u32,
}

impl<B: Blocks> Edit<B> {
    /// Opens a volume.
    ///
    /// # Errors
    /// [`Error::BadVolume`] when it is not FAT16 or FAT32 with sectors of 512 bytes, [`Error::Io`].
    pub fn open(blocks: B) -> Result<Self, Error> {
        let geometry = Geometry::read(&blocks)?;
        let free = Table::load(&blocks, &geometry)?.free();
        Ok(Self { blocks, geometry, free })
    }

    /// The device below it.
    #[must_use]
    pub fn into_inner(self) -> B {
        self.blocks
    }

    /// The free room, in whole clusters.
    #[must_use]
    pub fn free(&self) -> Bytes {
        self.bytes_of(self.free)
    }

    /// Makes a file and the missing folders of its path. All of them appear at once.
    ///
    /// # Errors
    /// [`Error::File`] when it exists or its name is impossible, [`Error::NoRoom`], [`Error::BadVolume`],
    /// [`Error::Io`].
    pub fn create(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut table = self.table()?;
        let Found { mut folder, entry: None, missing } = self.find(&table, path)? else {
            return Err(refuse(path, "it exists already"));
        };
        let size = u32::try_from(bytes.len()).map_err(|_| refuse(path, "larger than 4 GiB - 1"))?;
        // the first name goes to a folder that exists, the others to folders of their own
        let mut names = Vec::new();
        for (n, part) in missing.iter().enumerate() {
            let taken = if n == 0 { shorts(&folder, None) } else { BTreeSet::new() };
            names.push(named(path, part, &taken)?);
        }
        let place = folder.room(&self.geometry, names[0].slots()).map_err(|why| refuse(path, why))?;
        let mut clusters: Vec<u32> =
            names[1..].iter().map(|name| self.clusters_of((2 + name.slots()) * SLOT)).collect();
        clusters.push(self.clusters_of(bytes.len()));
        self.require(path, clusters.iter().sum::<u32>() + u32::from(place.is_none()), &table)?;
        let chains: Vec<Vec<u32>> = clusters.iter().map(|n| table.take(*n).unwrap_or_default()).collect();
        let first = |n: usize| chains[n].first().copied().unwrap_or(0);
        let entry = |n: usize| match n + 1 == names.len() {
            true => slot(&names[n].short, ARCHIVE, first(n), size),
            false => slot(&names[n].short, FOLDER, first(n), 0),
        };
        let io = |e| Error::io(format!("write /{path}"))(e);
        for n in 0..names.len() - 1 {
            let parent = if n == 0 { folder.first } else { first(n - 1) };
            let mut content = slot(b".          ", FOLDER, first(n), 0).to_vec();
            content.extend(slot(b"..         ", FOLDER, parent, 0));
            content.extend(set(&names[n + 1], entry(n + 1)));
            content.resize(chains[n].len() * self.geometry.cluster_len() as usize, 0);
            self.fill(&chains[n], &content).map_err(io)?;
        }
        self.fill(&chains[names.len() - 1], bytes).map_err(io)?;
        table.store(&self.blocks, &self.geometry).map_err(io)?;
        self.put(&mut table, &mut folder, place, &set(&names[0], entry(0))).map(|_| ())
    }

    /// Renames a file or folder within its folder. If the new name does not fit in the place of the old one, a cut may
    /// leave both.
    ///
    /// # Errors
    /// [`Error::File`] when it is missing, another has the name, or the name is impossible; [`Error::NoRoom`] when the
    /// folder has to grow; [`Error::BadVolume`], [`Error::Io`].
    pub fn rename(&mut self, path: &str, new_name: &str) -> Result<(), Error> {
        let mut table = self.table()?;
        let Found { mut folder, entry, .. } = self.find(&table, path)?;
        let entry = entry.ok_or_else(|| refuse(path, "it is missing"))?;
        if folder.all(new_name).any(|other| other.slots != entry.slots) {
            return Err(refuse(path, &format!("it cannot be called {new_name}: that exists already")));
        }
        let mut raw = [0; SLOT];
        raw.copy_from_slice(folder.slot_mut(entry.slot()));
        // small letters of the old short name
        raw[12] = 0;
        let name = named(path, new_name, &shorts(&folder, Some(&entry)))?;
        if Folder::in_one_sector(&entry.slots) && name.slots() <= entry.slots.len() {
            return folder.put_over(&self.blocks, &entry.slots, &set(&name, raw));
        }
        if folder.all(new_name).next().is_some() {
            // otherwise there would be two files of one name for a moment
            return Err(refuse(
                path,
                &format!("there is no room to call it {new_name}, which differs in capitals only"),
            ));
        }
        let name = named(path, new_name, &shorts(&folder, None))?;
        let place = folder.room(&self.geometry, name.slots()).map_err(|why| refuse(path, why))?;
        self.require(path, place.is_none().into(), &table)?;
        self.put(&mut table, &mut folder, place, &set(&name, raw))?;
        folder.remove(&self.blocks, &entry.slots)
    }

    /// Replaces the bytes of a file, completely or not at all. Both contents need room meanwhile.
    ///
    /// # Errors
    /// [`Error::File`] when it is missing or a folder, [`Error::NoRoom`], [`Error::BadVolume`], [`Error::Io`].
    pub fn replace(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let mut table = self.table()?;
        let Found { mut folder, entry, .. } = self.find(&table, path)?;
        let entry = entry.ok_or_else(|| refuse(path, "it is missing"))?;
        if entry.is_folder {
            return Err(refuse(path, "it is a folder"));
        }
        let size = u32::try_from(bytes.len()).map_err(|_| refuse(path, "larger than 4 GiB - 1"))?;
        let others = self.used(&table, Some(folder.place(entry.slot())))?;
        let clusters = self.clusters_of(bytes.len());
        self.require(path, clusters, &table)?;
        let chain = table.take(clusters).unwrap_or_default();
        let io = |e| Error::io(format!("write /{path}"))(e);
        self.fill(&chain, bytes).map_err(io)?;
        table.store(&self.blocks, &self.geometry).and_then(|()| self.blocks.flush()).map_err(io)?;
        let wide = self.geometry.width == Width::Fat32;
        let (raw, first) = (folder.slot_mut(entry.slot()), chain.first().copied().unwrap_or(0));
        let (date, time) = dos_clock(EPOCH);
        if wide {
            raw[20..22].copy_from_slice(&((first >> 16) as u16).to_le_bytes());
        }
        raw[22..24].copy_from_slice(&time.to_le_bytes());
        raw[24..26].copy_from_slice(&date.to_le_bytes());
        raw[26..28].copy_from_slice(&(first as u16).to_le_bytes());
        raw[28..].copy_from_slice(&size.to_le_bytes());
        folder.write_slot(&self.blocks, entry.slot())?;
        self.release(&mut table, entry.first, &others)
    }

    /// Removes a file or an empty folder. Its clusters become free unless another name has them too.
    ///
    /// # Errors
    /// [`Error::File`] when it is missing or a folder with content, [`Error::BadVolume`], [`Error::Io`].
    pub fn remove(&mut self, path: &str) -> Result<(), Error> {
        let mut table = self.table()?;
        let Found { mut folder, entry, .. } = self.find(&table, path)?;
        let entry = entry.ok_or_else(|| refuse(path, "it is missing"))?;
        if entry.is_folder && !self.enter(&table, &entry)?.entries.is_empty() {
            return Err(refuse(path, "the folder is not empty"));
        }
        let others = self.used(&table, Some(folder.place(entry.slot())))?;
        folder.remove(&self.blocks, &entry.slots)?;
        self.release(&mut table, entry.first, &others)
    }

    /// Makes a set visible in a folder, after everything that it refers to was written.
    fn put(&mut self, table: &mut Table, folder: &mut Folder, place: Option<usize>, set: &[u8]) -> Result<(), Error> {
        let failed = |_: &'static str| Error::BadVolume { problem: "a folder cannot grow".to_owned() };
        let place = match place {
            Some(place) => place,
            None => {
                folder.grow(&self.blocks, &self.geometry, table)?;
                folder.room(&self.geometry, set.len() / SLOT).map_err(failed)?.ok_or_else(|| failed(""))?
            }
        };
        self.tell_free(table).and_then(|()| self.blocks.flush()).map_err(Error::io("write the FAT"))?;
        folder.put(&self.blocks, place, set)
    }

    /// Writes bytes to a chain, the last sector filled up with zeros.
    fn fill(&self, chain: &[u32], bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        for (first, clusters) in runs(chain) {
            let (head, tail) = rest.split_at(rest.len().min(clusters * self.geometry.cluster_len() as usize));
            for (n, piece) in head.chunks(STEP).enumerate() {
                let at = self.geometry.cluster(first) + (n * STEP) as u64;
                let whole = piece.len() / SECTOR as usize * SECTOR as usize;
                self.blocks.write_at(&piece[..whole], at)?;
                if whole < piece.len() {
                    let mut last = [0; SECTOR as usize];
                    last[..piece.len() - whole].copy_from_slice(&piece[whole..]);
                    self.blocks.write_at(&last, at + whole as u64)?;
                }
            }
            rest = tail;
        }
        Ok(())
    }

    fn require(&self, path: &str, clusters: u32, table: &Table) -> Result<(), Error> {
        let free = table.free();
        if clusters <= free {
            return Ok(());
        }
        Err(Error::NoRoom { path: path.to_owned(), needed: self.bytes_of(clusters), free: self.bytes_of(free) })
    }

    pub(super) fn clusters_of(&self, len: usize) -> u32 {
        // a length is at most 4 GiB here
        (len as u64).div_ceil(self.geometry.cluster_len()) as u32
    }

    pub(super) fn bytes_of(&self, clusters: u32) -> Bytes {
        Bytes(u64::from(clusters) * self.geometry.cluster_len())
    }
}

/// Both forms of a new name, which must fit in one sector.
fn named(path: &str, name: &str, taken: &BTreeSet<[u8; 11]>) -> Result<Name, Error> {
    let named = name::beside(name, taken).map_err(|problem| refuse(path, &format!("`{name}` {problem}")))?;
    if named.slots() * SLOT > SECTOR as usize {
        return Err(refuse(path, &format!("`{name}` is longer than 195 characters")));
    }
    Ok(named)
}

/// The slots of a name and its entry.
fn set(name: &Name, mut entry: [u8; SLOT]) -> Vec<u8> {
    entry[..11].copy_from_slice(&name.short);
    let mut set = name.long_slots();
    set.extend(entry);
    set
}

fn shorts(folder: &Folder, except: Option<&Entry>) -> BTreeSet<[u8; 11]> {
    let kept = folder.entries.iter().filter(|e| except.is_none_or(|except| e.slots != except.slots));
    kept.map(|e| e.short).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
