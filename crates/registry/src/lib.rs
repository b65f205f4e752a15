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
//! A tag moves only once everything that it stands for is there, so whoever pulls has the old update or the new one. Whether the
//! bytes are those of their digest is for the registry to check, as the specification has it.
//!
//! Deliberately absent: credential helpers and the identity tokens that some of them keep (programs of others would see, or
//! change, what a build does: give user and password in the file instead, see [`Credentials`]), uploads in chunks, several at a
//! time, mounting blobs of other repositories, and pulling, which `pkg/update` does.

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

/// Something to tell the user while pushing.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Before the first request: what the manifest names.
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
    /// Bytes of that blob are on their way. After [`Progress::Trouble`] it begins anew.
    Sent {
        /// Their number.
        bytes: Bytes,
    },
    /// A request failed; it is tried again after a pause.
    Trouble {
        /// How.
        error: &'a Error,
        /// How long the pause is.
        pause: Duration,
    },
    /// A tag now stands for what was pushed.
    Tagged {
        /// Which one.
        tag: &'a Tag,
    },
}

/// Who listens to [`Progress`].
pub(crate) type Seen<'a> = &'a mut dyn FnMut(Progress<'_>);

/// What was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pushed {
    /// Bytes of the blobs that the registry did not have.
    pub sent: Bytes,
    /// Bytes of those that it had.
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
    /// The header `Authorization` that the registry wants: a secret.
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
