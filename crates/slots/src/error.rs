use crate::State;
use types::{Bytes, Slot};

/// Why slots cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Partition table or EFI system partition.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// A disk without a partition that it must have.
    #[error("the disk has no partition {label}")]
    NoPartition {
        /// Its label.
        label: &'static str,
    },
    /// A disk with one slot only.
    #[error(
        "the disk has no partition {}: it is too small for two slots, and updates need a larger one",
        .0.label()
    )]
    Missing(Slot),
    /// A running system whose slot or kernel image is not on this disk.
    #[error("no kernel image on the EFI system partition starts the slot that is running ({root_hash})")]
    NotOurs {
        /// The root hash that runs.
        root_hash: types::Digest,
    },
    /// A slot that may not be changed.
    #[error("{} is running and cannot be written", .0.label())]
    Running(Slot),
    /// A running slot that must be good first, because it starts when the other one fails.
    #[error("{} is running and is not known to be good yet ({state}): wait until its services are ready", slot.label())]
    NotGood {
        /// The slot.
        slot: Slot,
        /// Its state.
        state: State,
    },
    /// A slot that cannot start.
    #[error("{} is {state}: there is nothing to go back to", slot.label())]
    Nothing {
        /// The slot.
        slot: Slot,
        /// Its state.
        state: State,
    },
    /// A slot that is not as the step before leaves it.
    #[error("{} is {found}, expected {expected}", slot.label())]
    Unexpected {
        /// The slot.
        slot: Slot,
        /// Its state.
        found: State,
        /// The state that the step needs.
        expected: State,
    },
    /// A kernel image that is not ours, or does not start the slot that was written.
    #[error("the kernel image {problem}")]
    Image {
        /// What is wrong.
        problem: String,
    },
    /// An EFI system partition without room for a second kernel image.
    #[error("the EFI system partition has room for {free}, the kernel image takes {needed}")]
    NoRoom {
        /// What is free once the other slot's image is gone.
        free: Bytes,
        /// What is needed.
        needed: Bytes,
    },
}
