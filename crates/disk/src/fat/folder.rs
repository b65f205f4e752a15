//! A folder of an existing volume: its slots of 32 bytes, found through its chain and changed sector by sector.
//!
//! ```text
//! sector 0                                      sector 1
//! │ long 2 │ long 1 │ entry │ E5 … │ long 3 ║ long 2 │ long 1 │ entry │ 00 … │
//! └── a set in one sector ──┘ free └─ a set over two: not atomic ─────┘ end, and zeros behind it
//! ```
//! A set consists of the slots of the long name, the last part first, and the following entry with the short name. This
//! module always puts a set into one sector, so that one sector's write makes it appear. Linux does not stop at the end
//! mark, so this module writes zeros behind the mark before moving it.

use super::{
    geometry::Geometry,
    name,
    table::{Link, Table},
    write::{FOLDER, LABEL, SLOT},
};
use crate::{Blocks, Error, SECTOR};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

const LEN: usize = SECTOR as usize;
const PER_SECTOR: usize = LEN / SLOT;
/// Slots that a folder can have (specification, "Directory Structure").
const MAX_SLOTS: u32 = 65_536;
pub(super) const DELETED: u8 = 0xe5;
const LONG: u8 = 0x0f;

/// A file or folder in its folder.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) short: [u8; 11],
    /// All its slots, by number in the folder; the last is the entry.
    pub(super) slots: Range<usize>,
    pub(super) is_folder: bool,
    pub(super) first: u32,
    pub(super) size: u32,
}

impl Entry {
    fn is_called(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name) || name::of_short(&self.short, 0).eq_ignore_ascii_case(name)
    }

    pub(super) fn slot(&self) -> usize {
        self.slots.end - 1
    }
}

#[derive(Debug)]
pub(super) struct Folder {
    /// Its first cluster; 0 is the root, as in the `..` of its folders.
    pub(super) first: u32,
    /// Its clusters; FAT16's root has none.
    pub(super) chain: Vec<u32>,
    /// Where its sectors lie.
    places: Vec<u64>,
    pub(super) bytes: Vec<u8>,
    pub(super) entries: Vec<Entry>,
    /// Slots of long names without a following entry.
    orphans: Vec<usize>,
    /// The slot with the end mark.
    end: usize,
}

impl Folder {
    /// Reads the folder that starts at a cluster, 0 being the root.
    pub(super) fn read(blocks: &impl Blocks, g: &Geometry, table: &Table, first: u32) -> Result<Self, Error> {
        let limit = MAX_SLOTS / (g.cluster_sectors * PER_SECTOR as u32);
        let chain = match if first == 0 { g.root_cluster } else { first } {
            0 => Vec::new(),
            start => table.chain(start, limit, "a folder")?,
        };
        let mut folder = Self {
            first,
            chain,
            places: Vec::new(),
            bytes: Vec::new(),
            entries: Vec::new(),
            orphans: Vec::new(),
            end: 0,
        };
        if folder.chain.is_empty() {
            folder.places = (0..u64::from(g.root_sectors)).map(|n| g.root() + n * SECTOR).collect();
        }
        let sectors = folder.chain.iter().flat_map(|c| cluster_places(g, *c));
        folder.places.extend(sectors);
        folder.bytes = vec![0; folder.places.len() * LEN];
        for (place, bytes) in folder.places.iter().zip(folder.bytes.chunks_mut(LEN)) {
            blocks.read_at(bytes, *place).map_err(Error::io("read a folder of the FAT volume"))?;
        }
        folder.parse(g);
        Ok(folder)
    }

    fn parse(&mut self, g: &Geometry) {
        let (mut entries, mut orphans) = (Vec::new(), Vec::new());
        let mut long: Vec<usize> = Vec::new();
        let slot = |n: usize| &self.bytes[n * SLOT..(n + 1) * SLOT];
        let total = self.bytes.len() / SLOT;
        let end = (0..total).find(|n| slot(*n)[0] == 0).unwrap_or(total);
        for n in 0..end {
            let raw = slot(n);
            if raw[0] != DELETED && raw[11] & 0x3f == LONG {
                let follows = long.last().is_some_and(|last| continues(slot(*last), raw));
                if !follows {
                    orphans.append(&mut long);
                }
                if follows || raw[0] & 0x40 != 0 {
                    long.push(n)
                } else {
                    orphans.push(n)
                }
                continue;
            }
            let mut parts = std::mem::take(&mut long);
            let whole =
                parts.last().is_some_and(|last| slot(*last)[0] & 0x3f == 1 && slot(*last)[13] == name::sum(&raw[..11]));
            if !whole || raw[0] == DELETED || raw[11] & LABEL != 0 {
                orphans.append(&mut parts);
            }
            if raw[0] == DELETED || raw[11] & LABEL != 0 || raw[0] == b'.' {
                continue;
            }
            let mut units: Vec<u16> = parts.iter().rev().flat_map(|part| name::units(slot(*part))).collect();
            units.truncate(units.iter().position(|u| *u == 0).unwrap_or(units.len()));
            let number = |at: usize| u32::from(u16::from_le_bytes([raw[at], raw[at + 1]]));
            let mut short = [0; 11];
            short.copy_from_slice(&raw[..11]);
            let first = number(26) | if g.root_cluster == 0 { 0 } else { number(20) << 16 };
            entries.push(Entry {
                name: if units.is_empty() { name::of_short(&short, raw[12]) } else { String::from_utf16_lossy(&units) },
                short,
                slots: n - parts.len()..n + 1,
                is_folder: raw[11] & FOLDER != 0,
                first,
                size: number(28) | number(30) << 16,
            });
        }
        orphans.append(&mut long);
        (self.entries, self.orphans, self.end) = (entries, orphans, end);
    }

    /// The items of this long or short name: one, unless the volume is damaged.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.is_called(name))
    }

    /// The place of a slot on the volume, which is unique.
    pub(super) fn place(&self, slot: usize) -> u64 {
        self.places[slot / PER_SECTOR] + (slot % PER_SECTOR * SLOT) as u64
    }

    pub(super) fn slot_mut(&mut self, slot: usize) -> &mut [u8] {
        &mut self.bytes[slot * SLOT..(slot + 1) * SLOT]
    }

    /// The first place for a set of so many slots within one sector. `None` when the folder has to grow.
    ///
    /// # Errors
    /// Why the folder cannot grow.
    pub(super) fn room(&self, g: &Geometry, slots: usize) -> Result<Option<usize>, &'static str> {
        let total = self.bytes.len() / SLOT;
        let free = |n: usize| n >= self.end || self.bytes[n * SLOT] == DELETED;
        let starts = |n: &usize| n % PER_SECTOR + slots <= PER_SECTOR && (*n..n + slots).all(free);
        match (0..total).find(starts) {
            None if self.chain.is_empty() => Err("the root folder is full, and that of FAT16 cannot grow"),
            None if total + g.cluster_len() as usize / SLOT > MAX_SLOTS as usize => Err("its folder is full"),
            found => Ok(found),
        }
    }

    /// Adds an empty cluster at the end. Until the last write the folder is unchanged.
    pub(super) fn grow(&mut self, blocks: &impl Blocks, g: &Geometry, table: &mut Table) -> Result<(), Error> {
        let taken = table.take(1).unwrap_or_default();
        let (Some(last), Some(new)) = (self.chain.last().copied(), taken.first().copied()) else {
            return Err(Error::BadVolume { problem: "a folder cannot grow".to_owned() });
        };
        let io = |e| Error::io("enlarge a folder of the FAT volume")(e);
        blocks.write_at(&vec![0; g.cluster_len() as usize], g.cluster(new)).map_err(io)?;
        table.store(blocks, g).and_then(|()| blocks.flush()).map_err(io)?;
        table.set(last, Link::Next(new));
        table.store(blocks, g).and_then(|()| blocks.flush()).map_err(io)?;
        self.chain.push(new);
        self.places.extend(cluster_places(g, new));
        self.bytes.resize(self.places.len() * LEN, 0);
        Ok(())
    }

    /// Puts a set in a place that [`Self::room`] found: the last write makes all of it appear.
    pub(super) fn put(&mut self, blocks: &impl Blocks, at: usize, set: &[u8]) -> Result<(), Error> {
        let io = |e| Error::io("write a folder of the FAT volume")(e);
        // a long name without its entry would become the name of a set that is put behind it
        let mut changed = self.sweep();
        if at + set.len() / SLOT > self.end {
            for n in self.end..self.bytes.len() / SLOT {
                if self.slot_mut(n).iter().any(|b| *b != 0) {
                    self.slot_mut(n).fill(0);
                    changed.insert(n / PER_SECTOR);
                }
            }
        }
        self.write(blocks, changed).map_err(io)?;
        // the end mark moves to the next sector, which holds zeros now
        let skipped: BTreeSet<usize> = (self.end..at).map(|n| n / PER_SECTOR).collect();
        (self.end..at).for_each(|n| self.slot_mut(n)[0] = DELETED);
        self.write(blocks, skipped).map_err(io)?;
        self.bytes[at * SLOT..at * SLOT + set.len()].copy_from_slice(set);
        self.write(blocks, [at / PER_SECTOR].into()).map_err(io)
    }

    /// Writes a set over the end of another that lies in one sector and is not shorter: one name becomes another at once.
    pub(super) fn put_over(&mut self, blocks: &impl Blocks, old: &Range<usize>, set: &[u8]) -> Result<(), Error> {
        let start = old.end - set.len() / SLOT;
        (old.start..start).for_each(|n| self.slot_mut(n)[0] = DELETED);
        self.bytes[start * SLOT..old.end * SLOT].copy_from_slice(set);
        self.write_slot(blocks, old.start)
    }

    /// Writes the one sector in which a slot lies.
    pub(super) fn write_slot(&self, blocks: &impl Blocks, slot: usize) -> Result<(), Error> {
        self.write(blocks, [slot / PER_SECTOR].into()).map_err(Error::io("write a folder of the FAT volume"))
    }

    pub(super) fn in_one_sector(slots: &Range<usize>) -> bool {
        slots.start / PER_SECTOR == (slots.end - 1) / PER_SECTOR
    }

    /// Removes a set: the sector with the entry first, so that a cut leaves a long name without an entry.
    pub(super) fn remove(&mut self, blocks: &impl Blocks, slots: &Range<usize>) -> Result<(), Error> {
        let mut by_sector: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        slots.clone().for_each(|n| by_sector.entry(n / PER_SECTOR).or_default().push(n));
        for (sector, slots) in by_sector.into_iter().rev() {
            slots.into_iter().for_each(|n| self.slot_mut(n)[0] = DELETED);
            self.write(blocks, [sector].into()).map_err(Error::io("write a folder of the FAT volume"))?;
        }
        Ok(())
    }

    /// Marks slots of long names without an entry as deleted. Returns the changed sectors.
    pub(super) fn sweep(&mut self) -> BTreeSet<usize> {
        let orphans = std::mem::take(&mut self.orphans);
        orphans.iter().for_each(|n| self.slot_mut(*n)[0] = DELETED);
        orphans.into_iter().map(|n| n / PER_SECTOR).collect()
    }

    /// Writes sectors, then flushes.
    pub(super) fn write(&self, blocks: &impl Blocks, sectors: BTreeSet<usize>) -> std::io::Result<()> {
        if sectors.is_empty() {
            return Ok(());
        }
        for sector in sectors {
            blocks.write_at(&self.bytes[sector * LEN..(sector + 1) * LEN], self.places[sector])?;
        }
        blocks.flush()
    }
}

/// Whether a slot of a long name continues the slot before it.
fn continues(before: &[u8], slot: &[u8]) -> bool {
    slot[0] & 0x40 == 0 && slot[0] != 0 && slot[0] + 1 == before[0] & 0x3f && slot[13] == before[13]
}

fn cluster_places(g: &Geometry, cluster: u32) -> impl Iterator<Item = u64> {
    let (start, sectors) = (g.cluster(cluster), u64::from(g.cluster_sectors));
    (0..sectors).map(move |n| start + n * SECTOR)
}
