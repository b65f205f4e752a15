//! The errors of the agent, as one type, because every command ends by printing one.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// Why a command of the agent failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The system refused an action.
    #[error("cannot {what} {}: {error}", path.display())]
    Io {
        /// The action, such as `write`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// A program failed.
    #[error("`{program}` failed: {text}")]
    Program {
        /// The command line.
        program: String,
        /// Its output.
        text: String,
    },
    /// Malformed input.
    #[error("cannot understand {from}: {error}")]
    Format {
        /// The file, command or address of the input.
        from: String,
        /// The parser's error.
        error: String,
    },
    /// A request to the Kubernetes API failed.
    #[error("Kubernetes API {path}: {text}")]
    Api {
        /// The path of the request.
        path: String,
        /// The failure.
        text: String,
    },
    /// An add-on names an image that the store lacks.
    #[error("the add-on {manifest} needs the image {image}, which is not in the store: add its package to the flavour")]
    Image {
        /// The manifest's file name.
        manifest: String,
        /// The image's name without a tag.
        image: String,
    },
    /// The node is up but not ready yet.
    #[error("not ready: {0}")]
    NotReady(String),
}

impl Error {
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>, error: io::Error) -> Self {
        Self::Io { what, path: path.into(), error }
    }

    pub(crate) fn format(from: impl Into<String>, error: impl ToString) -> Self {
        Self::Format { from: from.into(), error: error.to_string() }
    }
}

/// Writes a file if its content differs. A reader sees either the old content or the new. Returns whether it differed.
pub(crate) fn replace(path: &Path, content: &str) -> Result<bool, Error> {
    if fs::read(path).is_ok_and(|old| old == content.as_bytes()) {
        return Ok(false);
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(|error| Error::io("make the folder", folder, error))?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let fresh = path.with_file_name(name);
    let mut file = fs::File::create(&fresh).map_err(|error| Error::io("write", &fresh, error))?;
    file.write_all(content.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&fresh, path))
        .and_then(|()| fs::File::open(folder)?.sync_all())
        .map_err(|error| Error::io("write", path, error))?;
    Ok(true)
}

pub(crate) fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| Error::io("read", path, error))
}
