use crate::{Error, Guid, PartitionType, SECTOR, gpt, sparse::copy_sparse};
use std::{collections::BTreeSet, fs::File, path::PathBuf};
use types::Bytes;

/// Partitions start and end at multiples of this many bytes, which suits every disk.
pub const ALIGN: u64 = 1 << 20;
/// Room for the backup table at the end.
const TAIL: u64 = ALIGN;

/// The wanted disk. Partitions lie on it in the order of the list, whatever their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The disk's GUID.
    pub guid: Guid,
    /// The disk's size; `None` for the smallest that holds the partitions.
    pub size: Option<Bytes>,
    /// Its partitions.
    pub partitions: Vec<Partition>,
}

/// A wanted partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number in the table, from 1; gaps are allowed.
    pub number: u32,
    /// Its label, at most 36 UTF-16 units.
    pub label: String,
    /// Its purpose.
    pub kind: PartitionType,
    /// Its own GUID.
    pub guid: Guid,
    /// Its size, rounded up to [`ALIGN`]. Zero means the rest of the disk, for the last partition only.
    pub size: Bytes,
    /// Attribute bits of the table entry (UEFI 2.10 §5.3.3).
    pub attributes: u64,
    /// The file whose bytes it starts with; `None` leaves it empty.
    pub content: Option<PathBuf>,
}

/// A partition with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The wanted partition, with its final size.
    pub partition: Partition,
    /// Where it starts, in bytes from the start of the disk.
    pub start: Bytes,
}

/// A layout with all places. Nothing is written before [`Plan::write`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The disk's GUID.
    pub guid: Guid,
    /// The disk's size.
    pub size: Bytes,
    /// The partitions in the order of the disk.
    pub partitions: Vec<Placed>,
}

impl Layout {
    /// Finds a place for every partition.
    ///
    /// # Errors
    /// [`Error::DiskTooSmall`], or [`Error::Partition`] for a number, label, GUID or size that cannot be.
    pub fn plan(&self) -> Result<Plan, Error> {
        let mut at = Bytes(ALIGN);
        let mut numbers = BTreeSet::new();
        let mut guids = BTreeSet::new();
        let mut partitions = Vec::with_capacity(self.partitions.len());
        for (n, wanted) in self.partitions.iter().enumerate() {
            let refuse = |problem: &str| {
                Err(Error::Partition {
                    number: wanted.number,
                    label: wanted.label.clone(),
                    problem: problem.to_owned(),
                })
            };
            let mut partition = wanted.clone();
            if !(1..=gpt::ENTRIES).contains(&wanted.number) || !numbers.insert(wanted.number) {
                return refuse("numbers are from 1 to 128, each once");
            }
            if !guids.insert(wanted.guid) {
                return refuse("another partition has the same GUID");
            }
            if wanted.label.encode_utf16().count() > gpt::LABEL_UNITS || wanted.label.contains('\0') {
                return refuse("a label has at most 36 characters");
            }
            if wanted.size.0 > 1 << 60 {
                return refuse("larger than any disk");
            }
            partition.size = wanted.size.round_up(ALIGN);
            if wanted.size == Bytes(0) {
                let end = self.size.map_or(0, |s| s.0 / ALIGN * ALIGN);
                if n + 1 != self.partitions.len() || end < at.0 + ALIGN + TAIL {
                    return refuse("only the last partition of a disk of given, sufficient size can take the rest");
                }
                partition.size = Bytes(end - TAIL - at.0);
            }
            let start = at;
            at = at + partition.size;
            partitions.push(Placed { partition, start });
        }
        let needed = at + Bytes(TAIL);
        let size = self.size.unwrap_or(needed);
        if size < needed || !size.0.is_multiple_of(SECTOR) {
            return Err(Error::DiskTooSmall { size, needed });
        }
        Ok(Plan { guid: self.guid, size, partitions })
    }
}

impl Plan {
    /// The upper limit of the bytes that [`Plan::write`] reports.
    ///
    /// # Errors
    /// When a content file cannot be read or is larger than its partition.
    pub fn content_size(&self) -> Result<Bytes, Error> {
        self.partitions.iter().map(|p| Ok(content(p)?.map_or(Bytes(0), |(_, len)| len))).sum()
    }

    /// Writes table and contents to a file, which is emptied first and stays sparse. `progress` gets the bytes copied
    /// by each step; holes are not reported.
    ///
    /// # Errors
    /// [`Error::ContentTooLarge`] before anything is written; [`Error::Io`].
    pub fn write(&self, out: &File, progress: &mut dyn FnMut(Bytes)) -> Result<(), Error> {
        self.content_size()?;
        out.set_len(0).and_then(|()| out.set_len(self.size.0)).map_err(Error::io("size the disk image"))?;
        for placed in &self.partitions {
            if let Some((file, _)) = content(placed)? {
                copy_sparse(&file, out, placed.start.0, &mut |n| progress(Bytes(n)))
                    .map_err(Error::io(format!("copy the content of partition {}", placed.partition.label)))?;
            }
        }
        gpt::write(out, self)
    }
}

fn content(placed: &Placed) -> Result<Option<(File, Bytes)>, Error> {
    let Some(path) = &placed.partition.content else { return Ok(None) };
    let open = || {
        let file = File::open(path)?;
        let len = file.metadata()?.len();
        Ok((file, Bytes(len)))
    };
    let (file, found) = open().map_err(Error::io(format!("open {}", path.display())))?;
    if found > placed.partition.size {
        let Partition { number, label, size, .. } = placed.partition.clone();
        return Err(Error::ContentTooLarge { number, label, size, content: path.clone(), found });
    }
    Ok(Some((file, found)))
}
