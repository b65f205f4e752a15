//! What a machine needs on disk before it starts: keys, firmware variables, the overlay, and CONFIG within it.
//!
//! ```text
//! live.raw  (never opened for writing)
//!    ▲ backing file
//! overlay.qcow2  ◄── CONFIG, made anew: authorized_keys and the caller's files, at the partition's own offset
//! ```

use crate::{
    Change, Error, Machine,
    machine::Files,
    tools::{Call, Running, Tools, Uses},
    tpm,
};
use disk::Placed;
use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};
use tree::{Entry, Tree, TreePath};
use types::Bytes;

/// Names within the machine's folder and the sockets' folder.
const CONTENT: &str = "content.img";
pub(crate) const VARIABLES: &str = "variables.fd";
pub(crate) const OVERLAY: &str = "overlay.qcow2";
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
    for name in [VARIABLES, OVERLAY, SERIAL_LOG, "qemu.log", "ssh.log", "key", "key.pub"] {
        remove(&dir.join(name))?;
    }
    let code = machine.firmware.prepare(machine.arch, tools, &dir.join(VARIABLES))?;
    let key = with_key.then(|| make_key(tools, &dir)).transpose()?;
    make_overlay(machine, tools, &disk, &dir)?;
    let overlay = Overlay { tools, disk: &disk, dir: &dir, scratch: sockets.path() };
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
    let (machine_view, sockets_view) = (Uses::machine(&dir).view(), Uses::sockets(sockets.path()).view());
    let files = Files {
        firmware: code.into(),
        variables: machine_view.join(VARIABLES),
        overlay: machine_view.join(OVERLAY),
        qmp: sockets_view.join(QMP_SOCKET),
        ssh: sockets_view.join(SSH_SOCKET),
        tpm: sockets_view.join(tpm::SOCKET),
        serial_log: machine_view.join(SERIAL_LOG),
    };
    let tpm = machine.tpm.then(|| tpm::start(tools, &dir, sockets.path())).transpose()?;
    Ok(Prepared { files, key, dir, disk, tpm, sockets })
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
    let public = dir.join("key.pub");
    let line = fs::read_to_string(&public).map_err(Error::io("read", &public))?;
    Ok(Key { private: dir.join("key"), public: line.trim().to_owned() })
}

fn make_overlay(machine: &Machine, tools: &Tools, disk: &Path, dir: &Path) -> Result<(), Error> {
    let length = fs::metadata(disk).map_err(Error::io("look at", disk))?.len();
    let size = machine.disk_size.map_or(length, |s| s.0);
    if size < length {
        let reason = format!("a disk of {size} bytes is smaller than the image, which has {length}");
        return Err(Error::Disk { disk: disk.to_owned(), reason });
    }
    let (image, folder) = (Uses::disk(disk), Uses::machine(dir));
    let (backing, overlay) = (text(image.view()), text(&folder.view().join(OVERLAY)));
    let args = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", &backing, &overlay, &size.to_string()];
    tools.run(&Call::new("qemu-img", args).uses(image).uses(folder))
}

/// The overlay of a disk, to be written to before the machine starts.
struct Overlay<'a> {
    tools: &'a Tools,
    disk: &'a Path,
    dir: &'a Path,
    scratch: &'a Path,
}

impl Overlay<'_> {
    /// Puts a CONFIG partition with these files there.
    fn config(&self, files: &[(String, Vec<u8>)]) -> Result<(), Error> {
        let place = self.partition("CONFIG")?;
        config_image(&self.scratch.join(CONTENT), place.partition.size, files)?;
        self.write(place.start, place.partition.size)
    }

    fn change(&self, change: &Change) -> Result<(), Error> {
        match change {
            Change::Content { label, file } => {
                let place = self.partition(label)?;
                let size = fs::copy(file, self.scratch.join(CONTENT)).map_err(Error::io("copy", file))?;
                if size > place.partition.size.0 {
                    return Err(self.bad(format!("{} does not fit its partition {label}", file.display())));
                }
                self.write(place.start, Bytes(size))
            }
            Change::Damage { label, at } => {
                let place = self.byte(label, *at)?;
                let mut byte = [0];
                let file = fs::File::open(self.disk).map_err(Error::io("open", self.disk))?;
                file.read_exact_at(&mut byte, place.0).map_err(Error::io("read", self.disk))?;
                self.io(&format!("write -q -P {} {} 1", byte[0] ^ 0xff, place.0))
            }
        }
    }

    /// Where a partition is.
    fn partition(&self, label: &str) -> Result<Placed, Error> {
        let file = fs::File::open(self.disk).map_err(Error::io("open", self.disk))?;
        let table = disk::gpt::read(&file).map_err(|e| self.bad(e.to_string()))?;
        table.by_label(label).cloned().ok_or_else(|| self.bad(format!("it has no partition with the label {label}")))
    }

    /// Where a byte of a partition is on the disk.
    fn byte(&self, label: &str, at: Bytes) -> Result<Bytes, Error> {
        let place = self.partition(label)?;
        if at >= place.partition.size {
            return Err(self.bad(format!("its partition {label} has no byte {}", at.0)));
        }
        Ok(place.start + at)
    }

    /// Writes the file [`CONTENT`], of this size.
    fn write(&self, at: Bytes, size: Bytes) -> Result<(), Error> {
        let file = Uses::sockets(self.scratch).view().join(CONTENT);
        self.io(&format!("write -q -s {} {at} {size}", file.display(), at = at.0, size = size.0))
    }

    fn io(&self, command: &str) -> Result<(), Error> {
        // qemu-io splits its commands at blanks and knows no quotes, so the file is not in a folder of the user's naming.
        let (folder, sockets) = (Uses::machine(self.dir), Uses::sockets(self.scratch));
        let overlay = text(&folder.view().join(OVERLAY));
        let call = Call::new("qemu-io", ["-f", "qcow2", "-c", command, &overlay]);
        self.tools.run(&call.uses(Uses::disk(self.disk)).uses(folder).uses(sockets))
    }

    fn bad(&self, reason: String) -> Error {
        Error::Disk { disk: self.disk.to_owned(), reason }
    }
}

/// Makes the FAT volume that becomes the partition.
fn config_image(image: &Path, size: Bytes, files: &[(String, Vec<u8>)]) -> Result<(), Error> {
    let bad = |problem: String| Error::Config { problem };
    let mut tree = Tree::default();
    for (path, bytes) in files {
        let path = TreePath::new(path).map_err(|e| bad(e.to_string()))?;
        tree.insert(path, Entry::file(0o644, bytes.clone())).map_err(|e| bad(e.to_string()))?;
    }
    let volume = disk::fat::Volume { size, label: "CONFIG".to_owned(), id: 0 };
    let out = fs::File::create(image).map_err(Error::io("write", image))?;
    disk::fat::write(&out, &volume, &tree).map_err(|e| bad(e.to_string()))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

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
