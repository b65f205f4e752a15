//! Sealing: the TPM gets P3's key, bound to this machine, CONFIG and the owner's images. A key slot for the TPM comes before the
//! old one goes, and the one that unlocks P3 for this is never touched: the power may go at any time.

use crate::{
    content::Content,
    error::Error,
    file,
    header::Header,
    measure, medium,
    places::Places,
    recovery,
    tpm::{Policy, Tpm, registers_option},
};
use boot::measure::CONFIG_PCR;
use std::{fs, path::Path};
use types::Digest;

/// Seals P3, which the key in a file unlocks: to the registers as they are, or to another value for CONFIG. `anew` when the TPM
/// did not give the key although it should have. Gives the header as it is then.
pub(crate) fn seal(
    places: &Places,
    tpm: &Tpm,
    key: &Path,
    config: Option<Digest>,
    anew: bool,
) -> Result<Header, Error> {
    let mut bound = tpm.bound()?;
    if let Some(config) = config {
        bound.config = config.hex();
    }
    let before = Header::read(places)?;
    enroll(places, key, config)?;
    let after = Header::read(places)?;
    after.note(places, &bound)?;
    if anew && !before.tpm().is_empty() && before.tpm() == after.tpm() {
        enroll_again(places, key, config, &after)?;
        return Header::read(places);
    }
    Ok(after)
}

/// Adds a slot for the TPM, then wipes those that it had (systemd-cryptenroll(1), `--wipe-slot=`).
fn enroll(places: &Places, key: &Path, config: Option<Digest>) -> Result<(), Error> {
    let policy = Policy::find(places);
    let tool = places.tool("systemd-cryptenroll").arg(format!("--unlock-key-file={}", key.display()));
    let tool = tool.args(["--wipe-slot=tpm2", "--tpm2-device=auto"]).arg(registers_option(config));
    let tool = tool.args(Policy::options(policy.as_ref()));
    // with the signature, it makes sure that the TPM would give the key now; later in a start it would not
    let tool = match policy.filter(|_| config.is_none()) {
        Some(policy) => tool.arg(format!("--tpm2-signature={}", policy.signature.display())),
        None => tool,
    };
    tool.arg(&places.partition).run().map(drop)
}

/// The same, where the slot is bound to the same values, which is all that the tool compares, but to a TPM that was cleared
/// since, or is another one. If it is not the TPM but the image, this fails, and the slot stays for an image that is signed.
fn enroll_again(places: &Places, key: &Path, config: Option<Digest>, header: &Header) -> Result<(), Error> {
    header.hide_tpm(places)?;
    if let Err(e) = enroll(places, key, config) {
        header.show_tpm(places)?;
        return Err(e);
    }
    wipe(places, &header.tpm_slots())
}

/// Wipes key slots.
pub(crate) fn wipe(places: &Places, slots: &[&str]) -> Result<(), Error> {
    if slots.is_empty() {
        return Ok(());
    }
    let tool = places.tool("systemd-cryptenroll").arg(format!("--wipe-slot={}", slots.join(",")));
    tool.arg(&places.partition).run().map(drop)
}

/// `vault seal`: for the next start, with CONFIG as its files are now.
pub(crate) fn seal_now(places: &Places) -> Result<(), Error> {
    if Content::of(&places.partition)? == Content::Ext4 {
        return Err(Error::Plain);
    }
    let tpm = Tpm::find(places).ok_or(Error::NoTpm)?;
    let marker = measure::marker(places);
    let measured = fs::read_to_string(&marker).map_err(|_| Error::NotMeasured)?;
    let before = measure::before(places)?.ok_or(Error::NotMeasured)?;
    if tpm.register(CONFIG_PCR)? != measure::foretold(before, &measured) {
        return Err(Error::Foreign);
    }
    // whoever measures before CONFIG will do so again
    let config = measure::foretold(before, &measure::words(places)?);
    let kept = recovery::path(places);
    if kept.exists() {
        seal(places, &tpm, &kept, Some(config), false)?;
    } else if places.medium.exists() {
        let key = places.run.join("seal.key");
        file::replace(&key, &medium::read(places)?)?;
        let sealed = seal(places, &tpm, &key, Some(config), false);
        file::forget(&key)?;
        sealed?;
    } else {
        return Err(Error::NoKey { path: kept });
    }
    eprintln!("P3 is sealed to this machine and to CONFIG as it is now; at the next start the TPM opens it");
    Ok(())
}
