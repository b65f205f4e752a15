//! The places of a volume's parts.

use super::Volume;
use crate::{Error, SECTOR};

/// The kinds of table that this crate writes, by the width of their entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Fat16,
    Fat32,
}

#[derive(Debug, Clone)]
pub(super) struct Geometry {
    pub(super) width: Width,
    pub(super) sectors: u32,
    pub(super) cluster_sectors: u32,
    pub(super) reserved: u32,
    /// FATs, the second being a copy of the first.
    pub(super) copies: u32,
    pub(super) fat_sectors: u32,
    /// Sectors of FAT16's root folder; none with FAT32.
    pub(super) root_sectors: u32,
    pub(super) clusters: u32,
    /// The first cluster of FAT32's root folder; 0 with FAT16.
    pub(super) root_cluster: u32,
    /// The sector of FAT32's FSInfo.
    pub(super) info: Option<u32>,
}

const MIB: u64 = 1 << 20;
const MIN: u64 = 4 * MIB;
const FAT32_FROM: u64 = 64 * MIB;
const COPIES: u32 = 2;

impl Geometry {
    /// The geometry for a volume whose root folder has so many 32-byte slots. The number of clusters alone decides the
    /// kind of FAT (specification, "FAT Type Determination"); the cluster sizes here keep far from both limits.
    pub(super) fn new(volume: &Volume, root_slots: usize) -> Result<Self, Error> {
        let size = volume.size.0;
        let sectors = u32::try_from(size / SECTOR).ok().filter(|_| size >= MIN && size.is_multiple_of(SECTOR));
        let sectors = sectors.ok_or_else(|| volume.error("its size must be 4 MiB to 2 TiB, in whole sectors"))?;
        let (width, cluster_sectors) = match size {
            _ if size <= 16 * MIB => (Width::Fat16, 1),
            _ if size <= 32 * MIB => (Width::Fat16, 2),
            _ if size < FAT32_FROM => (Width::Fat16, 4),
            _ if size <= 260 * MIB => (Width::Fat32, 1),
            _ if size <= 8192 * MIB => (Width::Fat32, 8),
            _ if size <= 16_384 * MIB => (Width::Fat32, 16),
            _ if size <= 32_768 * MIB => (Width::Fat32, 32),
            _ => (Width::Fat32, 64),
        };
        let (mut reserved, root_sectors) = match width {
            Width::Fat16 => {
                let slots = u32::try_from(root_slots).ok().filter(|n| *n <= 0xfff0);
                let slots = slots.ok_or_else(|| volume.error("too many files in the root folder"))?;
                (1, slots.max(512).div_ceil(16))
            }
            Width::Fat32 => (32, 0),
        };
        let per_sector = (SECTOR / width.entry_len() as u64) as u32;
        let mut fat_sectors = 1;
        let clusters = loop {
            let data = sectors - reserved - root_sectors - COPIES * fat_sectors;
            let clusters = data / cluster_sectors;
            let needed = (clusters + 2).div_ceil(per_sector);
            if needed <= fat_sectors {
                // clusters at multiples of their size, so that pages of the host map onto them and holes stay holes
                let misplaced = (sectors - data) % cluster_sectors;
                if misplaced == 0 {
                    break clusters;
                }
                reserved += cluster_sectors - misplaced;
            } else {
                fat_sectors = needed;
            }
        };
        let (root_cluster, info) = match width {
            Width::Fat16 => (0, None),
            Width::Fat32 => (2, Some(1)),
        };
        Ok(Self {
            width,
            sectors,
            cluster_sectors,
            reserved,
            copies: COPIES,
            fat_sectors,
            root_sectors,
            clusters,
            root_cluster,
            info,
        })
    }

    pub(super) fn cluster_len(&self) -> u64 {
        u64::from(self.cluster_sectors) * SECTOR
    }

    /// Where the FATs lie, in bytes.
    pub(super) fn fats(&self) -> impl Iterator<Item = u64> {
        (0..self.copies).map(|n| u64::from(self.reserved + n * self.fat_sectors) * SECTOR)
    }

    /// Where FAT16's root folder lies, in bytes.
    pub(super) fn root(&self) -> u64 {
        u64::from(self.reserved + self.copies * self.fat_sectors) * SECTOR
    }

    /// Where a cluster lies, in bytes; the first is number 2.
    pub(super) fn cluster(&self, number: u32) -> u64 {
        self.root() + u64::from(self.root_sectors) * SECTOR + u64::from(number - 2) * self.cluster_len()
    }
}

impl Width {
    /// Bytes of a table entry.
    pub(super) const fn entry_len(self) -> usize {
        match self {
            Self::Fat16 => 2,
            Self::Fat32 => 4,
        }
    }
}
