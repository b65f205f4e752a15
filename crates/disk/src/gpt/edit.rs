//! Changing a table on a disk that may lose power at any moment.
//!
//! ```text
//! sector 0   1        2 … 33                                  n-33 … n-2   n-1
//!       MBR │ header │ entries │          partitions          │ entries  │ header │
//!           └─ primary ────────┘                              └─ backup ──────────┘
//!    1. where one is damaged or differs: it becomes the other, flush
//!    2. primary: the new one, flush          meanwhile the backup is valid and old
//!    3. backup: the new one, flush           meanwhile the primary is valid and new
//! ```
//! A header has the checksum of its entries, so a half-written copy is invalid. The backup must be in the last sector:
//! firmware looks there when the primary is damaged (EDK II, `PartitionDxe/Gpt.c`).

use super::{Copy, ENTRY_SECTORS, Table, entries, measure, read_copy, read_header};
use crate::{Blocks, Error, Guid, SECTOR};
use gptman::GPTHeader;
use std::io::{self, Cursor};

/// The valid copies of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copies {
    /// The one at the start of the disk.
    pub primary: bool,
    /// The one at its end.
    pub backup: bool,
    /// Whether both are valid and equal.
    pub equal: bool,
}

/// The content of both places.
struct Pair {
    primary: Result<Copy, Error>,
    backup: Result<Copy, Error>,
    sectors: u64,
}

/// Reads the table of a disk of which one copy may be damaged: the primary where it is valid, else the backup.
///
/// # Errors
/// [`Error::Table`] when both are damaged; [`Error::Io`].
pub fn read_any(disk: &impl Blocks) -> Result<(Table, Copies), Error> {
    let pair = Pair::read(disk)?;
    let (primary, backup, equal) = (pair.primary.is_ok(), pair.backup.is_ok(), pair.equal());
    Ok((pair.best()?.table, Copies { primary, backup, equal }))
}

/// Gives a partition another GUID. At every moment one copy of the table is valid, with the old GUID or the new one. A
/// damaged or different copy is first made equal to the valid one; if both are valid, the primary wins.
///
/// # Errors
/// [`Error::Table`] when both copies are damaged, there is no such partition, another partition has the GUID, or the
/// backup's place is not the last sector; [`Error::Io`].
pub fn set_guid(disk: &impl Blocks, number: u32, guid: Guid) -> Result<(), Error> {
    let pair = Pair::read(disk)?;
    let copies = pair.places()?;
    let best = pair.best()?;
    let bad = |problem: String| Error::Table { copy: "primary", problem };
    let partitions = &best.table.partitions;
    if !partitions.iter().any(|p| p.partition.number == number) {
        return Err(bad(format!("it has no partition {number}")));
    }
    if let Some(other) = partitions.iter().find(|p| p.partition.guid == guid && p.partition.number != number) {
        return Err(bad(format!("partition {} has the GUID {guid} already", other.partition.number)));
    }
    // writes nothing to the right copy
    copies.iter().try_for_each(|copy| copy.write(disk, &best, &best.entries))?;
    let mut changed = best.entries.clone();
    let at = (number as usize - 1) * 128 + 16;
    changed[at..at + 16].copy_from_slice(&guid.to_disk());
    copies.iter().try_for_each(|copy| copy.write(disk, &best, &changed))
}

/// A copy's place.
struct Place {
    name: &'static str,
    lba: u64,
    other: u64,
    entries: u64,
}

impl Pair {
    fn read(disk: &impl Blocks) -> Result<Self, Error> {
        let sectors = measure(disk)?;
        let valid = |copy: Result<Copy, Error>| match copy {
            // an unreadable disk is another case than a damaged table
            Err(e @ Error::Io { .. }) => Err(e),
            copy => Ok(copy),
        };
        let primary = valid(read_copy(disk, "primary", 1, sectors))?;
        // a disk that grew has its backup where the primary says; its header is valid even where the entries are not
        let said = read_header(disk, "primary", 1, sectors).ok().map(|(header, _)| header.backup_lba);
        let last = sectors.saturating_sub(1);
        let mut backup = valid(read_copy(disk, "backup", last, sectors))?;
        if let (Err(_), Some(lba)) = (&backup, said.filter(|lba| (2..last).contains(lba))) {
            backup = valid(read_copy(disk, "backup", lba, sectors))?;
        }
        Ok(Self { primary, backup, sectors })
    }

    fn equal(&self) -> bool {
        let (Ok(primary), Ok(backup)) = (&self.primary, &self.backup) else { return false };
        let (a, b) = (&primary.header, &backup.header);
        let of_disk = |h: &GPTHeader| (h.disk_guid, h.first_usable_lba, h.last_usable_lba);
        primary.entries == backup.entries
            && of_disk(a) == of_disk(b)
            && (a.primary_lba, a.backup_lba) == (b.backup_lba, b.primary_lba)
    }

    fn best(self) -> Result<Copy, Error> {
        match (self.primary, self.backup) {
            (Ok(copy), _) | (_, Ok(copy)) => Ok(copy),
            (Err(Error::Table { copy, problem }), Err(backup)) => {
                Err(Error::Table { copy, problem: format!("{problem}; and {backup}") })
            }
            (Err(e), _) => Err(e),
        }
    }

    /// The places of both copies, the primary first.
    fn places(&self) -> Result<[Place; 2], Error> {
        let last = self.sectors.saturating_sub(1);
        let place = |name, lba, other, usual, copy: &Result<Copy, Error>| Place {
            name,
            lba,
            other,
            entries: copy.as_ref().map_or(usual, |copy| copy.header.partition_entry_lba),
        };
        let places = [
            place("primary", 1, last, 2, &self.primary),
            place("backup", last, 1, last.saturating_sub(ENTRY_SECTORS), &self.backup),
        ];
        let ((Ok(best), _) | (_, Ok(best))) = (&self.primary, &self.backup) else { return Ok(places) };
        let header = &best.header;
        if header.primary_lba.max(header.backup_lba) != last || header.primary_lba.min(header.backup_lba) != 1 {
            let problem =
                format!("it is not in sector {last}, the last: let repart or `sgdisk -e` move it there first");
            return Err(Error::Table { copy: "backup", problem });
        }
        let (first, end) = (header.first_usable_lba, header.last_usable_lba);
        // this place is written, so it must not overlap partitions or the other copy
        for (copy, from, to) in [(&places[0], 2, first), (&places[1], end.saturating_add(1), last)] {
            if copy.entries < from || copy.entries.saturating_add(ENTRY_SECTORS) > to || first > end {
                let problem = format!("its entries at sector {} are among the partitions", copy.entries);
                return Err(Error::Table { copy: copy.name, problem });
            }
        }
        Ok(places)
    }
}

impl Place {
    /// Writes `best` with other entries to this copy, then flushes. Writes nothing that is present already.
    fn write(&self, disk: &impl Blocks, best: &Copy, bytes: &[u8]) -> Result<(), Error> {
        let bad = |e: gptman::Error| Error::Table { copy: self.name, problem: e.to_string() };
        let mut raw = best.raw.clone();
        let (header_lba, backup_lba) = (24..32, 32..40);
        raw[header_lba].copy_from_slice(&self.lba.to_le_bytes());
        raw[backup_lba].copy_from_slice(&self.other.to_le_bytes());
        raw[72..80].copy_from_slice(&self.entries.to_le_bytes());
        let mut header = best.header.clone();
        (header.primary_lba, header.backup_lba, header.partition_entry_lba) = (self.lba, self.other, self.entries);
        header.update_partition_entry_array_crc32(&entries(bytes).map_err(bad)?);
        header.update_crc32_checksum();
        raw[16..20].copy_from_slice(&header.crc32_checksum.to_le_bytes());
        raw[88..92].copy_from_slice(&header.partition_entry_array_crc32.to_le_bytes());
        // a reader computes the same
        GPTHeader::read_from(&mut Cursor::new(&raw)).map_err(bad)?;
        self.store(disk, &raw, bytes).map_err(Error::io("write the partition table"))
    }

    fn store(&self, disk: &impl Blocks, header: &[u8], entries: &[u8]) -> io::Result<()> {
        let sectors = entries.chunks(SECTOR as usize).zip(self.entries..).chain([(header, self.lba)]);
        let mut wrote = false;
        for (bytes, lba) in sectors {
            let mut there = vec![0; bytes.len()];
            disk.read_at(&mut there, lba * SECTOR)?;
            if there != bytes {
                disk.write_at(bytes, lba * SECTOR)?;
                wrote = true;
            }
        }
        if wrote { disk.flush() } else { Ok(()) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
