use std::{io, path::PathBuf};
use types::{Bytes, Digest};

/// Why an update is not done. The running slot is as it was, whichever it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line makes no sense.
    #[error("{what}")]
    Usage { what: String },
    /// A file, folder or device refuses; a full disk arrives here too.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// A source that cannot be read any further.
    #[error("{address}: {problem}")]
    Source { address: String, problem: String },
    /// A source that went away half-way.
    #[error("{address}: {problem}; what is here already stays, `update apply` goes on from there")]
    Gone { address: String, problem: String },
    /// Bytes that are not those that were promised.
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
    /// What was written is not what was signed.
    #[error(
        "{label} does not have the root hash that is signed: {found}, expected {expected}; it stays without a kernel image"
    )]
    RootHash { label: &'static str, found: Digest, expected: Digest },
    /// What an update says of itself.
    #[error(transparent)]
    Artefact(#[from] artefact::Error),
    /// A program without the right signature.
    #[error("the {what} of the update: {problem}")]
    Program { what: &'static str, problem: String },
    /// Nobody's signatures can be checked.
    #[error("this device trusts nobody's updates: {0}")]
    NoTrust(String),
    /// Slots cannot be read or changed.
    #[error(transparent)]
    Slots(#[from] slots::Error),
    /// A store that cannot be laid out.
    #[error("the store of the update: {0}")]
    Store(String),
    /// /config/update.yml is wrong.
    #[error("{0}")]
    Config(#[from] yaml::Error),
    /// The firmware does not tell, or does not take, a variable.
    #[error(transparent)]
    Variables(#[from] efivars::Error),
    /// A certificate that cannot be read.
    #[error(transparent)]
    Sign(#[from] sign::Error),
    /// A command of the system failed.
    #[error("`{command}` failed: {problem}")]
    Command { command: String, problem: String },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
