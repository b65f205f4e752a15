//! `vault keep`: runs while the TPM still releases the key in this start. It makes a recovery key where there is none, and
//! notes what P3 is sealed to. It never seals: the owner does that with `vault seal`, so that neither a change of CONFIG nor
//! another volume is accepted because somebody opened P3 by a key.

use crate::{
    changes,
    error::Error,
    file,
    header::Header,
    measure,
    paths::Paths,
    record::{Opener, Record, State},
    recovery::{self, Unlock},
    tpm::Tpm,
    volume::Volume,
};
use std::fs;

pub(crate) fn keep(paths: &Paths) -> Result<(), Error> {
    let record = Record::read(paths)?;
    let kept = match (record.state, record.opened_by) {
        (State::Sealed, Some(Opener::Tpm)) => opened_by_tpm(paths),
        // this has run already, and the key is gone
        (State::Sealed, _) if !paths.key().exists() => Ok(()),
        (State::Sealed, _) => opened_by_key(paths, &record),
        (State::Key | State::Plain | State::Refused | State::Failed, _) => Ok(()),
    };
    file::forget(&paths.key())?;
    kept
}

fn opened_by_tpm(paths: &Paths) -> Result<(), Error> {
    if !recovery::is_kept(paths)? {
        recovery::add(paths, Unlock::Tpm)?;
        eprintln!("P3 has a recovery key: keep a copy of what `vault recovery-key` prints in a safe place");
    }
    if let Ok(tpm) = Tpm::find(paths) {
        // P3 is sealed to these values, or it would not be open
        Header::read(paths)?.note(paths, &tpm.bound()?)?;
    }
    let files = measure::files(paths)?;
    let marker = measure::marker(paths);
    // the owner may have changed CONFIG since
    if fs::read_to_string(&marker).map_err(Error::io("read", &marker))? == measure::words_for(&files) {
        changes::keep(paths, &files)?;
    }
    Ok(())
}

/// P3 is open for this start only.
fn opened_by_key(paths: &Paths, record: &Record) -> Result<(), Error> {
    if !recovery::is_kept(paths)? && record.volume != Some(Volume::Another) {
        recovery::add(paths, Unlock::Key(&paths.key()))?;
    }
    if let Some(changes) = changes::since_sealing(paths)?.filter(|changes| !changes.is_empty()) {
        eprint!("CONFIG differs from the files that P3 is sealed to:\n{changes}");
    }
    eprintln!(
        "a key has opened P3 for this start; `vault seal` accepts this machine and CONFIG, and the TPM opens P3 again"
    );
    Ok(())
}
