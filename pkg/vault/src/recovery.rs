//! The recovery key: it opens P3 in any machine. A copy lies on P3 itself, in a folder of mode 0700 that no service mounts (the
//! builder refuses such a mount: `crates/defs`).

use crate::{error::Error, file, header::Header, paths::Paths, seal::wipe};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub(crate) fn path(paths: &Paths) -> PathBuf {
    paths.state.join("recovery-key")
}

/// The way to unlock P3, to add another key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unlock<'a> {
    Tpm,
    Key(&'a Path),
}

/// Whether a recovery key is kept.
pub(crate) fn is_kept(paths: &Paths) -> Result<bool, Error> {
    let path = path(paths);
    path.try_exists().map_err(Error::io("look for", path))
}

/// The key that is kept.
pub(crate) fn kept(paths: &Paths) -> Result<String, Error> {
    let path = path(paths);
    match fs::read_to_string(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::NoneKept { path }),
        other => other.map_err(Error::io("read", &path)),
    }
}

/// Adds a recovery key to P3, and keeps it. Until the key is kept, nobody has it, and no other key is wiped for it.
pub(crate) fn add(paths: &Paths, unlock: Unlock) -> Result<String, Error> {
    let unlock = match unlock {
        Unlock::Tpm => "--unlock-tpm2-device=auto".to_owned(),
        Unlock::Key(path) => format!("--unlock-key-file={}", path.display()),
    };
    let tool = paths.tool("systemd-cryptenroll").arg(unlock).arg("--recovery-key");
    let key = tool.arg(&paths.partition).run()?;
    if key.is_empty() {
        return Err(Error::NoKeyPrinted { path: paths.partition.clone() });
    }
    file::private_folder(&paths.state)?;
    // without the end of the line: the tools take a file as it is
    file::replace(&path(paths), key.as_bytes())?;
    Ok(key)
}

/// `vault recovery-key --new`: adds a recovery key, and then wipes the older ones.
pub(crate) fn renew(paths: &Paths) -> Result<String, Error> {
    kept(paths)?;
    let before = Header::read(paths)?;
    let old = path(paths);
    let key = add(paths, Unlock::Key(&old))?;
    wipe(paths, &before.recovery_slots())?;
    Ok(key)
}
