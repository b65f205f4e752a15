//! `vault open`: P3 becomes `/dev/mapper/persist`, whatever it is.

use crate::{
    config::{Config, WithoutTpm},
    content::Content,
    error::Error,
    header::Header,
    places::Places,
    reason::reason,
    record::{Opener, Record, State},
    tpm::{Policy, Tpm},
    wait,
};
use std::{
    fs::File,
    io::{Seek as _, SeekFrom},
};

/// The name of the open device.
const NAME: &str = "persist";
const SECTOR: u64 = 512;

pub(crate) fn open(places: &Places) -> Result<(), Error> {
    if places.mapped.exists() {
        return Ok(());
    }
    match Content::of(&places.partition)? {
        Content::Ext4 => plain(places),
        Content::Luks => encrypted(places),
    }
}

/// Everything else need not know whether it is encrypted.
fn plain(places: &Places) -> Result<(), Error> {
    if Config::read(places)?.without_tpm == WithoutTpm::Refuse {
        return Err(Error::RefusedToOpen);
    }
    let size = File::open(&places.partition).and_then(|mut device| device.seek(SeekFrom::End(0)));
    let sectors = size.map_err(Error::io("measure", &places.partition))? / SECTOR;
    let table = format!("0 {sectors} linear {} 0", places.partition.display());
    places.tool("dmsetup").args(["create", NAME, "--table", &table]).run()?;
    Record::new(places, State::Plain).write(places)
}

fn encrypted(places: &Places) -> Result<(), Error> {
    let header = Header::read(places)?;
    let state = if header.is_sealed() { State::Sealed } else { State::Key };
    let mut record = Record { image_policy: header.image_policy(), ..Record::new(places, state) };
    if state == State::Sealed {
        match by_tpm(places, &header) {
            None => return Record { opened_by: Some(Opener::Tpm), ..record }.write(places),
            Some(reason) => {
                eprintln!("the TPM does not open P3: {reason}");
                record.reason = Some(reason);
            }
        }
        if !header.has_other_keys() {
            eprintln!("P3 has no recovery key yet: with nothing of worth on it, delete the partition and restart");
        }
    }
    wait::for_key(places)?;
    Record { opened_by: Some(Opener::Key), ..record }.write(places)
}

/// Opens it by the TPM, or says why that is not possible: there is another way then.
fn by_tpm(places: &Places, header: &Header) -> Option<String> {
    if header.tpm().is_empty() || Tpm::find(places).is_none() {
        return Some(reason(places, header, ""));
    }
    let mut options = "tpm2-device=auto,headless=1,discard".to_owned();
    if let Some(policy) = Policy::find(places) {
        options += &format!(",tpm2-signature={}", policy.signature.display());
    }
    let attach = places.tool("systemd-cryptsetup").args(["attach", NAME]).arg(&places.partition);
    match attach.args(["-", &options]).end() {
        Ok(outcome) if outcome.is_good() => None,
        Ok(outcome) => Some(reason(places, header, &outcome.talk)),
        Err(e) => Some(e.to_string()),
    }
}
