//! Disks as files: partition tables, FAT volumes, sparse assembly and qcow2, all deterministic and without root.
//!
//! ```text
//! Layout ──plan()──► Plan ──write()──► raw, sparse ──qcow2::write()──► qcow2
//!   partitions         every start
//!   with content       and the size     0        1 MiB                                    end
//!                                       ├ MBR, ──┼─ EFI System ─┼─ IMGA ─┼─ … ─┼─ P3 ─┼─ GPT ┤
//!                                       │  GPT   │  fat::write() │ verity │                backup
//! ```
//! [`Layout`] lists the wanted partitions, [`Plan`] their places; only [`Plan::write`] touches a disk. [`gpt::read`]
//! reads both copies of a table, for `verify` and for the device.
//!
//! A device changes its disk with [`fat::Edit`] and [`gpt::set_guid`]; a power cut at any moment leaves the old state
//! or the new one. Both work on all [`Blocks`]. [`power`] makes every state that a cut can leave, and so tests both and
//! their users.
//!
//! Deliberately absent: hybrid MBRs and BIOS boot, sectors other than 512 bytes, FAT12, moving or resizing partitions, moving
//! files between folders, and file systems for P3, which the device makes itself.

mod blocks;
mod error;
pub mod fat;
pub mod gpt;
mod guid;
mod layout;
pub mod power;
pub mod qcow2;
mod sparse;

pub use blocks::{Blocks, Window};
pub use error::Error;
pub use guid::{Guid, ParseGuidError, PartitionType};
pub use layout::{ALIGN, Layout, Partition, Placed, Plan};
pub use sparse::{copy_range, copy_sparse, extents};

/// Size of a sector, in bytes.
pub const SECTOR: u64 = 512;
