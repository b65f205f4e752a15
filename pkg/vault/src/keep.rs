//! `vault keep`: while the TPM still gives the key in this start, sees to it that P3 opens in the next ones.

use crate::{
    error::Error,
    file,
    header::Header,
    places::Places,
    record::{Opener, Record, State},
    recovery::{self, Unlock},
    seal,
    tpm::Tpm,
};

pub(crate) fn keep(places: &Places) -> Result<(), Error> {
    let record = Record::read(places)?;
    let kept = match (record.state, record.opened_by) {
        (State::Sealed, Some(Opener::Tpm)) => opened_by_tpm(places),
        // this has run already, and the key is gone
        (State::Sealed, _) if !places.key().exists() => Ok(()),
        (State::Sealed, _) => opened_by_key(places, record),
        (State::Key | State::Plain, _) => Ok(()),
    };
    file::forget(&places.key())?;
    kept
}

fn opened_by_tpm(places: &Places) -> Result<(), Error> {
    if !recovery::path(places).exists() {
        recovery::add(places, Unlock::Tpm)?;
        eprintln!("P3 has a recovery key: keep a copy of what `vault recovery-key` prints in a safe place");
    }
    match Tpm::find(places) {
        // these are the values that it is sealed to, or it would not be open
        Some(tpm) => Header::read(places)?.note(places, &tpm.bound()?),
        None => Ok(()),
    }
}

/// One thing that fails is no reason to leave the other.
fn opened_by_key(places: &Places, record: Record) -> Result<(), Error> {
    let key = places.key();
    let sealed = Tpm::find(places).map(|tpm| seal::seal(places, &tpm, &key, None, true)).transpose();
    if !recovery::path(places).exists() {
        recovery::add(places, Unlock::Key(&key))?;
    }
    let Some(header) = sealed? else { return Ok(()) };
    eprintln!("P3 is sealed anew, to this machine, its CONFIG and the image that runs");
    Record { image_policy: header.image_policy(), ..record }.write(places)
}
