//! FAT volumes (Microsoft, *FAT32 File System Specification* 1.03; ECMA-107): [`write()`] writes a volume from a
//! [`tree::Tree`], and [`Edit`] changes one on a device without harm from power cuts.
//!
//! ```text
//! boot sector, FSInfo, copies │ FAT │ FAT copy │ (FAT16: root folder) │ folders │ files, each in one piece
//! └────────── reserved ───────┘                                        cluster 2 …            free: a hole
//! ```
//! [`write()`] makes every file one run of clusters, so both FATs are plain sequences and one copy writes a file's
//! bytes. It never writes free space: 2 GiB with 60 MB of files take 60 MB and the time to copy them. Volumes from 64
//! MiB on are FAT32, smaller ones, from 4 MiB on, FAT16. Names are VFAT names; a name that is not in capitals and 8.3
//! has both forms.
//!
//! FAT has no owners, modes and xattrs, so these are dropped; symlinks, devices and pipes are errors; a hard link
//! becomes a second copy. Every time is the one clock of the build.

mod boot;
mod edit;
mod folder;
mod geometry;
mod look;
mod name;
mod reclaim;
mod table;
mod write;

pub use edit::Edit;
pub use look::Item;
pub use write::write;

use crate::Error;
use types::Bytes;

/// The overhead of a volume: everything before its first cluster, with few files in its root folder.
///
/// # Errors
/// When there is no volume of that size.
pub fn overhead(size: Bytes) -> Result<Bytes, Error> {
    let volume = Volume { size, label: String::new(), id: 0 };
    Ok(Bytes(geometry::Geometry::new(&volume, 0)?.cluster(2)))
}

/// The properties of a volume besides its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its size, a multiple of 512 bytes.
    pub size: Bytes,
    /// Its label: at most eleven capitals, digits and the like.
    pub label: String,
    /// Its serial number, by which `/dev/disk/by-uuid` names it.
    pub id: u32,
}

impl Volume {
    fn error(&self, problem: impl Into<String>) -> Error {
        Error::Volume { label: self.label.clone(), problem: problem.into() }
    }

    fn label_field(&self) -> Result<[u8; 11], Error> {
        let bytes = self.label.as_bytes();
        let allowed = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b" -_".contains(b);
        if bytes.is_empty() || bytes.len() > 11 || bytes[0] == b' ' || !bytes.iter().all(allowed) {
            return Err(self.error("a label is 1 to 11 characters of A-Z, 0-9, space, - and _"));
        }
        let mut field = [b' '; 11];
        field[..bytes.len()].copy_from_slice(bytes);
        Ok(field)
    }
}

#[cfg(test)]
mod tests;
