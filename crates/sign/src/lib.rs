//! Keys, certificates and signatures: who may say what a device starts.
//!
//! ```text
//! keys/  keys.json  PK.crt KEK.crt db.crt …      ┌─► Signer: PK.key …  (files)      ─┐
//!          │                                     │    a token          (PKCS #11)   ─┤
//!          │                                     │    signatures.json  (imported)   ─┤
//!          ▼                                     │                                   ▼
//!  EFI program ─► efi::Pending ─► Wanted { certificate, digest } ─► Request ─► Response ─► attach: EFI program with signature
//!  variable    ─► variable::Pending ─┤                                                     an update of a variable
//!  PCR value   ─► policy::Policy     ─┤                                                     `.pcrsig` of an EFI program
//!  module      ─► module::digest     ─┘                                                     kernel module with signature
//! ```
//! Everything that is signed goes through one exchange ([`Wanted`] there, [`Signature`] back), so that a private key need not
//! be where images are built. Signatures are RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2), which has no random part:
//! the same bytes signed by the same key are the same bytes again. Each is checked against its certificate before it is used.
//!
//! Deliberately absent: what is to be signed in an image, and in which order.

mod certificate;
mod cms;
pub mod efi;
mod error;
mod exchange;
#[cfg(feature = "keys")]
mod generate;
#[cfg(feature = "keys")]
mod keys;
pub mod module;
#[cfg(feature = "keys")]
mod pkcs11;
pub mod policy;
mod role;
mod trust;
pub mod variable;

pub use certificate::Certificate;
pub use error::Error;
pub use exchange::{Algorithm, Request, Response, Signature, Wanted};
#[cfg(feature = "keys")]
pub use keys::{About, Keys, Purpose};
#[cfg(feature = "keys")]
pub use pkcs11::TokenAt;
pub use role::Role;
pub use trust::Trust;

#[cfg(all(test, feature = "keys"))]
#[allow(clippy::unwrap_used)]
mod tests;
