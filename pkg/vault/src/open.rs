//! `vault open`: P3 becomes `/dev/mapper/persist`, if this machine and CONFIG accept it.
//!
//! ```text
//!               │ plain        │ LUKS2: the TPM bound …
//!               │              │ this volume    no volume               another volume
//!  ─────────────┼──────────────┼──────────────────────────────────────────────────────────────────
//!  no TPM       │ opened       │ the key opens it
//!  a usable TPM │ refused      │ TPM, else key  TPM: binds it, else key   refused
//!  CONFIG says  │ opened       │                                          TPM, else key
//!    `accept`   │              │                                          for this start
//! ```

use crate::{
    config::{Config, Verdict, WithoutTpm},
    content::Content,
    error::Error,
    file,
    header::Header,
    measure, nv,
    paths::Paths,
    reason::reason,
    record::{Opener, Record, State},
    tpm::{Policy, Tpm},
    volume::{self, Volume},
    wait,
};
use std::{
    fs::File,
    io::{Seek as _, SeekFrom},
};

/// The name of the open device.
const NAME: &str = "persist";
const SECTOR: u64 = 512;

pub(crate) fn open(paths: &Paths) -> Result<(), Error> {
    if paths.mapped.exists() {
        return Ok(());
    }
    match Content::of(&paths.partition)? {
        Content::Ext4 => plain(paths)?,
        Content::Luks => encrypted(paths)?,
    }
    file::forget(&paths.made())
}

/// The open device has one name whether it is encrypted or not.
fn plain(paths: &Paths) -> Result<(), Error> {
    let volume = if paths.made().exists() { made_plain(paths) } else { accept_plain(paths)? };
    let size = File::open(&paths.partition).and_then(|mut device| device.seek(SeekFrom::End(0)));
    let sectors = size.map_err(Error::io("measure", &paths.partition))? / SECTOR;
    let table = format!("0 {sectors} linear {} 0", paths.partition.display());
    paths.tool("dmsetup").args(["create", NAME, "--table", &table]).run()?;
    Record { volume, ..Record::new(paths, State::Plain) }.write(paths)
}

/// This start has made P3 without encryption: the volume that the TPM may have bound is no more.
fn made_plain(paths: &Paths) -> Option<Volume> {
    let volume = volume::compare(paths, None)?;
    match nv::forget(paths) {
        Ok(()) => Some(Volume::Unbound),
        Err(e) => {
            eprintln!("{e}");
            Some(volume)
        }
    }
}

/// A TPM that has bound a volume shows that P3 was encrypted, even if nothing is measured into the TPM in this start.
fn accept_plain(paths: &Paths) -> Result<Option<Volume>, Error> {
    let config = Config::read(paths)?;
    if config.without_tpm == WithoutTpm::Refuse {
        return Err(Error::RefusedToOpen);
    }
    let volume = volume::compare(paths, None);
    let why = match volume {
        Some(Volume::Another) => "the TPM of this machine has sealed a volume, and this is another one",
        _ if Tpm::measured(paths).is_ok() => "this machine has a TPM",
        _ => return Ok(volume),
    };
    match config.plain_with_tpm {
        Verdict::Accept => Ok(volume),
        Verdict::Refuse => Err(Error::RefusedPlain { why }),
    }
}

fn encrypted(paths: &Paths) -> Result<(), Error> {
    let header = Header::read(paths)?;
    let mut volume = volume::compare(paths, Some(&header));
    if volume.is_some() && paths.made().exists() {
        volume = Some(volume::bind(paths, &header));
    }
    if volume == Some(Volume::Another) && Config::read(paths)?.other_volume == Verdict::Refuse {
        return Err(Error::RefusedVolume);
    }
    let state = if header.is_sealed() { State::Sealed } else { State::Key };
    let mut record = Record { image_policy: header.image_policy(), volume, ..Record::new(paths, state) };
    if state == State::Sealed {
        match by_tpm(paths, &header, volume) {
            None => {
                // sealed before volumes were bound
                if volume == Some(Volume::Unbound) {
                    record.volume = Some(volume::bind(paths, &header));
                }
                return Record { opened_by: Some(Opener::Tpm), ..record }.write(paths);
            }
            Some(reason) => {
                eprintln!("the TPM does not open P3: {reason}");
                record.reason = Some(reason);
            }
        }
        if !header.has_other_keys() {
            eprintln!("P3 has no recovery key yet: with nothing of worth on it, delete the partition and restart");
        }
    }
    wait::for_key(paths)?;
    Record { opened_by: Some(Opener::Key), ..record }.write(paths)
}

/// Opens P3 by the TPM, or returns the reason why that is not possible: there is another way then.
fn by_tpm(paths: &Paths, header: &Header, volume: Option<Volume>) -> Option<String> {
    if header.tpm().is_empty() || Tpm::find(paths).is_err() {
        return Some(reason(paths, header, ""));
    }
    if volume == Some(Volume::Unknown) {
        return Some("the TPM does not answer which volume it has sealed: see `journalctl -u evek-vault`".to_owned());
    }
    if !measure::marker(paths).exists() {
        return Some("CONFIG is not measured in this start: see `systemctl status evek-measure`".to_owned());
    }
    let mut options = "tpm2-device=auto,headless=1,discard".to_owned();
    if let Some(policy) = Policy::find(paths) {
        options += &format!(",tpm2-signature={}", policy.signature.display());
    }
    let attach = paths.tool("systemd-cryptsetup").args(["attach", NAME]).arg(&paths.partition);
    match attach.args(["-", &options]).end() {
        Ok(outcome) if outcome.is_good() => None,
        Ok(outcome) => Some(reason(paths, header, &outcome.talk)),
        Err(e) => Some(e.to_string()),
    }
}
