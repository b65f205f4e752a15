/// Why an update is malformed or refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A malformed document.
    #[error("{what}: {problem}")]
    Document {
        /// The document.
        what: &'static str,
        /// The problem.
        problem: String,
    },
    /// Signatures by an untrusted key, or over other bytes.
    #[error("the update is not signed by who may sign updates of this device: {problem}")]
    Untrusted {
        /// The wrong signature.
        problem: String,
    },
    /// Signatures that cannot be made or parsed.
    #[error(transparent)]
    Sign(#[from] sign::Error),
}
