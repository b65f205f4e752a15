//! The words that every other crate shares: [`Digest`], [`Bytes`], [`Arch`], [`Flavour`], [`Slot`], [`Cancel`],
//! [`count()`].
//!
//! Newtypes and enums keep values apart that callers could mix up: no crate passes a bare `u64` size or a `String`
//! architecture across its edge. Builder and device use this crate; it depends on nothing builder-only and does no
//! input or output.

mod arch;
mod bytes;
mod cancel;
mod count;
mod digest;
mod flavour;

pub use arch::Arch;
pub use bytes::{Bytes, ParseBytesError};
pub use cancel::Cancel;
pub use count::count;
pub use digest::{Digest, DigestWriter, Hasher, ParseDigestError};
pub use flavour::Flavour;

/// The one clock of every build, in seconds since 1970: 2026-01-01T00:00:00Z. It is `SOURCE_DATE_EPOCH` in the sandbox and
/// the time of every file in every image.
pub const EPOCH: u64 = 1_767_225_600;

/// A word that names none of the choices of an enum such as [`Arch`] or [`Flavour`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} `{found}`: choose one of {}", choices.join(", "))]
pub struct UnknownChoice {
    /// The subject of the choice, in the user's words (`HV`, `ARCH`).
    pub what: &'static str,
    /// The word as given.
    pub found: String,
    /// Every accepted word.
    pub choices: Vec<&'static str>,
}

/// One of the two places on disk that hold a store and its verity tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    /// The partition labelled `IMGA`.
    A,
    /// The partition labelled `IMGB`.
    B,
}

impl Slot {
    /// The GPT partition label, as EVE names it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::A => "IMGA",
            Self::B => "IMGB",
        }
    }
}
