use segments::BadList;
use std::{fmt, io, ops::Range, path::PathBuf};
use types::Bytes;

/// Why a medium does not have the image. Its partition table is written last, so nothing starts from it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or device cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The action that failed, as a verb.
        action: &'static str,
        /// The file or device.
        path: PathBuf,
        /// The answer of the system.
        source: io::Error,
    },
    /// The list describes no disk.
    #[error("the image's description is damaged: {0}; build it again")]
    List(#[from] BadList),
    /// The image cannot be read.
    #[error("cannot read the image from byte {at} on: {source}")]
    Source {
        /// The first byte that was wanted.
        at: u64,
        /// The answer of the system.
        source: io::Error,
    },
    /// The image has other bytes than its description.
    #[error("the image is damaged: bytes {} to {} are not those of image.json; build or download it again", range.start, range.end - 1)]
    Damaged {
        /// The bytes.
        range: Range<u64>,
    },
    /// The medium has no room for the image.
    #[error("the medium has {found}, the image needs {needed}: take a larger one")]
    TooSmall {
        /// Its size.
        found: Bytes,
        /// The size of the image's disk.
        needed: Bytes,
    },
    /// The medium does not take bytes.
    #[error("cannot write bytes {} to {} of the medium: {source}; it is write-protected or broken", range.start, range.end - 1)]
    Write {
        /// The bytes.
        range: Range<u64>,
        /// The answer of the system.
        source: io::Error,
    },
    /// The medium gives back other bytes than those that were written.
    #[error("the medium does not keep what is written to it:\n{}\ntake another one", list(.0))]
    Faults(Vec<Fault>),
}

/// Bytes that the medium does not give back.
#[derive(Debug)]
pub struct Fault {
    /// The bytes on the medium.
    pub range: Range<u64>,
    /// What it does instead.
    pub problem: Problem,
}

/// How a medium fails.
#[derive(Debug)]
pub enum Problem {
    /// The sectors cannot be read.
    Unreadable(io::Error),
    /// It gives other bytes.
    Differs {
        /// The first sector that differs, if that is known.
        first: u64,
    },
    /// It gives what was written to another place: its capacity is counterfeit.
    Aliased {
        /// The first byte of that place.
        with: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.range;
        write!(f, "  bytes {start} to {}: ", end - 1)?;
        match &self.problem {
            Problem::Unreadable(source) => write!(f, "bad sectors, {source}"),
            Problem::Differs { first } => {
                write!(f, "other bytes than written, from sector {} on", first / segments::SECTOR)
            }
            Problem::Aliased { with } => {
                write!(f, "what was written to byte {with}: its capacity is counterfeit, it has less than it says")
            }
        }
    }
}

/// The first few, and the number of all.
fn list(faults: &[Fault]) -> String {
    const SHOWN: usize = 8;
    let mut lines: Vec<_> = faults.iter().take(SHOWN).map(ToString::to_string).collect();
    if faults.len() > SHOWN {
        lines.push(format!("  and {} more", faults.len() - SHOWN));
    }
    lines.join("\n")
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}
