//! The parts that tests of whole images share. The tests are in `tests/`, one file for each behaviour.
//!
//! ```text
//!   cargo xtask test ──► tests/*.rs ──► dist/…/live.raw ──► crates/vm ──► Guest
//!                          │                                                │
//!                          └──── Checks: all of them are made, then judged ◄┘
//! ```
//! They boot the very files that users get, in an overlay, and ask the guest over SSH. `cargo xtask test` builds the images and
//! toolbox sets, runs the tests and sets:
//!
//! | variable | is |
//! |---|---|
//! | `EVEK_XTASK` | the built `xtask`, also the way into the sandbox |
//! | `EVEK_DIST`, `EVEK_VERSION` | where the images are, and the first part of their version |
//! | `EVEK_CACHE`, `EVEK_KEYS` | the build cache, and the keys that the images are signed with |
//! | `EVEK_TOOLBOX_BROWSER`, `EVEK_TOOLBOX_ORACLES` | the unpacked toolbox sets `browser`, `oracles` |
//! | `EVEK_INPUTS` | the file in which a test notes its inputs; absent when its success is not to be kept |
//! | `EVEK_TOOLBOX_QEMU_<ARCH>` | the unpacked toolbox set `qemu-<arch>`; not needed with `EVEK_QEMU=host` |
//!
//! Nothing here sleeps: tests wait for the guest to say that something has happened.

pub mod apps;
mod boot;
pub mod boot_entry;
pub mod browser;
mod builder;
mod checks;
mod copy;
pub mod device;
mod inputs;
pub mod oracles;
mod saved;
pub mod secure_boot;
mod services;
pub mod system;
pub mod updates;
pub mod web;

pub use boot::{Boot, Booting, boot};
pub use builder::{Ran, World, cache, checkout, copy_disk, described, entry, image, scratch, variable, xtask};
pub use checks::Checks;
pub use copy::Copy;
pub use device::device;
pub use saved::{Facts, restored};
pub use services::all_ready;
