/// Why an update is none, or not one for this device.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A document that is not of its kind.
    #[error("{what}: {problem}")]
    Document {
        /// Which one.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Signatures of someone whom this device does not trust, or of something else.
    #[error("the update is not signed by who may sign updates of this device: {problem}")]
    Untrusted {
        /// Which signature is wrong.
        problem: String,
    },
    /// Signatures that cannot be made or read.
    #[error(transparent)]
    Sign(#[from] sign::Error),
}
