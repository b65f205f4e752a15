//! The boot sector of an existing volume (specification, "Boot Sector and BPB").
//!
//! ```text
//!  11      13   14        16     17         19        22         32        36         40     44         48
//! │ sector │ per│ reserved│ FATs │ slots of │ sectors │ sectors  │ sectors │ sectors  │ flags│ root's   │ FSInfo │ …
//! │ length │ clu│ sectors │      │ the root │  (16)   │ of a FAT │  (32)   │ of a FAT │      │ cluster  │        │
//!   512      ster                 0: FAT32    0: at 32  0: at 36           └───────── FAT32 only ────────────────┘
//! ```
//! Every number is checked against the volume's length before anything is computed from it.

use super::geometry::{Geometry, Width};
use crate::{Blocks, Error, SECTOR};

/// The limit of a FAT in sectors: with clusters of 4 KiB, a volume of 64 GiB.
const MAX_FAT: u32 = 64 << 11;

impl Geometry {
    /// The geometry of an existing volume.
    ///
    /// # Errors
    /// [`Error::BadVolume`] when it is not FAT16 or FAT32 or has impossible values, [`Error::Io`].
    pub(super) fn read(blocks: &impl Blocks) -> Result<Self, Error> {
        let len = blocks.len().map_err(Error::io("measure the FAT volume"))?;
        let mut boot = [0; SECTOR as usize];
        blocks.read_at(&mut boot, 0).map_err(Error::io("read the boot sector of the FAT volume"))?;
        parse(&boot, len / SECTOR).map_err(|problem| Error::BadVolume { problem: problem.to_owned() })
    }
}

fn parse(boot: &[u8; SECTOR as usize], has: u64) -> Result<Geometry, &'static str> {
    let short = |at: usize| u32::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
    let long = |at: usize| short(at) | short(at + 2) << 16;
    let require = |good: bool, problem: &'static str| if good { Ok(()) } else { Err(problem) };
    require(boot[510..] == [0x55, 0xaa], "its first sector is no boot sector")?;
    require(short(11) == SECTOR as u32, "its sectors are not of 512 bytes")?;
    let cluster_sectors = u32::from(boot[13]);
    require(cluster_sectors.is_power_of_two(), "the size of its clusters is no power of two")?;
    let (reserved, copies, root_slots) = (short(14), u32::from(boot[16]), short(17));
    require(reserved > 0, "it has no reserved sectors")?;
    require((1..=2).contains(&copies), "it has neither one FAT nor two")?;
    require(root_slots.is_multiple_of(16), "its root folder ends within a sector")?;
    let sectors = if short(19) == 0 { long(32) } else { short(19) };
    require(u64::from(sectors) <= has, "it is longer than what it lies on")?;
    let wide = short(22) == 0;
    let fat_sectors = if wide { long(36) } else { short(22) };
    require((1..=MAX_FAT).contains(&fat_sectors), "the length of its FATs cannot be")?;
    let root_sectors = root_slots / 16;
    let overhead = reserved + copies * fat_sectors + root_sectors;
    let clusters = sectors.checked_sub(overhead).ok_or("its FATs are longer than it")? / cluster_sectors;
    // "FAT Type Determination": the number of clusters decides, and nothing else
    let width = match clusters {
        0..4085 => return Err("it is too small for FAT16"),
        4085..65_525 => Width::Fat16,
        _ => Width::Fat32,
    };
    require((width == Width::Fat32) == wide, "the number of its clusters and the kind of its FATs disagree")?;
    require(clusters <= 0x0fff_fff4, "it has more clusters than FAT32 can have")?;
    let entries = u64::from(fat_sectors) * SECTOR / width.entry_len() as u64;
    require(u64::from(clusters) + 2 <= entries, "its FATs are too short for its clusters")?;
    let (root_cluster, info) = match width {
        Width::Fat16 => {
            require(root_slots > 0, "it has no root folder")?;
            (0, None)
        }
        Width::Fat32 => {
            require(root_slots == 0, "it has two root folders")?;
            require(short(42) == 0, "it is of a later version of FAT32")?;
            require(short(40) & 0x80 == 0, "its FATs are not kept equal")?;
            let root = long(44);
            require((2..clusters + 2).contains(&root), "its root folder is at no cluster")?;
            (root, Some(short(48)).filter(|info| (1..reserved).contains(info)))
        }
    };
    Ok(Geometry {
        width,
        sectors,
        cluster_sectors,
        reserved,
        copies,
        fat_sectors,
        root_sectors,
        clusters,
        root_cluster,
        info,
    })
}
