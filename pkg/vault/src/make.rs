//! `vault make`: has systemd-repart make the partitions that an image leaves out. P3 becomes what this machine and its owner
//! want.

use crate::{
    config::{Config, WithoutTpm},
    error::Error,
    file, measure,
    medium::Medium,
    paths::Paths,
    tpm::{Policy, Tpm, registers_option},
};
use device::{
    identity::MachineId,
    standing::{Part, Standing},
};
use std::{fs, io, path::PathBuf, thread};

const LABEL: &str = "Label=P3";

/// How P3 is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// Not: it is there already.
    NotAtAll,
    /// As the image defines it: not encrypted.
    AsDefined,
    Tpm,
    Key,
}

impl How {
    /// The line that its definition gets in addition (repart.d(5)).
    fn line(self) -> Option<&'static str> {
        match self {
            Self::NotAtAll | Self::AsDefined => None,
            Self::Tpm => Some("Encrypt=tpm2"),
            Self::Key => Some("Encrypt=key-file"),
        }
    }
}

pub(crate) fn make(paths: &Paths) -> Result<(), Error> {
    let how = if exists(paths)? { How::NotAtAll } else { how(paths)? };
    let definitions = define(paths, how)?;
    let repart = paths.tool("systemd-repart").args(["--dry-run=no", "--json=off"]);
    let repart = repart.arg(format!("--definitions={}", definitions.display()));
    let repart = match how {
        How::NotAtAll | How::AsDefined => repart,
        How::Tpm => {
            let policy = Policy::find(paths);
            let options = Policy::options(policy.as_ref());
            repart.arg("--tpm2-device=auto").arg(registers_option(None)).args(options)
        }
        How::Key => {
            file::replace(&paths.key(), &from_medium(paths))?;
            repart.arg(format!("--key-file={}", paths.key().display()))
        }
    };
    let outcome = repart.arg(&paths.disk).end()?.good()?;
    if how != How::NotAtAll {
        // `open` then accepts P3 as this machine's own, whatever volume was there before
        file::replace(&paths.made(), b"")?;
    }
    if outcome.talk.is_empty() { Ok(()) } else { crate::print(&outcome.talk) }
}

/// How a P3 that is not there is made. A TPM that nothing is measured into is none: a P3 that is sealed to it would be bound
/// to nothing, or would never open.
fn how(paths: &Paths) -> Result<How, Error> {
    if let Standing::Temporary { reason } = Standing::read(&paths.run, Part::Config)? {
        return Err(Error::NoConfig { reason });
    }
    let problem = match Tpm::find(paths) {
        Ok(tpm) => match tpm.unmeasured()? {
            None if measure::marker(paths).exists() => return Ok(How::Tpm),
            None => return Err(Error::NotMeasured),
            Some(problem) => problem,
        },
        Err(problem) => problem,
    };
    let without_tpm = Config::read(paths)?.without_tpm;
    let (how, becomes) = match without_tpm {
        WithoutTpm::Plain => (How::AsDefined, "without encryption"),
        WithoutTpm::Key => (How::Key, "with the owner's key"),
        WithoutTpm::Refuse => return Err(Error::RefusedToMake { problem }),
    };
    eprintln!("P3 is made {becomes}: {problem}");
    Ok(how)
}

/// Whether P3 is there. The kernel shows that before udev has made the link, which might come too late for this.
fn exists(paths: &Paths) -> Result<bool, Error> {
    if paths.partition.try_exists().map_err(Error::io("look for", &paths.partition))? {
        return Ok(true);
    }
    let disk = fs::canonicalize(&paths.disk).map_err(Error::io("find", &paths.disk))?;
    let folder = paths.blocks.join(disk.file_name().unwrap_or_default());
    for item in fs::read_dir(&folder).map_err(Error::io("read", &folder))? {
        let path = item.map_err(Error::io("read", &folder))?.path().join("uevent");
        match fs::read_to_string(&path) {
            Ok(text) if text.lines().any(|line| line == "PARTNAME=P3") => return Ok(true),
            Ok(_) => {}
            // an attribute of the disk, or a folder of attributes
            Err(e) if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&e.kind()) => {}
            Err(e) => return Err(Error::io("read", path)(e)),
        }
    }
    Ok(false)
}

/// Copies the definitions, and adds to P3's how it is encrypted.
fn define(paths: &Paths, how: How) -> Result<PathBuf, Error> {
    let (from, to) = (&paths.definitions, paths.run.join("repart.d"));
    if to.try_exists().map_err(Error::io("look for", &to))? {
        fs::remove_dir_all(&to).map_err(Error::io("remove", &to))?;
    }
    fs::create_dir_all(&to).map_err(Error::io("make", &to))?;
    let mut found = 0;
    // P3's GUID keeps the machine-id: `init` reads it there where the firmware has none
    let id = fs::read_to_string(&paths.machine_id).ok().as_deref().and_then(MachineId::parse);
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
fn from_medium(paths: &Paths) -> Vec<u8> {
    eprintln!("P3 is to be made with the owner's key: insert the medium EVEKEY with the file recovery.key");
    let mut medium = Medium::default();
    loop {
        match medium.look(paths) {
            Some(Ok(key)) => return key,
            Some(Err(e)) => eprintln!("{e}"),
            None => {}
        }
        thread::sleep(paths.pause);
    }
}
