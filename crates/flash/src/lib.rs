//! Writing the image of a disk to a medium: a stick, a card, a disk, or a file.
//!
//! ```text
//! Source: raw, raw.zst ─┐  one segment after the other, compared with the list
//! SegmentList ──────────┴─► wipe, probe ─► write ─► flush ─► read back ─► write tables, first sector last ─► read back
//!                                            │                 │
//!                                            └──── Medium ─────┘  past the caches: O_DIRECT
//! ```
//! The probe finds counterfeit capacity. Only what the list has is written, so 13 GB of disk are as fast as their 300 MB of
//! content. The partition tables come last: a medium that was pulled out too early starts nothing, instead of half a system.
//!
//! [`disks`] lists what can be written to and why not; [`flash`] writes.
//!
//! Deliberately absent: questions to people, and where an image comes from, which is the caller's concern.

mod buffer;
pub mod disks;
mod error;
mod medium;
mod probe;
mod read_back;
mod source;
mod write;

pub use error::{Error, Fault, Problem};
pub use medium::{Device, Medium};
pub use source::{Patched, Raw, Source, Zstd};
pub use write::{Done, Phase, Progress, flash};

#[cfg(test)]
mod tests;
