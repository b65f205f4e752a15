//! Finds the referenced clusters and frees the others.
//!
//! ```text
//! root ─► folders ─► entries ─► chains = used        FAT: taken and not used ─► free
//! ```
//! A damaged chain of a *file* ends at the damage: the clusters before it are kept, and the file can still be removed.
//! A damaged *folder* is an error, because the clusters that it referred to are unknown.

use super::{
    edit::Edit,
    folder::Folder,
    table::{Link, Table},
};
use crate::{Blocks, Error, SECTOR};
use std::{collections::BTreeSet, io};
use types::Bytes;

enum Step {
    /// A folder, by its first cluster.
    Enter(u32),
    Leave(u32),
}

impl<B: Blocks> Edit<B> {
    /// Frees unreferenced clusters, which power cuts leave; removes long names without an entry; makes the second FAT
    /// equal to the first and corrects the number of free clusters. Returns the freed bytes.
    ///
    /// # Errors
    /// [`Error::BadVolume`] when a folder is damaged or contains itself; [`Error::Io`].
    pub fn reclaim(&mut self) -> Result<Bytes, Error> {
        let mut table = self.table()?;
        let used = self.walk(&table, None, &mut |folder| {
            let swept = folder.sweep();
            folder.write(&self.blocks, swept).map_err(Error::io("write a folder of the FAT volume"))
        })?;
        let lost: Vec<u32> = table
            .clusters()
            .filter(|c| !used[*c as usize] && !matches!(table.link(*c), Link::Free | Link::Bad))
            .collect();
        lost.iter().for_each(|cluster| table.set(*cluster, Link::Free));
        let stored = table.store(&self.blocks, &self.geometry);
        stored
            .and_then(|()| table.mirror(&self.blocks, &self.geometry))
            .and_then(|()| self.tell_free(&table))
            .and_then(|()| self.blocks.flush())
            .map_err(Error::io("write the FAT"))?;
        Ok(self.bytes_of(lost.len() as u32))
    }

    /// The referenced clusters, ignoring the entry at a place.
    pub(super) fn used(&self, table: &Table, except: Option<u64>) -> Result<Vec<bool>, Error> {
        self.walk(table, except, &mut |_| Ok(()))
    }

    fn walk(
        &self,
        table: &Table,
        except: Option<u64>,
        each: &mut dyn FnMut(&mut Folder) -> Result<(), Error>,
    ) -> Result<Vec<bool>, Error> {
        let bad = |problem: &str| Error::BadVolume { problem: problem.to_owned() };
        let (mut used, mut of_folders) = (table.marks(), table.marks());
        let (mut way, mut seen) = (BTreeSet::new(), BTreeSet::new());
        let mut steps = vec![Step::Enter(0)];
        while let Some(step) = steps.pop() {
            let first = match step {
                Step::Leave(first) => {
                    way.remove(&first);
                    continue;
                }
                Step::Enter(first) if way.contains(&first) => return Err(bad("a folder is in itself")),
                // a second name of a folder, left by a cut while it was renamed
                Step::Enter(first) if !seen.insert(first) => continue,
                Step::Enter(first) => first,
            };
            way.insert(first);
            steps.push(Step::Leave(first));
            let mut folder = self.folder(table, first)?;
            for cluster in &folder.chain {
                // also bounds the work: no cluster is read as two folders
                if std::mem::replace(&mut of_folders[*cluster as usize], true) {
                    return Err(bad("two folders share clusters"));
                }
                used[*cluster as usize] = true;
            }
            for entry in &folder.entries {
                match entry.is_folder {
                    _ if except == Some(folder.place(entry.slot())) => {}
                    true if entry.first < 2 || entry.first == self.geometry.root_cluster => {
                        return Err(bad("a folder is the root folder"));
                    }
                    true => steps.push(Step::Enter(entry.first)),
                    false => table.mark(entry.first, &mut used),
                }
            }
            each(&mut folder)?;
        }
        Ok(used)
    }

    /// Frees a chain, except clusters that other chains contain.
    pub(super) fn release(&mut self, table: &mut Table, first: u32, others: &[bool]) -> Result<(), Error> {
        let mut chain = table.marks();
        table.mark(first, &mut chain);
        for cluster in table.clusters().filter(|c| chain[*c as usize] && !others[*c as usize]) {
            table.set(cluster, Link::Free);
        }
        let stored = table.store(&self.blocks, &self.geometry);
        let told = stored.and_then(|()| self.tell_free(table)).and_then(|()| self.blocks.flush());
        told.map_err(Error::io("write the FAT"))
    }

    /// Writes to FSInfo how many clusters are free and the first of them (specification, "FSInfo Sector Structure").
    /// Readers treat it as a hint, so the order of writes is free.
    pub(super) fn tell_free(&mut self, table: &Table) -> io::Result<()> {
        self.free = table.free();
        let Some(sector) = self.geometry.info else { return Ok(()) };
        let mut info = [0; SECTOR as usize];
        self.blocks.read_at(&mut info, u64::from(sector) * SECTOR)?;
        if !info.starts_with(b"RRaA") || info[484..488] != *b"rrAa" || info[510..] != [0x55, 0xaa] {
            return Ok(());
        }
        let old = info;
        info[488..492].copy_from_slice(&self.free.to_le_bytes());
        info[492..496].copy_from_slice(&table.first_free().unwrap_or(u32::MAX).to_le_bytes());
        if info == old { Ok(()) } else { self.blocks.write_at(&info, u64::from(sector) * SECTOR) }
    }
}
