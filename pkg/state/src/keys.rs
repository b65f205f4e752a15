//! `state ssh`: who may log in, and the key by which clients know the device.
//!
//! ```text
//! /config/authorized_keys ─────────────► /run/evek/authorized_keys    CONFIG is vfat; sshd wants a file that only root can write
//!   └─► /persist/ssh/authorized_keys ──► the same, when CONFIG is broken
//! /persist/ssh/ssh_host_ed25519_key ───► /run/evek/ssh/               one place for sshd, wherever the key is kept
//! ```
//! A CONFIG without the file closes ssh, and P3's copy goes too: that is the owner's decision. Only where CONFIG or the
//! file cannot be read, P3's copy is used. P3 is at least as hard to change as CONFIG, which is in clear text.

use crate::{error::Error, paths::Paths};
use device::{
    durable,
    standing::{Part, Standing},
};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const AUTHORIZED: &str = "authorized_keys";
const HOST_KEY: &str = "ssh_host_ed25519_key";

/// Prepares both; no host key where nobody may log in.
pub(crate) fn prepare(paths: &Paths) -> Result<(), Error> {
    let used = paths.run.join(AUTHORIZED);
    match authorized(paths) {
        Some(keys) => durable::write(&used, &keys, 0o600)?,
        None => return Ok(durable::forget(&used)?),
    }
    host_key(paths)
}

/// The keys of those who may log in; `None` for nobody.
fn authorized(paths: &Paths) -> Option<Vec<u8>> {
    let (from, copy) = (paths.config.join(AUTHORIZED), paths.persist.join("ssh").join(AUTHORIZED));
    let standing = Standing::read(&paths.run, Part::Config).unwrap_or_else(|e| {
        eprintln!("{e}");
        Standing::Kept
    });
    let broken = match (standing, fs::read(&from)) {
        (Standing::Kept, Ok(keys)) if !keys.trim_ascii().is_empty() => {
            keep_copy(&copy, &keys);
            return Some(keys);
        }
        (Standing::Kept, Err(e)) if e.kind() != io::ErrorKind::NotFound => {
            format!("cannot read {}: {e}", from.display())
        }
        (Standing::Kept, _) => {
            // the owner has closed ssh
            durable::forget(&copy).unwrap_or_else(|e| eprintln!("{e}"));
            return None;
        }
        (Standing::Temporary { reason }, _) => format!("CONFIG cannot be used: {reason}"),
    };
    let keys = fs::read(&copy).ok().filter(|keys| !keys.trim_ascii().is_empty());
    let use_of_it = if keys.is_some() { "ssh accepts the keys of" } else { "ssh is closed: there is no" };
    eprintln!("{broken}; {use_of_it} {}", copy.display());
    keys
}

/// A P3 that takes nothing has the copy of an earlier start, or none.
fn keep_copy(copy: &Path, keys: &[u8]) {
    if fs::read(copy).is_ok_and(|kept| kept == keys) {
        return;
    }
    let folder = copy.parent().map_or(Ok(()), |folder| durable::folder(folder, 0o700));
    folder
        .and_then(|()| durable::write(copy, keys, 0o600))
        .unwrap_or_else(|e| eprintln!("no copy of {AUTHORIZED}: {e}"));
}

fn host_key(paths: &Paths) -> Result<(), Error> {
    let used = paths.run.join("ssh").join(HOST_KEY);
    folder_of(&used)?;
    let kept = paths.persist.join("ssh").join(HOST_KEY);
    match kept_key(paths, &kept) {
        Ok(key) => return Ok(durable::write(&used, &key, 0o600)?),
        Err(e) => {
            eprintln!("P3 keeps no host key of ssh ({e}): the key of this start is another, and clients warn of it")
        }
    }
    if is_good(paths, &used) { Ok(()) } else { make(paths, &used) }
}

/// The key on P3, which is made anew where it is missing or damaged.
fn kept_key(paths: &Paths, kept: &Path) -> Result<Vec<u8>, Error> {
    if !is_good(paths, kept) {
        if kept.exists() {
            eprintln!("{} is damaged and made anew: clients will warn of another host key", kept.display());
        }
        folder_of(kept)?;
        make(paths, kept)?;
    }
    fs::read(kept).map_err(Error::io("read", kept))
}

/// Whether sshd can use a key: a power cut or a disk without space may have left a part of one.
fn is_good(paths: &Paths, key: &Path) -> bool {
    // a mode that others can read is refused as well
    let own = fs::set_permissions(key, fs::Permissions::from_mode(0o600));
    own.is_ok() && keygen(paths, &["-y", "-P", "", "-f"], key).is_ok()
}

/// Makes a key under another name, and gives it the final one when it is whole and on the disk.
fn make(paths: &Paths, key: &Path) -> Result<(), Error> {
    let new = key.with_file_name(format!(".{HOST_KEY}.new"));
    let (public, new_public) = (with_pub(key), with_pub(&new));
    let forget = || durable::forget(&new).and_then(|()| durable::forget(&new_public));
    forget()?;
    let made = keygen(paths, &["-q", "-t", "ed25519", "-N", "", "-C", "evek", "-f"], &new).and_then(|()| {
        keygen(paths, &["-y", "-P", "", "-f"], &new)?;
        durable::adopt(&new_public, &public)?;
        Ok(durable::adopt(&new, key)?)
    });
    if made.is_err() {
        // the error of the key is the one to report
        let _ = forget();
    }
    made
}

fn with_pub(key: &Path) -> PathBuf {
    let mut name = key.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

fn folder_of(key: &Path) -> Result<(), Error> {
    Ok(key.parent().map_or(Ok(()), |folder| durable::folder(folder, 0o700))?)
}

fn keygen(paths: &Paths, options: &[&str], key: &Path) -> Result<(), Error> {
    let program = "ssh-keygen";
    let mut command = Command::new(paths.program(program));
    // it would ask whether to replace a file
    let output = command.args(options).arg(key).stdin(Stdio::null()).output().map_err(Error::io("run", program))?;
    if output.status.success() {
        return Ok(());
    }
    let talk = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let problem = if talk.is_empty() { output.status.to_string() } else { talk };
    Err(Error::Program { program: format!("{program} for {}", key.display()), problem })
}

#[cfg(test)]
#[path = "keys_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
