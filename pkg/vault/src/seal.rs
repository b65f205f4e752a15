//! Sealing: the TPM gets P3's key, bound to this machine, CONFIG and the owner's images, and the TPM notes the volume. A key slot
//! for the TPM comes before the old one goes, and no step touches the slot that unlocks P3 for this: the power may go at any
//! time.

use crate::{
    changes,
    content::Content,
    error::Error,
    file,
    header::Header,
    measure, medium,
    paths::Paths,
    record::{Opener, Record, State},
    recovery,
    tpm::{Policy, Tpm, registers_option},
    volume,
};
use boot::measure::CONFIG_PCR;
use std::{fs, io, path::Path};
use types::Digest;

/// The source of the key that unlocks P3 for `vault seal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The recovery key that is kept on P3, or else the owner's medium.
    Kept,
    /// Standard input.
    Input,
}

/// Seals P3, which the key in a file unlocks, to the registers as they are and to a predicted value for CONFIG. `anew` when the
/// TPM did not release the key although it should have. Returns the header as it is then.
fn seal(paths: &Paths, tpm: &Tpm, key: &Path, config: Digest, anew: bool) -> Result<Header, Error> {
    let mut bound = tpm.bound()?;
    bound.config = config.hex();
    let before = Header::read(paths)?;
    enroll(paths, key, config)?;
    let after = Header::read(paths)?;
    after.note(paths, &bound)?;
    if anew && !before.tpm().is_empty() && before.tpm() == after.tpm() {
        enroll_again(paths, key, config, &after)?;
        return Header::read(paths);
    }
    Ok(after)
}

/// Adds a slot for the TPM, then wipes its old slots (systemd-cryptenroll(1), `--wipe-slot=`). It passes no signature, with which
/// the tool would try the TPM: after the start of the system, the TPM releases the key to nobody.
fn enroll(paths: &Paths, key: &Path, config: Digest) -> Result<(), Error> {
    let policy = Policy::find(paths);
    let tool = paths.tool("systemd-cryptenroll").arg(format!("--unlock-key-file={}", key.display()));
    let tool = tool.args(["--wipe-slot=tpm2", "--tpm2-device=auto"]).arg(registers_option(Some(config)));
    tool.args(Policy::options(policy.as_ref())).arg(&paths.partition).run().map(drop)
}

/// The same, where the slot is bound to the same values, which is all that the tool compares, but to a TPM that was cleared
/// since, or is another one.
fn enroll_again(paths: &Paths, key: &Path, config: Digest, header: &Header) -> Result<(), Error> {
    header.hide_tpm(paths)?;
    if let Err(e) = enroll(paths, key, config) {
        header.show_tpm(paths)?;
        return Err(e);
    }
    wipe(paths, &header.tpm_slots())
}

/// Wipes key slots.
pub(crate) fn wipe(paths: &Paths, slots: &[&str]) -> Result<(), Error> {
    if slots.is_empty() {
        return Ok(());
    }
    let tool = paths.tool("systemd-cryptenroll").arg(format!("--wipe-slot={}", slots.join(",")));
    tool.arg(&paths.partition).run().map(drop)
}

/// `vault seal`: the owner accepts this machine, this volume, and CONFIG as its files are now.
pub(crate) fn seal_now(paths: &Paths, source: Source, input: impl io::Read) -> Result<(), Error> {
    if Content::of(&paths.partition)? == Content::Ext4 {
        return Err(Error::Plain);
    }
    let tpm = Tpm::measured(paths).map_err(|problem| Error::NoTpm { problem })?;
    let files = measure::files(paths)?;
    let config = predicted(paths, &tpm, &measure::words_for(&files))?;
    // nothing has opened P3 where there is no record
    let record = Record::read(paths).ok().filter(|record| record.state.is_open());
    eprint!("{}", show(paths)?);
    let anew = record.as_ref().is_none_or(|record| record.opened_by != Some(Opener::Tpm));
    let header = with_key(paths, source, input, |key| seal(paths, &tpm, key, config, anew))?;
    let volume = volume::bind(paths, &header);
    if let Some(record) = record {
        changes::keep(paths, &files)?;
        let image_policy = header.image_policy();
        Record { state: State::Sealed, image_policy, volume: Some(volume), ..record }.write(paths)?;
    }
    eprintln!("P3 is sealed to this machine and to CONFIG as it is now; at the next start the TPM opens it");
    Ok(())
}

/// The files of CONFIG that differ from those of the last sealing, for people.
pub(crate) fn show(paths: &Paths) -> Result<String, Error> {
    Ok(match changes::since_sealing(paths)? {
        None => "no list of the sealed files of CONFIG is kept on P3: look at each file yourself\n".to_owned(),
        Some(changes) if changes.is_empty() => "CONFIG is as it was at the last sealing\n".to_owned(),
        Some(changes) => format!("CONFIG since the last sealing:\n{changes}"),
    })
}

/// The value of register 14 at the next start, if CONFIG's files are then those of these words.
fn predicted(paths: &Paths, tpm: &Tpm, words: &str) -> Result<Digest, Error> {
    let marker = measure::marker(paths);
    let measured = match fs::read_to_string(&marker) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(Error::NotMeasured),
        text => text.map_err(Error::io("read", &marker))?,
    };
    let before = measure::before(paths)?.ok_or(Error::NotMeasured)?;
    if tpm.register(CONFIG_PCR)? != measure::predicted(before, &measured) {
        return Err(Error::Foreign);
    }
    // those who measured before CONFIG will do so again
    Ok(measure::predicted(before, words))
}

/// Calls back with the file of a key that is meant to unlock P3.
fn with_key<T>(
    paths: &Paths,
    source: Source,
    input: impl io::Read,
    act: impl FnOnce(&Path) -> Result<T, Error>,
) -> Result<T, Error> {
    let bytes = match source {
        Source::Input => medium::from_input(input)?,
        Source::Kept if recovery::is_kept(paths)? => return act(&recovery::path(paths)),
        Source::Kept if paths.medium.exists() => medium::read(paths)?,
        Source::Kept => return Err(Error::NoKey { path: recovery::path(paths) }),
    };
    let key = paths.run.join("seal.key");
    file::replace(&key, &bytes)?;
    let done = act(&key);
    file::forget(&key)?;
    done
}
