//! The two slots of a device: what they hold, which one starts, and how one takes over from the other.
//!
//! ```text
//!  partition table   IMGA, IMGB: GUID = first half of the root hash of what is in it, or that of a slot being written
//!  ESP               EFI/Linux/<stem>[+left[-done]].efi: starts the slot whose root hash is on its command line
//!
//!             clear              activate              a start                 bless
//!    empty ──────────► writing ───────────► trial 3 ─────────► trial 2 … ──────────────► good
//!      ▲                  ▲                    │ systemd-boot      │ no start was blessed    │
//!      └── no entry       └────────────────────┴───────► bad ◄─────┘ ◄──────────────────────┘ set aside
//! ```
//! There is no other record: [`Status`] is read from table and ESP, by builder, device and tests alike, and [`Status::next`]
//! tells what systemd-boot starts. Every transition is a row of changes each of which shows by one sector's write, so that
//! the power can go at any moment: what starts then is what started before, or what the transition was for.
//!
//! Deliberately absent: writing what a slot holds (the caller streams [`Contents`]), signatures, and when to bless.

mod contents;
mod device;
mod entry;
mod error;
mod loader;
mod status;
mod version;

pub use contents::{Contents, Unfit};
pub use device::Device;
pub use entry::{Entry, Name, Tries};
pub use error::Error;
pub use loader::second_loader_path;
pub use status::{SlotStatus, State, Status};
pub use version::compare;

/// How often a new slot may start before it is given up, where nobody says otherwise.
pub const TRIES: u32 = 3;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
