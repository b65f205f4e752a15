//! What a machine needs on disk before it starts: keys, firmware variables, the overlay, and CONFIG within it.
//!
//! ```text
//! live.raw  (never opened for writing)
//!    ▲ backing file
//! overlay.qcow2  ◄── CONFIG, made anew: authorized_keys and the caller's files, at the partition's own offset
//!    │ copy, where writes are noted
//! before.qcow2
//! ```
//! ```text
//! live.raw ◄── overlay.qcow2 of a saved machine ◄── overlay.qcow2        [`State::Saved`]
//! ```
//! The first figure is a machine of [`State::Fresh`]; the others take over from an earlier one, by the files in its folder.

mod overlay;

use crate::{
    Error, Machine, State,
    machine::Files,
    tools::{Call, Running, Tools, Uses},
    tpm,
};
use overlay::{Overlay, make_overlay};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Names within the machine's folder and the sockets' folder.
pub(crate) const VARIABLES: &str = "variables.fd";
pub(crate) const OVERLAY: &str = "overlay.qcow2";
pub(crate) const BEFORE: &str = "before.qcow2";
pub(crate) const WRITES: &str = "writes.log";
/// What a saved machine has beside them: QEMU's state and, for people and for the restore, its processors' registers.
pub(crate) const STATE: &str = "state";
pub(crate) const REGISTERS: &str = "registers.txt";
/// Names the saved machine that the overlay goes on from.
const SAVED: &str = "saved";
const KEY: [&str; 2] = ["key", "key.pub"];
pub(crate) const SERIAL_LOG: &str = "serial.log";
pub(crate) const QMP_SOCKET: &str = "qmp";
pub(crate) const SSH_SOCKET: &str = "ssh";

/// A throw-away key pair for one machine.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    /// The private key's file.
    pub(crate) private: PathBuf,
    /// The line for `authorized_keys`.
    pub(crate) public: String,
}

/// Everything prepared.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// As QEMU sees them.
    pub(crate) files: Files,
    pub(crate) key: Option<Key>,
    /// The machine's folder, absolute.
    pub(crate) dir: PathBuf,
    /// The disk image, absolute.
    pub(crate) disk: PathBuf,
    /// The folder of a saved machine whose overlay is below this one's.
    pub(crate) saved: Option<PathBuf>,
    /// The TPM, where there is one.
    #[allow(dead_code, reason = "it runs as long as this is here")]
    pub(crate) tpm: Option<Running>,
    /// Sockets live in a folder of their own with a short name: a socket's path has at most 107 bytes (unix(7)).
    pub(crate) sockets: tempfile::TempDir,
}

/// Makes the machine's folder ready. Files of an earlier run in it are replaced.
pub(crate) fn prepare(machine: &Machine, tools: &Tools, with_key: bool) -> Result<Prepared, Error> {
    fs::create_dir_all(&machine.dir).map_err(Error::io("make folder", &machine.dir))?;
    let dir = fs::canonicalize(&machine.dir).map_err(Error::io("find", &machine.dir))?;
    let disk = fs::canonicalize(&machine.disk).map_err(Error::io("find disk image", &machine.disk))?;
    let sockets = tempfile::Builder::new()
        .prefix("evek-vm-")
        .tempdir()
        .map_err(Error::io("make a folder in", &std::env::temp_dir()))?;
    for name in [SERIAL_LOG, "qemu.log", "ssh.log"] {
        remove(&dir.join(name))?;
    }
    let code = machine.firmware.code(machine.arch);
    let key = match &machine.state {
        State::Fresh => fresh(machine, tools, with_key, &dir, &disk, sockets.path())?,
        State::Kept => {
            let overlay = dir.join(OVERLAY);
            if !overlay.is_file() {
                return Err(left_nothing(&overlay, "was it started with `keeps`?"));
            }
            with_key.then(|| kept_key(&dir)).transpose()?
        }
        State::Given { from } => {
            take_over(machine, &folder(from)?, &dir)?;
            make_overlay(machine, tools, &disk, &dir)?;
            with_key.then(|| kept_key(&dir)).transpose()?
        }
        State::Saved { from } => {
            go_on(tools, &folder(from)?, &disk, &dir)?;
            with_key.then(|| kept_key(&dir)).transpose()?
        }
    };
    let saved = fs::read_to_string(dir.join(SAVED)).ok().map(PathBuf::from);
    if machine.records {
        let (overlay, before, log) = (dir.join(OVERLAY), dir.join(BEFORE), dir.join(WRITES));
        fs::copy(&overlay, &before).map_err(Error::io("copy the disk to", &before))?;
        fs::write(&log, []).map_err(Error::io("write", &log))?;
    }
    let (machine_view, sockets_view) = (Uses::machine(&dir).view(), Uses::sockets(sockets.path()).view());
    let files = Files {
        firmware: code.into(),
        variables: machine_view.join(VARIABLES),
        overlay: machine_view.join(OVERLAY),
        writes: machine_view.join(WRITES),
        qmp: sockets_view.join(QMP_SOCKET),
        ssh: sockets_view.join(SSH_SOCKET),
        tpm: sockets_view.join(tpm::SOCKET),
        serial_log: machine_view.join(SERIAL_LOG),
    };
    let tpm = machine.tpm.then(|| tpm::start(tools, &dir, sockets.path())).transpose()?;
    Ok(Prepared { files, key, dir, disk, saved, tpm, sockets })
}

/// A machine that has been through nothing. Files of an earlier one are gone.
fn fresh(
    machine: &Machine,
    tools: &Tools,
    with_key: bool,
    dir: &Path,
    disk: &Path,
    scratch: &Path,
) -> Result<Option<Key>, Error> {
    forget(dir)?;
    machine.firmware.prepare(machine.arch, tools, &dir.join(VARIABLES))?;
    let key = with_key.then(|| make_key(tools, dir)).transpose()?;
    make_overlay(machine, tools, disk, dir)?;
    let overlay = Overlay { tools, disk, dir, scratch };
    for change in &machine.changes {
        overlay.change(change)?;
    }
    let mut config = machine.config.clone();
    if let Some(key) = &key {
        add_key(&mut config, &key.public);
    }
    if !config.is_empty() {
        overlay.config(&config)?;
    }
    Ok(key)
}

/// Removes what an earlier machine has left.
fn forget(dir: &Path) -> Result<(), Error> {
    for name in [VARIABLES, OVERLAY, BEFORE, WRITES, STATE, REGISTERS, SAVED].iter().chain(&KEY) {
        remove(&dir.join(name))?;
    }
    tpm::forget(dir)
}

/// Copies what another machine has left, except for its disk.
fn take_over(machine: &Machine, from: &Path, dir: &Path) -> Result<(), Error> {
    if from == dir {
        return Err(left_nothing(dir, "a machine that is given another's state has a folder of its own"));
    }
    forget(dir)?;
    let copy = |name: &str| {
        let file = from.join(name);
        fs::copy(&file, dir.join(name)).map_err(Error::io("take over", &file))
    };
    copy(VARIABLES)?;
    for name in KEY.iter().filter(|name| from.join(name).exists()) {
        copy(name)?;
    }
    if machine.tpm { tpm::copy(from, dir) } else { Ok(()) }
}

/// Makes ready what goes on from a saved machine. Its TPM comes with QEMU's state.
fn go_on(tools: &Tools, from: &Path, disk: &Path, dir: &Path) -> Result<(), Error> {
    if from == dir {
        return Err(left_nothing(dir, "a machine that goes on from a saved one has a folder of its own"));
    }
    if !from.join(STATE).is_file() {
        return Err(left_nothing(&from.join(STATE), "no machine was saved there"));
    }
    forget(dir)?;
    for name in [VARIABLES].iter().chain(KEY.iter().filter(|name| from.join(name).exists())) {
        let file = from.join(name);
        fs::copy(&file, dir.join(name)).map_err(Error::io("take over", &file))?;
    }
    let note = dir.join(SAVED);
    fs::write(&note, text(from)).map_err(Error::io("write", &note))?;
    let (image, folder, saved) = (Uses::disk(disk), Uses::machine(dir), Uses::saved(from));
    let (backing, overlay) = (text(&saved.view().join(OVERLAY)), text(&folder.view().join(OVERLAY)));
    let args = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", &backing, &overlay];
    tools.run(&Call::new("qemu-img", args).uses(image).uses(folder).uses(saved))
}

fn folder(path: &Path) -> Result<PathBuf, Error> {
    fs::canonicalize(path).map_err(Error::io("find the folder of an earlier machine,", path))
}

fn left_nothing(path: &Path, reason: &str) -> Error {
    Error::Left { path: path.to_owned(), reason: reason.to_owned() }
}

/// Adds a key to those that the caller brings.
fn add_key(config: &mut Vec<(String, Vec<u8>)>, key: &str) {
    let line = format!("{key}\n").into_bytes();
    match config.iter_mut().find(|(path, _)| path == "authorized_keys") {
        Some((_, keys)) => {
            if keys.last().is_some_and(|&b| b != b'\n') {
                keys.push(b'\n');
            }
            keys.extend(line);
        }
        None => config.push(("authorized_keys".to_owned(), line)),
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

fn make_key(tools: &Tools, dir: &Path) -> Result<Key, Error> {
    let file = text(&Uses::machine(dir).view().join("key"));
    let args = ["-q", "-t", "ed25519", "-N", "", "-C", "evek-vm", "-f", &file];
    tools.run(&Call::new("ssh-keygen", args).uses(Uses::machine(dir)))?;
    kept_key(dir)
}

/// The key that is in a folder.
fn kept_key(dir: &Path) -> Result<Key, Error> {
    let public = dir.join("key.pub");
    let line = fs::read_to_string(&public).map_err(Error::io("read", &public))?;
    Ok(Key { private: dir.join("key"), public: line.trim().to_owned() })
}

pub(crate) fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::machine::example;

    /// Why a machine cannot be made ready; before any program is started.
    fn refused(machine: &Machine) -> String {
        prepare(machine, &Tools::Host { entry: None }, true).unwrap_err().to_string()
    }

    fn folder_with(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        files.iter().for_each(|name| fs::write(folder.path().join(name), name).unwrap());
        folder
    }

    #[test]
    fn nothing_goes_on_from_where_no_machine_was() {
        let folder = folder_with(&["live.raw"]);
        let dir = fs::canonicalize(folder.path()).unwrap();
        let machine = |state| Machine { state, dir: dir.clone(), disk: dir.join("live.raw"), ..example() };
        let expected =
            format!("no machine can go on from {}: was it started with `keeps`?", dir.join(OVERLAY).display());
        assert_eq!(refused(&machine(State::Kept)), expected);
        let same = refused(&machine(State::Given { from: dir.clone() }));
        assert!(same.starts_with(&format!("no machine can go on from {}: a machine that", dir.display())), "{same}");
        let missing = refused(&machine(State::Given { from: dir.join("gone") }));
        assert!(missing.contains("find the folder of an earlier machine") && missing.contains("gone"), "{missing}");
        let other = folder_with(&[OVERLAY]);
        let unsaved = refused(&machine(State::Saved { from: other.path().to_owned() }));
        assert!(unsaved.contains(STATE) && unsaved.ends_with("no machine was saved there"), "{unsaved}");
        let same = refused(&machine(State::Saved { from: dir.clone() }));
        assert!(same.contains("a folder of its own"), "{same}");
    }

    #[test]
    fn a_given_machine_has_the_key_variables_and_tpm_of_the_other_and_nothing_else() {
        let from = folder_with(&[VARIABLES, OVERLAY, "key", "key.pub", SERIAL_LOG]);
        fs::create_dir(from.path().join("tpm")).unwrap();
        fs::write(from.path().join("tpm/state"), "sealed").unwrap();
        let to = folder_with(&[OVERLAY, WRITES, BEFORE, "live.raw"]);
        take_over(&Machine { tpm: true, ..example() }, from.path(), to.path()).unwrap();
        let mut names: Vec<_> = fs::read_dir(to.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["key", "key.pub", "live.raw", "tpm", VARIABLES]);
        assert_eq!(fs::read(to.path().join("tpm/state")).unwrap(), b"sealed");
        take_over(&example(), from.path(), to.path()).unwrap();
        assert!(!to.path().join("tpm").exists());
    }

    #[test]
    fn our_key_stands_beside_those_of_the_user() {
        let mut config = vec![("server".to_owned(), b"x".to_vec())];
        add_key(&mut config, "ssh-ed25519 ours");
        assert_eq!(config[1], ("authorized_keys".to_owned(), b"ssh-ed25519 ours\n".to_vec()));
        let mut config = vec![("authorized_keys".to_owned(), b"ssh-ed25519 theirs".to_vec())];
        add_key(&mut config, "ssh-ed25519 ours");
        assert_eq!(config, [("authorized_keys".to_owned(), b"ssh-ed25519 theirs\nssh-ed25519 ours\n".to_vec())]);
    }
}
