//! The possible contents of a disk after a power cut: every write up to the last flush, and any of the later ones,
//! whole or in part.
//!
//! ```text
//! program ─► Recorder ─► events: W W F W W F W …       base, never changed
//!                                    │
//!                         states()   └─ a cut here: base + all before the F + any sectors of the W behind it
//!                            └─► judge(point, state): a disk of its own, on which it may run the recovery
//! ```
//! A disk writes a sector of 512 bytes completely or not at all, as the ATA and NVMe specifications promise (NVMe base
//! specification 2.0, AWUPF). Sectors are lost and kept independently of each other and of the order of their writes.
//!
//! Deliberately absent: disks that lie about flushes, and sectors that are unreadable after a cut.

mod recorder;
mod states;

pub use recorder::Recorder;
pub use states::{Cut, Options, Point, State, points_at, states};

/// A command to a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Bytes at a place. Both are multiples of [`SECTOR`](crate::SECTOR).
    Write {
        /// First byte on the disk.
        at: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A flush: earlier writes are durable.
    Flush,
}

/// The place of a sector's bytes in a log: the event's number, and the sector within its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Logged {
    event: usize,
    sector: usize,
}

impl Logged {
    fn bytes(self, events: &[Event]) -> Option<&[u8]> {
        match events.get(self.event)? {
            Event::Write { bytes, .. } => bytes.chunks_exact(crate::SECTOR as usize).nth(self.sector),
            Event::Flush => None,
        }
    }
}

/// The sectors that a range of bytes touches.
fn sectors(at: u64, len: usize) -> std::ops::Range<u64> {
    at / crate::SECTOR..(at + len as u64).div_ceil(crate::SECTOR)
}

/// Copies the part of a sector that lies within `buf`, which holds the bytes from `at` on.
fn overlay(buf: &mut [u8], at: u64, sector: u64, bytes: &[u8]) {
    let (start, end) = (sector * crate::SECTOR, (sector + 1) * crate::SECTOR);
    let (from, to) = (start.max(at), end.min(at + buf.len() as u64));
    if from < to {
        buf[(from - at) as usize..(to - at) as usize]
            .copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
    }
}
