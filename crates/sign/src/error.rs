use crate::{Request, Role};
use std::{fmt::Display, io, path::PathBuf};
use types::Digest;

/// Why a signature cannot be made or is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of keys cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// The action that failed.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Existing keys must not be overwritten.
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
    /// A folder of keys that is older than this key.
    #[error("{} has no {role}.crt: `cargo xtask keys generate` adds the keys that are missing in a folder", path.display())]
    NoKey {
        /// The folder.
        path: PathBuf,
        /// The missing key.
        role: Role,
    },
    /// Another key `pcr` cannot be made.
    #[error("the key `pcr` cannot be exchanged: {problem}")]
    Rotation {
        /// The reason, and what to do.
        problem: &'static str,
    },
    /// Bytes that are no certificate of an RSA key.
    #[error("not a certificate of an RSA key: {problem}")]
    Certificate {
        /// The problem.
        problem: String,
    },
    /// A file that is no private key, or a private key without certificate.
    #[error("{}: {problem}", path.display())]
    PrivateKey {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: String,
    },
    /// A malformed request, response or keys.json.
    #[error("not a document of this kind: {problem}")]
    Document {
        /// The problem.
        problem: String,
    },
    /// Missing signatures whose private keys are elsewhere.
    #[error("{} missing, and the private keys are not here", types::count(.0.wanted.len(), "signature"))]
    Wanted(Request),
    /// A request for, or a signature by, an unknown key.
    #[error("certificate {certificate} is none of these keys")]
    Foreign {
        /// Its fingerprint.
        certificate: Digest,
    },
    /// A signature that does not match its certificate.
    #[error("the signature over {digest} was not made by the key of {subject}")]
    BadSignature {
        /// The expected signer.
        subject: String,
        /// The signed object.
        digest: Digest,
    },
    /// A signature by no accepted certificate.
    #[error("it is by none of {}", if known.is_empty() { "those in db, which is empty" } else { known })]
    Unknown {
        /// The accepted certificates.
        known: String,
    },
    /// A certificate that `dbx` revokes.
    #[error("{subject} is forbidden by dbx")]
    Forbidden {
        /// Its subject.
        subject: String,
    },
    /// An EFI program that cannot be signed, or whose signature cannot be read.
    #[error("the EFI program {problem}")]
    Program {
        /// The problem.
        problem: String,
    },
    /// A token of private keys that cannot be used.
    #[error("token `{token}` by {}: {problem}", module.display())]
    Token {
        /// Its label.
        token: String,
        /// The library.
        module: PathBuf,
        /// The library's error.
        problem: String,
    },
    /// A value that cannot be encoded as DER.
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
