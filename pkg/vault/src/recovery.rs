//! The recovery key: it opens P3 anywhere. One is kept on P3 itself, where only someone who is in already can read it.

use crate::{error::Error, file, header::Header, places::Places, seal::wipe};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub(crate) fn path(places: &Places) -> PathBuf {
    places.state.join("recovery-key")
}

/// What unlocks P3, so that it can be given another key.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Unlock<'a> {
    Tpm,
    Key(&'a Path),
}

/// The key that is kept.
pub(crate) fn kept(places: &Places) -> Result<String, Error> {
    let path = path(places);
    match fs::read_to_string(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::NoneKept { path }),
        other => other.map_err(Error::io("read", &path)),
    }
}

/// Gives P3 another recovery key, and keeps it. Until it is kept, nobody knows it, and nothing is wiped for it.
pub(crate) fn add(places: &Places, unlock: Unlock) -> Result<String, Error> {
    let unlock = match unlock {
        Unlock::Tpm => "--unlock-tpm2-device=auto".to_owned(),
        Unlock::Key(path) => format!("--unlock-key-file={}", path.display()),
    };
    let tool = places.tool("systemd-cryptenroll").arg(unlock).arg("--recovery-key");
    let key = tool.arg(&places.partition).run()?;
    if key.is_empty() {
        return Err(Error::NoKeyPrinted { path: places.partition.clone() });
    }
    file::private_folder(&places.state)?;
    // without the end of the line: the tools take a file as it is
    file::replace(&path(places), key.as_bytes())?;
    Ok(key)
}

/// `vault recovery-key --new`: keeps another key, and then wipes those before it.
pub(crate) fn renew(places: &Places) -> Result<String, Error> {
    kept(places)?;
    let before = Header::read(places)?;
    let old = path(places);
    let key = add(places, Unlock::Key(&old))?;
    wipe(places, &before.recovery_slots())?;
    Ok(key)
}
