//! Archive folders: `<folder>/sha256/<ab>/<hex>`, inputs kept for the day that mirrors have dropped them.

use crate::Want;
use cas::Cas;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use types::Digest;

/// Why an archive folder cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// An input is not in the store; fetch it first.
    #[error("{name} ({sha256}) is not in the cache")]
    Absent {
        /// [`Want::name`]
        name: String,
        /// Its digest.
        sha256: Digest,
    },
    /// Its bytes in the store are not what its name says.
    #[error(transparent)]
    Store(#[from] cas::Error),
    /// Writing failed.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

pub(crate) fn path_in(folder: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    folder.join("sha256").join(&hex[..2]).join(hex)
}

/// Copies inputs from the store into an archive folder, each verified; a file that is there with the right digest
/// stays. The folder can then be named in `EVEK_SOURCES`.
///
/// # Errors
/// When an input is not in the store or is damaged there, or the folder cannot be written.
pub fn archive(cas: &Cas, folder: &Path, wants: &[Want]) -> Result<(), ArchiveError> {
    for want in wants {
        let path = path_in(folder, &want.sha256);
        // read in full: a damaged copy would be found only on the day that it is needed
        if cas::digest_of_file(&path).is_ok_and(|found| found == want.sha256) {
            continue;
        }
        if !cas.has(&want.sha256) {
            return Err(ArchiveError::Absent { name: want.name.clone(), sha256: want.sha256 });
        }
        cas.verify(&want.sha256)?;
        copy(&cas.path(&want.sha256), &path).map_err(|source| ArchiveError::Io { path: path.clone(), source })?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let partial = to.with_extension("partial");
    fs::create_dir_all(to.parent().expect("an archive path has a folder"))?;
    match fs::remove_file(&partial) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    fs::copy(from, &partial)?;
    fs::File::open(&partial)?.sync_data()?;
    fs::rename(&partial, to)
}
