use std::{io, path::PathBuf};
use types::{Bytes, Digest};

/// Why an update is not done. The running slot is unchanged in every case.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A command line that is not understood.
    #[error("{what}")]
    Usage { what: String },
    /// A file, folder or device refuses; a full disk arrives here too.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// A source that cannot be read any further.
    #[error("{address}: {problem}")]
    Source { address: String, problem: String },
    /// A source that does not answer, or not fast enough.
    #[error("{address}: {problem}; the bytes that have arrived are kept, `update apply` goes on from there")]
    Unavailable { address: String, problem: String },
    /// Bytes that do not have the digest that is signed.
    #[error("{what} from {address} is damaged: its digest is {found}, expected {expected}")]
    Damaged { what: String, address: String, found: Digest, expected: Digest },
    /// A blob that ends too early.
    #[error("{what} from {address} ends after {found} of {expected}; `update apply` goes on from there")]
    Truncated { what: String, address: String, found: Bytes, expected: Bytes },
    /// An update that is not for this device.
    #[error("{image} is not for this device: {reason}")]
    Refused { image: String, reason: String },
    /// An update that does not fit.
    #[error("{what} takes {needed}, {place} has {room}")]
    NoRoom { what: &'static str, needed: Bytes, place: String, room: Bytes },
    /// A slot whose bytes do not have the root hash that is signed.
    #[error(
        "{label} does not have the root hash that is signed: {found}, expected {expected}; it stays without a kernel image"
    )]
    RootHash { label: &'static str, found: Digest, expected: Digest },
    /// A document of an update that is wrong or not signed by who may sign it.
    #[error(transparent)]
    Artefact(#[from] artefact::Error),
    /// A program without the right signature.
    #[error("the {what} of the update: {problem}")]
    Program { what: &'static str, problem: String },
    /// A device that trusts no certificate.
    #[error("this device trusts nobody's updates: {0}")]
    NoTrust(String),
    /// Slots that cannot be read or changed.
    #[error(transparent)]
    Slots(#[from] slots::Error),
    /// A store that cannot be laid out.
    #[error("the store of the update: {0}")]
    Store(String),
    /// /config/update.yml is wrong.
    #[error("{0}")]
    Config(#[from] yaml::Error),
    /// A variable that the firmware does not return or does not accept.
    #[error(transparent)]
    Variables(#[from] efivars::Error),
    /// A certificate that cannot be read.
    #[error(transparent)]
    Sign(#[from] sign::Error),
    /// Another `update` that holds the lock.
    #[error("another `update` changes the slots: {} is still locked after {seconds} s; wait until it has ended", path.display())]
    Busy { path: PathBuf, seconds: u64 },
    /// A record that must not be ignored.
    #[error("{} is damaged: {problem}", path.display())]
    Record { path: PathBuf, problem: String },
    /// A file of certificates that is wrong.
    #[error("{}: {problem}; it must hold certificates in PEM", path.display())]
    Certificates { path: PathBuf, problem: String },
    /// A disk that this system was not started from.
    #[error("{problem}")]
    OtherDisk { problem: String },
    /// A command of the system failed.
    #[error("`{command}` failed: {problem}")]
    Command { command: String, problem: String },
}

impl Error {
    /// Whether this update can only fail again until its source offers another one. Other errors may pass.
    pub(crate) const fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Usage { .. }
                | Self::Refused { .. }
                | Self::NoRoom { .. }
                | Self::RootHash { .. }
                | Self::Artefact(_)
                | Self::Program { .. }
                | Self::Store(_)
        )
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
