use std::{io, path::PathBuf};

/// Why something is not in a registry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Text that is no address of a registry.
    #[error("`{}` is not oci://<registry>[:<port>]/<name>: {problem}", without_secrets(found))]
    Address {
        /// The text.
        found: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A version that cannot be a tag.
    #[error("`{found}` cannot be a tag of a registry: those have at most 128 letters, digits, `.`, `_` and `-`")]
    Tag {
        /// The version.
        found: String,
    },
    /// A file with credentials that is none.
    #[error("{}: {problem}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A layout that is not what its manifest says.
    #[error("{}: {problem}", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file that cannot be read.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it was not.
        source: io::Error,
    },
    /// The registry does not want to.
    #[error("{registry} refuses {request}: HTTP status {status}{}{}", after(": ", said), after("\n  ", hint))]
    Refused {
        /// The address.
        registry: String,
        /// Method and URL.
        request: String,
        /// Of the answer.
        status: u16,
        /// The registry's own words.
        said: String,
        /// What to do.
        hint: String,
    },
    /// No answer.
    #[error(
        "{registry} does not answer {request}: {said}\n  certificate authorities are this host's, or those in SSL_CERT_FILE; a \
         proxy is named in HTTPS_PROXY or HTTP_PROXY; `oci+http://` is for registries without TLS"
    )]
    Unreachable {
        /// The address.
        registry: String,
        /// Method and URL.
        request: String,
        /// How it failed.
        said: String,
    },
    /// An answer that the specification does not know.
    #[error("{registry} answers {request} as no registry does: {problem}")]
    Answer {
        /// The address.
        registry: String,
        /// Method and URL.
        request: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The user asked to stop. Blobs that have arrived stay; no tag has moved that was not told.
    #[error("interrupted")]
    Cancelled,
}

fn after(before: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("{before}{text}") }
}

/// An address without what stands before an `@`.
fn without_secrets(address: &str) -> String {
    match (address.split_once("://"), address.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://…@{rest}"),
        _ => address.to_owned(),
    }
}
