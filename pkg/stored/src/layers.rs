//! Layers of the store, mounted.

use crate::error::Error;
use rustix::{
    fs::{CWD, StatVfsMountFlags, statvfs},
    mount::{MountFlags, mount},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use store::Layer;

/// Gives access to a layer's files.
pub(crate) trait Layers: Send + Sync + 'static {
    /// The folder with the layer's files; mounted on first use.
    fn folder(&self, layer: &Layer) -> Result<PathBuf, Error>;
}

/// Mounts EROFS blobs straight from their files, which Linux can since 6.12 (`CONFIG_EROFS_FS_BACKED_BY_FILE`): no loop
/// device.
pub(crate) struct Erofs {
    store: PathBuf,
    layers: PathBuf,
}

impl Erofs {
    pub(crate) const fn new(store: PathBuf, layers: PathBuf) -> Self {
        Self { store, layers }
    }
}

impl Layers for Erofs {
    fn folder(&self, layer: &Layer) -> Result<PathBuf, Error> {
        let hex = layer.blob.hex();
        let folder = self.layers.join(&hex);
        if is_mounted(&folder)? {
            return Ok(folder);
        }
        fs::create_dir_all(&folder).map_err(|source| Error::Io { action: "create", path: folder.clone(), source })?;
        let blob = self.store.join("blobs/sha256").join(&hex);
        mount(&blob, &folder, "erofs", MountFlags::RDONLY | MountFlags::NODEV, None::<&std::ffi::CStr>)
            .map_err(|e| Error::Io { action: "mount the layer", path: blob, source: e.into() })?;
        Ok(folder)
    }
}

/// Whether something is mounted there: its device differs from its parent's.
fn is_mounted(folder: &Path) -> Result<bool, Error> {
    let device = |path: &Path| rustix::fs::statat(CWD, path, rustix::fs::AtFlags::empty()).map(|s| s.st_dev);
    let failed = |e: rustix::io::Errno| Error::Io { action: "look at", path: folder.to_owned(), source: e.into() };
    let own = match device(folder) {
        Ok(device) => device,
        Err(rustix::io::Errno::NOENT) => return Ok(false),
        Err(e) => return Err(failed(e)),
    };
    let parent = folder.parent().ok_or_else(|| failed(rustix::io::Errno::INVAL))?;
    if own == device(parent).map_err(failed)? {
        return Ok(false);
    }
    let flags = statvfs(folder).map_err(failed)?.f_flag;
    if flags.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    let source = io::Error::new(io::ErrorKind::InvalidData, "something writable is mounted there");
    Err(Error::Io { action: "use", path: folder.to_owned(), source })
}
