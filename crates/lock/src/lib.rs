//! `evek.lock`: the one list of every input of every build, by digest.
//!
//! ```text
//! [[deb]]     name version arch suite file size sha256      every .deb of every set, once
//! [[set]]     name arch base backports roots packages       which of them belong together, and why each is there
//! [[vendor]]  name kind manifest sha256 size                source archives of Go modules and Rust crates
//!
//! definitions ──► Wanted ──check──► Stale?          at every build
//!                    └────update + indexes──► Lock  at `lock update`, and only there
//! ```
//! Deliberately absent: downloads (the caller passes the indexes), definition files (the caller passes [`Wanted`] with
//! places), and any resolving during a build.

mod check;
mod file;
mod update;
mod wanted;

pub use check::{Difference, Stale};
pub use file::{Deb, Error, FILE_NAME, Lock, Member, Set, Vendor, VendorKind};
pub use update::{Outdated, UpdateError, outdated, update};
pub use wanted::{Root, Wanted, WantedSet, WantedVendor};
