//! Debian's formats and rules: signed indexes, relations between packages, and the packages themselves.
//!
//! ```text
//! InRelease ──release──► digests of the indexes      (signature, Valid-Until)
//! Packages  ──packages─► Universe ──solve──► packages, each with why it is there
//! .deb      ──deb──────► tree::Tree + spool file
//! ```
//! What this crate deliberately does not do: it opens no socket (`fetch` does), keeps no list of what was chosen (`lock`
//! does), runs no maintainer script, and knows no list of installed packages, Recommends or Essential.

pub mod deb;
pub mod deb822;
pub mod limit;
mod packages;
mod provider;
pub mod relation;
mod release;
mod solve;

pub use debversion::Version;
pub use packages::{Archive, BadIndex, Index, MultiArch, Package, PackageArch, Universe};
pub use release::{Expiry, Release, ReleaseError};
pub use solve::{Chosen, Problem, Unsolved, Why, solve};

#[cfg(test)]
mod tests;
