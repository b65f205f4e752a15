use crate::{ImageNameError, Role};
use std::{io, path::PathBuf};
use types::Digest;

/// Why a store cannot be read, or a layout cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the store cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A document is not JSON of the expected shape.
    #[error("{what} is malformed: {source}")]
    Json {
        /// Which document.
        what: String,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A document has a size or digest other than promised.
    #[error("{what}: content is {found}, expected {expected}")]
    Mismatch {
        /// Which document.
        what: String,
        /// The digest promised.
        expected: Digest,
        /// The digest found.
        found: Digest,
    },
    /// A field has another value than a store has there.
    #[error("{what}: {field} is `{found}`, expected {expected}")]
    Unexpected {
        /// Which document.
        what: String,
        /// The field.
        field: &'static str,
        /// The value found.
        found: String,
        /// The value expected.
        expected: String,
    },
    /// An image's name cannot be used.
    #[error(transparent)]
    Name(#[from] ImageNameError),
    /// Two images have one name.
    #[error("two images are named {name}: give each package one image")]
    Twice {
        /// The name.
        name: String,
    },
    /// A service has no [`ServiceSpec`](crate::ServiceSpec), or another image has one.
    #[error("{name} has the role `{}` {}", role.as_str(), if *.role == Role::Service { "but no service specification" } else { "and a service specification: only services have one" })]
    Spec {
        /// The image.
        name: String,
        /// Its role.
        role: Role,
    },
    /// There is not exactly one root image.
    #[error("a store has exactly one root image, this one has {found}")]
    Roots {
        /// How many.
        found: usize,
    },
    /// No image of that name is in the store.
    #[error("no service `{package}` in the store; it has: {}", services.join(", "))]
    NoService {
        /// The name asked for.
        package: String,
        /// Those that are there.
        services: Vec<String>,
    },
}
