//! Pushes a manifest of an OCI image layout, with everything that it names, into a registry (OCI distribution-spec 1.1, "Push").
//!
//! ```text
//!  manifest ─┬─ each blob:  HEAD …/blobs/<digest> ─ 200 ─► it is there
//!            │                    └─ 404 ─► POST …/blobs/uploads/ ─ Location ─► PUT <Location>?digest=<digest>
//!            └─ then each tag, in the order given:  PUT …/manifests/<tag>
//!
//!  401, WWW-Authenticate ─┬─ Bearer ─► GET <realm>?service=…&scope=… ─► token ─┐
//!                         └─ Basic ──► user and password ──────────────────────┴─► the same request once more
//!  5xx, 429, broken connection ─► a pause, each twice as long as the one before; then HEAD again
//! ```
//! A tag moves only after everything below it has arrived, so a device pulls the old update or the new one. The
//! registry verifies the bytes against their digest, as the specification demands.
//!
//! Deliberately absent: credential helpers and the identity tokens that some of them keep (programs of others could see
//! or change a build; write user and password into the file instead, see [`Credentials`]), uploads in chunks, several
//! at a time, mounting blobs of other repositories, and pulling, which `pkg/update` does.

mod address;
mod answer;
mod auth;
mod client;
mod credentials;
mod error;
mod layout;
mod push;

pub use address::{Address, Tag};
pub use credentials::Credentials;
pub use error::Error;

use std::{cell::RefCell, time::Duration};
use types::{Bytes, Cancel, Digest};

/// An event during a push.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Before the first request: the content of the manifest.
    Plan {
        /// Number of blobs.
        blobs: usize,
        /// Their sizes together.
        bytes: Bytes,
    },
    /// The registry has a blob.
    Present {
        /// Its digest.
        digest: &'a Digest,
        /// Its size.
        size: Bytes,
    },
    /// The registry lacks a blob, which is now sent.
    Sending {
        /// Its digest.
        digest: &'a Digest,
        /// Its size.
        size: Bytes,
    },
    /// Bytes of that blob were sent. After [`Progress::Trouble`] the count starts again at zero.
    Sent {
        /// Their number.
        bytes: Bytes,
    },
    /// A request failed; a repetition follows after a pause.
    Trouble {
        /// The failure.
        error: &'a Error,
        /// The pause.
        pause: Duration,
    },
    /// A tag now names the pushed manifest.
    Tagged {
        /// The tag.
        tag: &'a Tag,
    },
}

/// The receiver of [`Progress`].
pub(crate) type Seen<'a> = &'a mut dyn FnMut(Progress<'_>);

/// The result of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pushed {
    /// Bytes of the blobs that the registry lacked.
    pub sent: Bytes,
    /// Bytes of the blobs that the registry had.
    pub present: Bytes,
}

/// How to push.
#[derive(Debug, Clone)]
pub struct Options {
    /// The pause before the first retry.
    pub pause: Duration,
    /// Stops pushing when it is set.
    pub cancel: Cancel,
}

impl Default for Options {
    fn default() -> Self {
        Self { pause: Duration::from_millis(500), cancel: Cancel::default() }
    }
}

/// A repository of a registry.
pub struct Registry {
    address: Address,
    credentials: Credentials,
    agent: ureq::Agent,
    options: Options,
    /// The header `Authorization` that the registry demands: a secret.
    authorization: RefCell<Option<String>>,
}

impl Registry {
    /// Opens no connection yet. Proxies and certificate authorities are those of [`fetch::agent`].
    #[must_use]
    pub fn new(address: Address, credentials: Credentials, options: Options) -> Self {
        Self { address, credentials, agent: fetch::agent(), options, authorization: RefCell::new(None) }
    }
}

#[cfg(test)]
mod tests;
