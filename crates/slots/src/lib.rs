//! The two slots of a device: their contents, which of them starts, and how one takes over from the other.
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
//! There is no other record: builder, device and tests read [`Status`] from table and ESP, and [`Status::next`] predicts what
//! systemd-boot starts. Every transition is a row of changes, each of which takes effect by one sector's write. The power can go at
//! any moment: then either the image starts that started before, or the image of the transition.
//!
//! Deliberately absent: writing the contents of a slot (the caller streams [`Contents`]), signatures, and the decision to bless.

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
pub use version::{BadVersion, check_version, compare, tag};

/// Starts of a new slot before it is given up, by default.
pub const TRIES: u32 = 3;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
