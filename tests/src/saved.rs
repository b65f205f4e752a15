//! Machines that are up, saved once for all tests that do not judge the start.
//!
//! ```text
//! <cache>/machines/<key>/   key.json        what the machine is: image, QEMU, firmware, CONFIG, QEMU's command line
//!                           facts.json      what the guest was when it was saved
//!                           state, overlay.qcow2, variables.fd, key, …    as `vm` leaves them
//! ```
//! The folder's name is the digest of `key.json`, so a machine of another image or another QEMU is another folder. A machine
//! is saved under a temporary name first. When the machines take more than [`MOST`], those that were used the longest time ago
//! are removed.

use crate::{
    Boot, Booting,
    boot::Planned,
    builder::{cache, described},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use types::{Bytes, Digest, Hasher};
use vm::{Firmware, Guest, State, Until, Variables};

/// Room for saved machines.
const MOST: Bytes = Bytes::gib(8);
const KEY: &str = "key.json";
const FACTS: &str = "facts.json";

/// What a guest was when it was saved, and must be when it is restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The kernel's name of this boot.
    pub boot_id: String,
    /// The TPM's registers (SHA-256 bank), one a line; empty without a TPM.
    pub registers: String,
    /// Services by name, with the time since the start at which each was started.
    pub services: String,
}

impl Facts {
    /// Asks a guest.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn of(guest: &mut Guest) -> Result<Self, vm::Error> {
        Ok(Self {
            boot_id: guest.sh("cat /proc/sys/kernel/random/boot_id")?,
            registers: guest.sh("cat /sys/class/tpm/tpm0/pcr-sha256/* 2>/dev/null || true")?,
            services: guest.sh(
                "systemctl list-units --type=service --state=running --plain --no-legend --no-pager | cut -d' ' -f1 \
                 | grep -v evek-ssh | xargs systemctl show -p Id,ExecMainStartTimestampMonotonic",
            )?,
        })
    }

    /// What was noted of the machine that a guest was restored from.
    ///
    /// # Panics
    /// When the guest was not restored.
    #[must_use]
    pub fn noted(booting: &Booting) -> Self {
        let folder = booting.saved.as_ref().unwrap_or_else(|| panic!("this guest was not restored"));
        read(&folder.join(FACTS))
    }
}

/// A machine that is up: restored, and saved first where no test has done so yet. Its clock is the host's. Its serial console
/// has said nothing so far.
///
/// # Panics
/// When the machine does not come up, or cannot be saved or restored; and for options of a machine that is not new.
#[must_use]
pub fn restored(options: Boot) -> Booting {
    let new = options.state == State::Fresh && options.changes.is_empty() && options.disk.is_none();
    assert!(new && options.with_ssh, "only a new machine of an image, with ssh, can be restored");
    let mut planned = Planned::of(options);
    let key = serde_json::to_string_pretty(&key(&planned)).unwrap_or_else(|e| panic!("{e}"));
    let machines = cache().join("machines");
    let folder = machines.join(Digest::of(key.as_bytes()).hex());
    if !folder.join(KEY).is_file() {
        save(&planned, &key, &machines, &folder).unwrap_or_else(|e| panic!("cannot save a machine: {e}"));
    }
    used(&folder);
    planned.machine.state = State::Saved { from: folder.clone() };
    let mut booting = planned.start();
    let limit = booting.limit(10);
    booting.guest.wait_for(Until::Ssh, limit).unwrap_or_else(|e| panic!("{e}"));
    booting.guest.set_clock(limit).unwrap_or_else(|e| panic!("{e}"));
    booting.saved = Some(folder);
    booting
}

/// Everything that a saved machine depends on.
fn key(planned: &Planned) -> BTreeMap<&'static str, String> {
    let machine = &planned.machine;
    let mut config = Hasher::default();
    for (path, bytes) in &machine.config {
        config.update(format!("{path}\0{}\0", bytes.len()).as_bytes());
        config.update(bytes);
    }
    let digest = |path: &Path| digest(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
    let programs = planned.tools.files(machine.arch, &machine.firmware);
    let programs: Vec<_> = programs.iter().map(|path| digest(path).hex()).collect();
    let variables = match &machine.firmware {
        Firmware::SecureBoot(Variables::Left(path)) => digest(path).hex(),
        other => format!("{other:?}"),
    };
    [
        ("image", digest(&planned.image.join("image.json")).hex()),
        ("version", described(&planned.image).version),
        ("config", config.finish().hex()),
        ("disk", machine.disk_size.map_or(0, |size| size.0).to_string()),
        ("programs", programs.join(" ")),
        ("variables", variables),
        ("qemu", machine.kind(planned.accel)),
    ]
    .into()
}

/// Starts a machine, waits until it is up, and saves it.
fn save(planned: &Planned, key: &str, machines: &Path, folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    fs::create_dir_all(machines)?;
    make_room(machines, MOST)?;
    let temporary = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(machines)?;
    let mut own = planned.machine.clone();
    own.dir = temporary.path().to_owned();
    // whatever the first test wants of a reset, one during the start is a fault
    own.reboots = false;
    own.records = false;
    for name in named_files(&own.extra) {
        fs::copy(planned.machine.dir.join(name), temporary.path().join(name))?;
    }
    let mut booting = planned.with(own).start();
    let limit = booting.limit(120);
    booting.guest.wait_for(Until::Ssh, limit)?;
    let state = booting.guest.ssh_within("systemctl is-system-running --wait", &[], limit)?;
    if state.stdout.trim() != "running" {
        let failed = booting.guest.sh("systemctl --failed --plain --no-legend; systemctl list-jobs --no-legend")?;
        return Err(format!("the machine is {}: {failed}", state.stdout.trim()).into());
    }
    booting.guest.sh("sync")?;
    let facts = serde_json::to_string_pretty(&Facts::of(&mut booting.guest)?)?;
    booting.guest.save(limit)?;
    fs::write(temporary.path().join(FACTS), facts)?;
    // the last, and the one that is looked for
    fs::write(temporary.path().join(KEY), key)?;
    match fs::rename(temporary.path(), folder) {
        // another test has saved the same one meanwhile
        Err(e) if !folder.join(KEY).is_file() => Err(e.into()),
        _ => Ok(()),
    }
}

/// The files in the machine's folder that QEMU's arguments name: a test has written them there, such as the image of a stick.
fn named_files(args: &[String]) -> impl Iterator<Item = &str> {
    let place = |arg: &str| arg.find(FOLDER).map(|at| at + FOLDER.len());
    args.iter().filter_map(move |arg| arg[place(arg)?..].split(',').next())
}

/// The machine's folder, as QEMU sees it.
const FOLDER: &str = "/vm/machine/";

/// How folders of machines that are not saved yet begin.
const TEMPORARY: &str = ".new-";

/// Notes that a machine was used now.
fn used(folder: &Path) {
    let touched = File::options().append(true).open(folder.join(KEY)).and_then(|f| f.set_modified(SystemTime::now()));
    // it only decides which machine is removed first
    let _ = touched;
}

/// Removes machines that were used the longest time ago, until all take less than `most`; and what was left half done a day ago.
fn make_room(machines: &Path, most: Bytes) -> io::Result<()> {
    let mut found = Vec::new();
    for item in fs::read_dir(machines)? {
        let folder = item?.path();
        let key = fs::metadata(folder.join(KEY)).and_then(|about| about.modified());
        let half_done = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY));
        match key {
            Ok(used) => found.push((used, size(&folder)?, folder)),
            Err(_) if half_done && fs::metadata(&folder)?.modified()?.elapsed().unwrap_or_default() > DAY => {
                fs::remove_dir_all(&folder)?;
            }
            Err(_) => {}
        }
    }
    found.sort();
    let mut all: u64 = found.iter().map(|(_, size, _)| size).sum();
    for (_, size, folder) in found {
        if all <= most.0 {
            break;
        }
        fs::remove_dir_all(&folder)?;
        all -= size;
    }
    Ok(())
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes on the disk.
fn size(folder: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut sum = 0;
    for item in fs::read_dir(folder)? {
        let about = item?.metadata()?;
        sum += about.blocks() * 512;
    }
    Ok(sum)
}

fn digest(path: &Path) -> io::Result<Digest> {
    let mut to = types::DigestWriter::new(io::sink());
    io::copy(&mut File::open(path)?, &mut to)?;
    Ok(to.finish().1)
}

fn read<T: serde::de::DeserializeOwned>(path: &PathBuf) -> T {
    let text = fs::read(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_machine_are_those_that_its_arguments_name() {
        let args = ["-device", "usb", "-drive", "if=none,file=/vm/machine/stick.img,format=raw", "file=/vm/disk.raw"];
        assert_eq!(named_files(&args.map(str::to_owned)).collect::<Vec<_>>(), ["stick.img"]);
    }

    fn machine(machines: &Path, name: &str, age: u64) {
        let folder = machines.join(name);
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("state"), vec![1; 100_000]).expect("a state");
        fs::write(folder.join(KEY), "{}").expect("a key");
        let used = SystemTime::now() - Duration::from_secs(age);
        File::options().append(true).open(folder.join(KEY)).and_then(|f| f.set_modified(used)).expect("a time");
    }

    #[test]
    fn the_machine_that_was_used_the_longest_time_ago_is_removed_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let machines = folder.path();
        for (name, age) in [("old", 300), ("oldest", 400), ("new", 0)] {
            machine(machines, name, age);
        }
        fs::create_dir(machines.join(".new-1")).expect("one that is being saved");
        let left = |most| {
            make_room(machines, Bytes(most)).expect("room");
            let mut names: Vec<_> =
                fs::read_dir(machines).expect("them").map(|f| f.expect("one").file_name().into_string()).collect();
            names.sort();
            names.into_iter().map(|name| name.expect("a name")).collect::<Vec<_>>()
        };
        assert_eq!(left(1_000_000), [".new-1", "new", "old", "oldest"]);
        assert_eq!(left(250_000), [".new-1", "new", "old"]);
        used(&machines.join("old"));
        machine(machines, "other", 10);
        assert_eq!(left(250_000), [".new-1", "new", "old"]);
    }
}
