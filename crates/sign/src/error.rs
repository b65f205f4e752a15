use crate::{Request, Role};
use std::{fmt::Display, io, path::PathBuf};
use types::Digest;

/// Why something cannot be signed, or is not signed as it must be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of keys cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Keys that are there already must not be lost.
    #[error("{} holds something already, and keys that devices may trust are not replaced: choose another folder", path.display())]
    Present {
        /// The folder.
        path: PathBuf,
    },
    /// A folder without keys.
    #[error("{} holds no keys (keys.json): make some with `cargo xtask keys generate --keys <folder>`", path.display())]
    NoKeys {
        /// The folder.
        path: PathBuf,
    },
    /// Keys that were made before there was this one.
    #[error("{} has no {role}.crt: `cargo xtask keys generate` adds the keys that are missing in a folder", path.display())]
    NoKey {
        /// The folder.
        path: PathBuf,
        /// The key that is not there.
        role: Role,
    },
    /// Another key `pcr` cannot be made.
    #[error("the key `pcr` cannot be exchanged: {problem}")]
    Rotation {
        /// Why, and what to do.
        problem: &'static str,
    },
    /// A certificate that is none, or not of an RSA key.
    #[error("not a certificate of an RSA key: {problem}")]
    Certificate {
        /// What is wrong with it.
        problem: String,
    },
    /// A private key that is none, or belongs to no certificate.
    #[error("{}: {problem}", path.display())]
    PrivateKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A request, a response or keys.json that is none.
    #[error("not a document of this kind: {problem}")]
    Document {
        /// What is wrong with it.
        problem: String,
    },
    /// Signatures that only someone else can make.
    #[error("{} signatures are wanted whose private keys are not here", .0.wanted.len())]
    Wanted(Request),
    /// A request for, or a signature by, a key that is none of these.
    #[error("certificate {certificate} is none of these keys")]
    Foreign {
        /// Its fingerprint.
        certificate: Digest,
    },
    /// A signature that its certificate does not confirm.
    #[error("the signature over {digest} was not made by the key of {subject}")]
    BadSignature {
        /// Whose it should be.
        subject: String,
        /// What it should sign.
        digest: Digest,
    },
    /// A signature by nobody who may sign.
    #[error("it is by none of {}", if known.is_empty() { "those in db, which is empty" } else { known })]
    Unknown {
        /// Who may.
        known: String,
    },
    /// A certificate that may no longer be used.
    #[error("{subject} is forbidden by dbx")]
    Forbidden {
        /// Whose it is.
        subject: String,
    },
    /// An EFI program that cannot be signed, or whose signature cannot be read.
    #[error("the EFI program {problem}")]
    Program {
        /// What is wrong with it.
        problem: String,
    },
    /// A token of private keys that cannot be used.
    #[error("token `{token}` by {}: {problem}", module.display())]
    Token {
        /// Its label.
        token: String,
        /// The library.
        module: PathBuf,
        /// What the library said.
        problem: String,
    },
    /// Something that cannot be written as DER.
    #[error("cannot encode a signature: {0}")]
    Encoding(String),
}

impl Error {
    #[cfg(feature = "keys")]
    pub(crate) fn file(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    pub(crate) fn certificate(problem: impl Display) -> Self {
        Self::Certificate { problem: problem.to_string() }
    }

    pub(crate) fn document(problem: impl Display) -> Self {
        Self::Document { problem: problem.to_string() }
    }

    pub(crate) fn encoding(problem: impl Display) -> Self {
        Self::Encoding(problem.to_string())
    }

    pub(crate) fn program(problem: impl Into<String>) -> Self {
        Self::Program { problem: problem.into() }
    }
}
