//! GUID partition tables (UEFI 2.10 §5.3): written by gptman, read back with both copies checked, and changed on a device
//! one copy after the other.

mod edit;

pub use edit::{Copies, read_any, set_guid};

use crate::{Blocks, Error, Guid, Partition, PartitionType, Placed, Plan, SECTOR};
use gptman::{GPT, GPTHeader, GPTPartitionEntry};
use std::{
    fs::File,
    io::{self, Cursor, Read as _},
};
use types::Bytes;

/// Entries in a table.
pub const ENTRIES: u32 = 128;
/// Sectors that the entries take.
const ENTRY_SECTORS: u64 = 32;
/// UTF-16 units in a label.
pub(crate) const LABEL_UNITS: usize = 36;

/// Attribute bit: the platform needs this partition.
pub const REQUIRED: u64 = 1;
/// Attribute bit: legacy BIOS bootable; EVE sets it on the EFI system partition.
pub const LEGACY_BOOTABLE: u64 = 1 << 2;

/// EVE's attribute bits of a slot (ChromeOS' too): priority 48–51, tries left 52–55, successful 56.
#[must_use]
pub const fn slot_attributes(priority: u8, tries: u8, successful: bool) -> u64 {
    ((priority & 15) as u64) << 48 | ((tries & 15) as u64) << 52 | (successful as u64) << 56
}

/// A table as found on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The disk's GUID.
    pub guid: Guid,
    /// The used entries by number; `content` is `None`.
    pub partitions: Vec<Placed>,
}

impl Table {
    /// The partition with this label.
    #[must_use]
    pub fn by_label(&self, label: &str) -> Option<&Placed> {
        self.partitions.iter().find(|p| p.partition.label == label)
    }
}

/// Writes protective MBR and both copies of the table.
pub(crate) fn write(mut out: &File, plan: &Plan) -> Result<(), Error> {
    let failed = |e: gptman::Error| match e {
        gptman::Error::Io(source) => Error::Io { action: "write the partition table".to_owned(), source },
        e => Error::Table { copy: "primary", problem: e.to_string() },
    };
    let mut table = GPT::new_from(&mut out, SECTOR, plan.guid.to_disk()).map_err(failed)?;
    for Placed { partition, start } in &plan.partitions {
        table[partition.number] = GPTPartitionEntry {
            partition_type_guid: partition.kind.guid().to_disk(),
            unique_partition_guid: partition.guid.to_disk(),
            starting_lba: start.0 / SECTOR,
            ending_lba: (start.0 + partition.size.0) / SECTOR - 1,
            attribute_bits: partition.attributes,
            partition_name: partition.label.as_str().into(),
        };
    }
    table.write_into(&mut out).map_err(failed)?;
    GPT::write_protective_mbr_into(&mut out, SECTOR).map_err(failed)
}

/// Reads the table of a disk or disk image: both copies must be valid and equal.
///
/// # Errors
/// [`Error::Table`] naming the copy that is damaged or differs; [`Error::Io`].
pub fn read(disk: &File) -> Result<Table, Error> {
    let sectors = measure(disk)?;
    let primary = read_copy(disk, "primary", 1, sectors)?.table;
    let backup = read_copy(disk, "backup", sectors - 1, sectors)?.table;
    if primary != backup {
        return Err(Error::Table { copy: "backup", problem: "it differs from the primary table".to_owned() });
    }
    Ok(primary)
}

fn measure(disk: &impl Blocks) -> Result<u64, Error> {
    Ok(disk.len().map_err(Error::io("measure the disk"))? / SECTOR)
}

/// One copy of a table, checked, with the bytes it was read from.
struct Copy {
    table: Table,
    header: GPTHeader,
    /// The sector with the header.
    raw: Vec<u8>,
    /// All entries, 128 bytes each.
    entries: Vec<u8>,
}

/// Reads one copy. Checks every number before gptman reads it, because gptman trusts some of them.
fn read_copy(disk: &impl Blocks, copy: &'static str, lba: u64, sectors: u64) -> Result<Copy, Error> {
    let bad = |problem: String| Error::Table { copy, problem };
    let (header, raw) = read_header(disk, copy, lba, sectors)?;
    if header.size_of_partition_entry != 128 || header.number_of_partition_entries != ENTRIES {
        return Err(bad("it does not have 128 entries of 128 bytes".to_owned()));
    }
    if header.partition_entry_lba < 2 || header.partition_entry_lba > sectors - ENTRY_SECTORS {
        return Err(bad(format!("its entries are at sector {}, outside of the disk", header.partition_entry_lba)));
    }
    let mut bytes = vec![0; (ENTRY_SECTORS * SECTOR) as usize];
    disk.read_at(&mut bytes, header.partition_entry_lba * SECTOR).map_err(Error::io("read the partition table"))?;
    let entries = entries(&bytes).map_err(|e| bad(e.to_string()))?;
    if header.generate_partition_entry_array_crc32(&entries) != header.partition_entry_array_crc32 {
        return Err(bad("the checksum of its entries is wrong".to_owned()));
    }
    let mut partitions = Vec::new();
    for (number, entry) in (1..).zip(entries).filter(|(_, e)| e.is_used()) {
        let (first, last) = (entry.starting_lba, entry.ending_lba);
        if first < header.first_usable_lba || last < first || last > header.last_usable_lba || last >= sectors {
            return Err(bad(format!("partition {number} from sector {first} to {last} is not within the disk")));
        }
        let partition = Partition {
            number,
            label: entry.partition_name.as_str().to_owned(),
            kind: PartitionType::of_guid(Guid::from_disk(entry.partition_type_guid)),
            guid: Guid::from_disk(entry.unique_partition_guid),
            size: Bytes((last - first + 1) * SECTOR),
            attributes: entry.attribute_bits,
            content: None,
        };
        partitions.push(Placed { partition, start: Bytes(first * SECTOR) });
    }
    let mut by_place: Vec<&Placed> = partitions.iter().collect();
    by_place.sort_by_key(|p| p.start);
    if let Some(pair) = by_place.windows(2).find(|w| w[0].start + w[0].partition.size > w[1].start) {
        let (a, b) = (pair[0].partition.number, pair[1].partition.number);
        return Err(bad(format!("partitions {a} and {b} overlap")));
    }
    let table = Table { guid: Guid::from_disk(header.disk_guid), partitions };
    Ok(Copy { table, header, raw, entries: bytes })
}

/// Reads and checks a header alone, and returns its sector too.
fn read_header(disk: &impl Blocks, copy: &'static str, lba: u64, sectors: u64) -> Result<(GPTHeader, Vec<u8>), Error> {
    let bad = |problem: String| Error::Table { copy, problem };
    if sectors < 2 + 2 * 33 {
        return Err(bad(format!("a disk of {sectors} sectors has no room for one")));
    }
    let mut raw = vec![0; SECTOR as usize];
    disk.read_at(&mut raw, lba * SECTOR).map_err(Error::io("read the partition table"))?;
    let header = GPTHeader::read_from(&mut Cursor::new(&raw)).map_err(|e| bad(e.to_string()))?;
    if header.primary_lba != lba {
        return Err(bad(format!("its header says that it is at sector {}, not {lba}", header.primary_lba)));
    }
    Ok((header, raw))
}

fn entries(bytes: &[u8]) -> gptman::Result<Vec<GPTPartitionEntry>> {
    // gptman reads the bytes of its own struct, which is longer, and ignores the rest
    let read = |entry: &[u8]| GPTPartitionEntry::read_from(&mut entry.chain(io::repeat(0)));
    bytes.chunks_exact(128).map(read).collect()
}

#[cfg(test)]
mod tests;
