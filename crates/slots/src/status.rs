use crate::{Entry, Tries};
use disk::Guid;
use serde::{Deserialize, Serialize};
use std::fmt;
use types::{Bytes, Digest, Slot};

/// The state of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub enum State {
    /// The disk has no partition for it: it is too small, or the first start has not made it yet.
    Missing,
    /// Nothing starts it.
    Empty,
    /// It is being written, or that was interrupted; nothing starts it.
    Writing,
    /// It is new and has so many starts left to be found good.
    Trial {
        /// Starts that are left.
        left: u32,
        /// Starts so far.
        done: u32,
    },
    /// It is known to work.
    Good,
    /// No starts are left, or it was set aside: it starts only when nothing else can.
    Bad {
        /// How often it was tried; never when it was set aside.
        done: u32,
    },
}

impl State {
    pub(crate) const fn of(tries: Option<Tries>) -> Self {
        match tries {
            None => Self::Good,
            Some(Tries { left: 0, done }) => Self::Bad { done },
            Some(Tries { left, done }) => Self::Trial { left, done },
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Empty => f.write_str("empty"),
            Self::Writing => f.write_str("being written"),
            Self::Trial { left, done } => write!(f, "on trial: started {done} times, {left} left"),
            Self::Good => f.write_str("good"),
            Self::Bad { done: 0 } => f.write_str("set aside"),
            Self::Bad { done } => write!(f, "bad: started {done} times and never found good"),
        }
    }
}

/// A slot as it is on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotStatus {
    /// Which one.
    pub slot: Slot,
    /// The number of its partition; 0 where it is missing.
    pub number: u32,
    /// First byte on the disk.
    pub start: Bytes,
    /// Size.
    pub size: Bytes,
    /// Its partition's GUID.
    pub guid: Guid,
    /// Its state.
    pub state: State,
    /// The kernel images that start it: one, or several for a moment of a change. The first decides.
    pub entries: Vec<Entry>,
}

impl SlotStatus {
    /// The root hash of its contents, where a kernel image starts it.
    #[must_use]
    pub fn root_hash(&self) -> Option<Digest> {
        self.entries.first().map(|entry| entry.image.root_hash)
    }
}

/// Both slots of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// A, then B.
    pub slots: [SlotStatus; 2],
    /// Kernel images of ours that start nothing on this disk.
    pub strays: Vec<Entry>,
}

impl Status {
    /// A slot.
    #[must_use]
    pub const fn slot(&self, slot: Slot) -> &SlotStatus {
        match slot {
            Slot::A => &self.slots[0],
            Slot::B => &self.slots[1],
        }
    }

    /// The slot with this root hash.
    #[must_use]
    pub fn with_root_hash(&self, root_hash: Digest) -> Option<&SlotStatus> {
        self.slots.iter().find(|slot| slot.root_hash() == Some(root_hash))
    }

    /// Whether the slot that runs is on trial and another one could take its place. On its last try it has no start left.
    #[must_use]
    pub fn is_on_trial(&self, running: Digest) -> bool {
        let can_start =
            |slot: &SlotStatus| matches!(slot.state, State::Good | State::Trial { .. } | State::Bad { done: 0 });
        let on_trial = |slot: &SlotStatus| match slot.state {
            State::Trial { .. } => true,
            State::Bad { done } => done > 0,
            _ => false,
        };
        let (current, others): (Vec<_>, Vec<_>) = self.slots.iter().partition(|slot| slot.root_hash() == Some(running));
        current.into_iter().any(on_trial) && others.into_iter().any(can_start)
    }

    /// The kernel image that systemd-boot starts next, and its slot; no slot for a stray, with which a start fails.
    #[must_use]
    pub fn next(&self) -> Option<(&Entry, Option<Slot>)> {
        let of_slots = self.slots.iter().flat_map(|s| s.entries.iter().map(|entry| (entry, Some(s.slot))));
        let all = of_slots.chain(self.strays.iter().map(|entry| (entry, None)));
        all.min_by(|(a, _), (b, _)| a.order(b))
    }
}
