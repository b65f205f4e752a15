use std::{io, path::PathBuf};

/// Why a push failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Text that is no address of a registry.
    #[error("`{}` is not oci://<registry>[:<port>]/<name>: {problem}", without_secrets(found))]
    Address {
        /// The text.
        found: String,
        /// The problem.
        problem: String,
    },
    /// A version that cannot be a tag.
    #[error("`{found}` cannot be a tag of a registry: those have at most 128 letters, digits, `.`, `_` and `-`")]
    Tag {
        /// The version.
        found: String,
    },
    /// A malformed file with credentials.
    #[error("{}: {problem}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: String,
    },
    /// A layout that differs from its manifest.
    #[error("{}: {problem}", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: String,
    },
    /// A file that cannot be read.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The action.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The registry refuses a request.
    #[error("{registry} refuses {request}: HTTP status {status}{}{}", after(": ", text), after("\n  ", hint))]
    Refused {
        /// The address.
        registry: String,
        /// Method and URL.
        request: String,
        /// The status of the answer.
        status: u16,
        /// The registry's text.
        text: String,
        /// What to do.
        hint: String,
    },
    /// No answer.
    #[error(
        "{registry} does not answer {request}: {text}\n  certificate authorities are this host's, or those in SSL_CERT_FILE; a \
         proxy is named in HTTPS_PROXY or HTTP_PROXY; `oci+http://` is for registries without TLS"
    )]
    Unreachable {
        /// The address.
        registry: String,
        /// Method and URL.
        request: String,
        /// The failure.
        text: String,
    },
    /// An answer outside of the specification.
    #[error("{registry} answers {request} as no registry does: {problem}")]
    Answer {
        /// The address.
        registry: String,
        /// Method and URL.
        request: String,
        /// The problem.
        problem: String,
    },
    /// The user asked to stop. Blobs that arrived stay; [`crate::Progress`] reported every tag that moved.
    #[error("interrupted")]
    Cancelled,
}

fn after(before: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{before}{text}") }
}

/// An address without the text before an `@`.
fn without_secrets(address: &str) -> String {
    match (address.split_once("://"), address.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        _ => address.to_owned(),
    }
}
