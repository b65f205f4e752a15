//! Volumes of containers: files with an ext4.
//!
//! vmm makes the file and its ext4. The guest's own kernel mounts and grows the ext4 later, so that no program on the device
//! reads a file system that a guest has written.

use crate::{
    disk,
    error::Error,
    files::{self, empty, grow, program, size_text},
    identity::Key,
};
use app::Volume;
use guest::{Content, PROBED, Uuid};
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// A volume as it is declared: its file, and the UUID of its ext4.
pub(crate) fn ready(app: &str, volume: &Volume, state: &Path, key: &Key) -> Result<(Uuid, PathBuf), Error> {
    let path = state.join(format!("{}.ext4", volume.name));
    let size = &volume.size;
    match std::fs::metadata(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => files::replace(&path, |fresh| {
            empty(fresh, size.0)?;
            let uuid = Uuid(key.derive(&format!("volume {app} {}", volume.name))).to_string();
            program("mke2fs", &["-q", "-t", "ext4", "-m", "0", "-U", &uuid, &fresh.display().to_string()])
        })?,
        Err(e) => return Err(Error::io("read", &path)(e)),
        Ok(meta) if meta.len() > size.0 => return Err(disk::smaller("volume", &volume.name, meta.len(), size)),
        Ok(meta) if meta.len() < size.0 => {
            eprintln!("{app}: volume {} grows from {} to {}", volume.name, size_text(meta.len()), size_text(size.0));
            grow(&path, size.0)?;
        }
        Ok(_) => {}
    }
    match content(&path)? {
        Content::Ext4(uuid) => Ok((uuid, path)),
        _ => {
            let source = io::Error::new(io::ErrorKind::InvalidData, "it is no ext4");
            Err(Error::io("use the volume", &path)(source))
        }
    }
}

/// What the first bytes of a file are.
pub(crate) fn content(path: &Path) -> Result<Content, Error> {
    let head = File::open(path).and_then(|file| files::head(&file, PROBED));
    Ok(Content::of(&head.map_err(Error::io("read", path))?))
}
