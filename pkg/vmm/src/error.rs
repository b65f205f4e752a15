use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a command or an app failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command line.
    #[error("{what}")]
    Usage { what: String },
    /// The kernel refuses an operation on a file, folder, socket or device.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// A program that prepares something failed.
    #[error("`{program}` failed: {said}")]
    Program { program: String, said: String },
    /// The store is damaged or not a store.
    #[error("store: {0}")]
    Store(#[from] store::Error),
    /// No image has this name.
    #[error("there is no image `{name}` in the store; there is {}", known.join(", "))]
    NoImage { name: String, known: Vec<String> },
    /// The image names no program.
    #[error("the image {image} names no program: give one in `command`")]
    NoCommand { image: String },
    /// A file does not fit its declaration.
    #[error("{at}: {what}")]
    Declared { at: app::Place, what: String },
    /// A declaration asks for something that this hypervisor does not have.
    #[error("{hypervisor} has no {what}")]
    Unfit { hypervisor: &'static str, what: &'static str },
    /// The spec is too long.
    #[error("container: {0}")]
    Guest(#[from] guest::Error),
    /// A hypervisor's program did not start.
    #[error("{what} did not start: {said}")]
    NotStarted { what: &'static str, said: String },
    /// The service refuses a request.
    #[error("{0}")]
    Refused(String),
    /// The service does not answer, or not in its protocol.
    #[error("{}: no answer from vmm ({what}); see `systemctl status evek-vmm`", path.display())]
    NoAnswer { path: PathBuf, what: String },
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { action, path, source }
    }
}
