//! `vault make`: has systemd-repart make the partitions that an image leaves out, P3 as this machine and its owner want it.

use crate::{
    config::{Config, WithoutTpm},
    error::Error,
    file, measure,
    medium::Medium,
    places::Places,
    tpm::{Policy, Tpm, registers_option},
};
use device::identity::MachineId;
use std::{fs, path::PathBuf, thread};

const LABEL: &str = "Label=P3";

/// How P3 is made, if it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// As the image says: it is there already, or need not be encrypted.
    AsDefined,
    Tpm,
    Key,
}

impl How {
    /// What its definition says besides (repart.d(5)).
    fn line(self) -> Option<&'static str> {
        match self {
            Self::AsDefined => None,
            Self::Tpm => Some("Encrypt=tpm2"),
            Self::Key => Some("Encrypt=key-file"),
        }
    }
}

pub(crate) fn make(places: &Places) -> Result<(), Error> {
    let has_tpm = Tpm::find(places).is_some();
    if has_tpm && !measure::marker(places).exists() {
        return Err(Error::NotMeasured);
    }
    let how = if exists(places) {
        How::AsDefined
    } else if has_tpm {
        How::Tpm
    } else {
        match Config::read(places)?.without_tpm {
            WithoutTpm::Plain => How::AsDefined,
            WithoutTpm::Key => How::Key,
            WithoutTpm::Refuse => return Err(Error::RefusedToMake),
        }
    };
    let definitions = define(places, how)?;
    let repart = places.tool("systemd-repart").args(["--dry-run=no", "--json=off"]);
    let repart = repart.arg(format!("--definitions={}", definitions.display()));
    let repart = match how {
        How::AsDefined => repart,
        How::Tpm => {
            let policy = Policy::find(places);
            let options = Policy::options(policy.as_ref());
            repart.arg("--tpm2-device=auto").arg(registers_option(None)).args(options)
        }
        How::Key => {
            file::replace(&places.key(), &from_medium(places))?;
            repart.arg(format!("--key-file={}", places.key().display()))
        }
    };
    let outcome = repart.arg(&places.disk).end()?.good()?;
    if outcome.talk.is_empty() { Ok(()) } else { crate::print(&outcome.talk) }
}

/// Whether P3 is there. The kernel knows that before udev has made the link, which might come too late for this.
fn exists(places: &Places) -> bool {
    if places.partition.exists() {
        return true;
    }
    let Ok(disk) = fs::canonicalize(&places.disk) else { return false };
    let Ok(items) = fs::read_dir(places.blocks.join(disk.file_name().unwrap_or_default())) else { return false };
    let is_p3 = |path: PathBuf| {
        let text = fs::read_to_string(path.join("uevent")).unwrap_or_default();
        text.lines().any(|line| line == "PARTNAME=P3")
    };
    items.flatten().any(|item| is_p3(item.path()))
}

/// Copies the definitions, and says how P3 is encrypted in its own.
fn define(places: &Places, how: How) -> Result<PathBuf, Error> {
    let (from, to) = (&places.definitions, places.run.join("repart.d"));
    if to.exists() {
        fs::remove_dir_all(&to).map_err(Error::io("remove", &to))?;
    }
    fs::create_dir_all(&to).map_err(Error::io("make", &to))?;
    let mut found = 0;
    // P3's GUID keeps the machine-id: `init` reads it there where the firmware has none
    let id = fs::read_to_string(&places.machine_id).ok().as_deref().and_then(MachineId::parse);
    let guid = id.map(|id| format!("UUID={}", id.uuid()));
    for item in fs::read_dir(from).map_err(Error::io("read", from))? {
        let path = item.map_err(Error::io("read", from))?.path();
        let (Some(name), Some("conf")) = (path.file_name(), path.extension().and_then(|e| e.to_str())) else {
            continue;
        };
        let mut text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        if text.lines().any(|line| line == LABEL) {
            found += 1;
            let lines = how.line().into_iter().chain(guid.as_deref());
            let text_of_p3 = lines.fold(LABEL.to_owned(), |text, line| format!("{text}\n{line}"));
            text = text.replacen(LABEL, &text_of_p3, 1);
        }
        let copy = to.join(name);
        fs::write(&copy, text).map_err(Error::io("write", &copy))?;
    }
    if found == 1 { Ok(to) } else { Err(Error::Definitions { folder: from.clone(), found }) }
}

/// The key that P3 is to have: without it nothing can go on.
fn from_medium(places: &Places) -> Vec<u8> {
    eprintln!("P3 is to be made with the owner's key: insert the medium EVEKEY with the file recovery.key");
    let mut medium = Medium::default();
    loop {
        match medium.look(places) {
            Some(Ok(key)) => return key,
            Some(Err(e)) => eprintln!("{e}"),
            None => {}
        }
        thread::sleep(places.pause);
    }
}
