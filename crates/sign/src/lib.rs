//! Keys, certificates and signatures: which programs a device starts.
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
//! Every signature goes through one exchange ([`Wanted`] to the private key, [`Signature`] back), so that the private
//! key may be elsewhere. Signatures are RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2), which has no random part: the
//! same bytes and the same key give the same signature. Each signature is verified against its certificate before use.
//!
//! Deliberately absent: which parts of an image are signed, and in which order.

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
