use crate::{Source, StepId};
use std::{error, fmt, io, path::PathBuf};
use types::Digest;

/// What to do about a full disk.
pub(crate) const MAKE_ROOM: &str = "free some space, or make the cache smaller with `cargo xtask gc`";

/// What can go wrong in the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Two steps have one name.
    #[error("two steps are called `{id}`")]
    Duplicate {
        /// The name.
        id: StepId,
    },
    /// A requested step does not exist.
    #[error("no step `{id}`{}{}", wanted_by.as_ref().map(|w| format!(", which `{w}` needs")).unwrap_or_default(), alike(like))]
    UnknownStep {
        /// The requested name.
        id: StepId,
        /// The step that reads its output; `None` for a direct request.
        wanted_by: Option<StepId>,
        /// Names that look alike.
        like: Vec<StepId>,
    },
    /// Steps need each other.
    #[error("steps need each other in a circle: {}", circle.iter().map(StepId::as_str).collect::<Vec<_>>().join(" → "))]
    Circle {
        /// The steps on the circle; the first one stands at the end again.
        circle: Vec<StepId>,
    },
    /// The cache could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The action that failed.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The disk that holds the cache is full.
    #[error("no space left on the disk that holds {}: {MAKE_ROOM}", path.display())]
    DiskFull {
        /// The file being written.
        path: PathBuf,
    },
    /// The blob store failed.
    #[error(transparent)]
    Cas(#[from] cas::Error),
    /// Steps failed; the others that were running have finished.
    #[error("{}", failures_text(.0))]
    Failed(Vec<Failure>),
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// Another process uses the cache.
    #[error("the cache {} is in use by another build: wait for it to end", path.display())]
    InUse {
        /// The cache's folder.
        path: PathBuf,
    },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| {
            if is_full(&source) { Self::DiskFull { path } } else { Self::Io { action, path, source } }
        }
    }
}

fn alike(like: &[StepId]) -> String {
    match like {
        [] => String::new(),
        like => format!("; there is {}", like.iter().take(5).map(StepId::as_str).collect::<Vec<_>>().join(", ")),
    }
}

fn failures_text(failures: &[Failure]) -> String {
    match failures {
        [one] => one.to_string(),
        many => {
            let texts: Vec<_> = many.iter().map(ToString::to_string).collect();
            format!("{} failed\n\n{}", types::count(many.len(), "step"), texts.join("\n\n"))
        }
    }
}

/// The kind of a failure, for exit codes and hints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// The step's own work failed.
    Step,
    /// The disk ran full.
    DiskFull,
    /// An input is missing from the cache or damaged.
    Input,
}

/// A step that failed.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Failure {
    /// The step.
    pub id: StepId,
    /// Where it comes from.
    pub source: Option<Source>,
    /// The kind of the failure.
    pub class: FailureClass,
    /// The failure and its reason, as one text.
    pub error: String,
    /// Its log file.
    pub log: PathBuf,
    /// The last lines of the log.
    pub tail: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step `{}` failed", self.id)?;
        if let Some(source) = &self.source {
            write!(f, " (from {source})")?;
        }
        write!(f, ": {}", self.error)?;
        if !self.tail.is_empty() {
            write!(f, "\n  the last lines of {}:", self.log.display())?;
            for line in &self.tail {
                write!(f, "\n  | {line}")?;
            }
        }
        Ok(())
    }
}

/// Why a step stopped. Any error turns into one by `?`.
#[derive(Debug)]
pub enum StepError {
    /// It saw that it was cancelled.
    Cancelled,
    /// It asked for an input that its definition does not name.
    NoInput {
        /// The label it asked for.
        label: String,
    },
    /// An input is not in the cache.
    InputMissing {
        /// The input's label.
        label: String,
        /// The digest it should have.
        digest: Digest,
        /// The expected path.
        path: PathBuf,
    },
    /// The bytes of an input do not have its digest.
    InputDamaged {
        /// The input's label.
        label: String,
        /// The digest it should have.
        digest: Digest,
        /// The digest it has.
        found: Digest,
        /// Where it is.
        path: PathBuf,
    },
    /// It failed with this error.
    Other(Box<dyn error::Error + Send + Sync>),
}

// Not an `Error` itself: that is what lets every error become one.
impl<E: error::Error + Send + Sync + 'static> From<E> for StepError {
    fn from(error: E) -> Self {
        Self::Other(Box::new(error))
    }
}

impl StepError {
    /// An error of words alone.
    pub fn msg(text: impl Into<String>) -> Self {
        Self::Other(text.into().into())
    }

    pub(crate) fn class(&self) -> FailureClass {
        match self {
            Self::NoInput { .. } | Self::InputMissing { .. } | Self::InputDamaged { .. } => FailureClass::Input,
            Self::Other(e) if is_full(e.as_ref()) => FailureClass::DiskFull,
            Self::Cancelled | Self::Other(_) => FailureClass::Step,
        }
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("cancelled"),
            Self::NoInput { label } => {
                write!(f, "the step asks for an input `{label}` that its definition does not name")
            }
            Self::InputMissing { label, digest, path } => {
                write!(f, "input `{label}` ({digest}) is not at {}: fetch the inputs again", path.display())
            }
            Self::InputDamaged { label, digest, found, path } => write!(
                f,
                "input `{label}` is damaged: {} has the digest {found}, expected {digest}; run the build again, which \
                 sets it aside and fetches it anew",
                path.display()
            ),
            Self::Other(e) => {
                let mut text = e.to_string();
                // causes that the text does not already include
                let mut cause = e.source();
                while let Some(e) = cause {
                    let next = e.to_string();
                    if !text.contains(&next) {
                        text = format!("{text}: {next}");
                    }
                    cause = e.source();
                }
                if is_full(e.as_ref()) && !text.contains(MAKE_ROOM) {
                    text = format!("{text}; the disk is full: {MAKE_ROOM}");
                }
                f.write_str(&text)
            }
        }
    }
}

/// Whether the error, or a cause of it, is a full disk or a used-up quota.
pub(crate) fn is_full(error: &(dyn error::Error + 'static)) -> bool {
    let full = [rustix::io::Errno::NOSPC.raw_os_error(), rustix::io::Errno::DQUOT.raw_os_error()];
    let mut next = Some(error);
    while let Some(e) = next {
        if matches!(e.downcast_ref(), Some(Error::DiskFull { .. })) {
            return true;
        }
        if let Some(e) = e.downcast_ref::<io::Error>()
            && (e.kind() == io::ErrorKind::StorageFull || e.raw_os_error().is_some_and(|n| full.contains(&n)))
        {
            return true;
        }
        next = e.source();
    }
    // an error that shows its cause without naming it as source still carries the system's words
    let text = error.to_string();
    full.iter().any(|n| text.contains(&format!("(os error {n})")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("wrapped")]
    struct Wrapped(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error(transparent)]
    struct Hidden(io::Error);

    #[test]
    fn a_full_disk_is_seen_through_every_wrapping() {
        let full = || io::Error::from_raw_os_error(28);
        assert!(is_full(&full()));
        assert!(is_full(&Wrapped(full())));
        assert!(is_full(&Hidden(full())));
        assert!(!is_full(&Wrapped(io::Error::from_raw_os_error(13))));
        assert_eq!(StepError::from(Wrapped(full())).class(), FailureClass::DiskFull);
        assert!(StepError::from(full()).to_string().contains("the disk is full: free some space"));
        let ours = StepError::from(Error::io("write", "x")(full()));
        assert_eq!((ours.class(), ours.to_string().matches(MAKE_ROOM).count()), (FailureClass::DiskFull, 1));
    }

    #[test]
    fn causes_are_told_once() {
        let text = StepError::from(Wrapped(io::Error::other("deep"))).to_string();
        assert_eq!(text, "wrapped: deep");
    }
}
