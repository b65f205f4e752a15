//! `vault measure`: tells the TPM of the files of CONFIG, once in each start, before anything depends on them.
//!
//! Others may have measured into the same register before: shim does, its list of certificates (shim, `README.tpm`). What they
//! have left there is noted first, so that a start which ends in between measures nothing twice.

use crate::{error::Error, file, places::Places, tpm::Tpm};
use boot::measure::{CONFIG_PCR, Register, config_event};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};
use types::{Digest, DigestWriter};

/// Written when it is done: the words that were measured.
pub(crate) fn marker(places: &Places) -> PathBuf {
    places.run.join("config-measured")
}

pub(crate) fn measure(places: &Places) -> Result<(), Error> {
    if marker(places).exists() {
        return Ok(());
    }
    let Some(tpm) = Tpm::find(places) else {
        eprintln!("CONFIG is not measured: {}", Tpm::absence(places));
        return Ok(());
    };
    let words = words(places)?;
    fs::create_dir_all(&places.run).map_err(Error::io("make", &places.run))?;
    let before = match before(places)? {
        Some(before) => before,
        None => {
            let before = Register::holding(tpm.register(CONFIG_PCR)?);
            file::replace(&before_path(places), before.value().hex().as_bytes())?;
            before
        }
    };
    if tpm.register(CONFIG_PCR)? == before.value() {
        extend(places, &words)?;
        if tpm.register(CONFIG_PCR)? == before.value() {
            return Err(Error::Unmoved);
        }
    }
    if tpm.register(CONFIG_PCR)? != foretold(before, &words) {
        eprintln!("register {CONFIG_PCR} of the TPM was extended by others meanwhile: `vault seal` cannot foretell it");
    }
    file::replace(&marker(places), words.as_bytes())
}

fn before_path(places: &Places) -> PathBuf {
    places.run.join("config-before")
}

/// What the register held before CONFIG was measured in this start; `None` where that was never asked.
pub(crate) fn before(places: &Places) -> Result<Option<Register>, Error> {
    let path = before_path(places);
    match fs::read_to_string(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        text => {
            let found = text.map_err(Error::io("read", &path))?;
            let value = found.parse().map_err(|_| Error::Register { path, found })?;
            Ok(Some(Register::holding(value)))
        }
    }
}

/// The words for the files of CONFIG as they are now.
pub(crate) fn words(places: &Places) -> Result<String, Error> {
    let mut files = BTreeMap::new();
    collect(&places.config, "", &mut files)?;
    Ok(config_event(&files))
}

/// The register's value after the words.
pub(crate) fn foretold(before: Register, words: &str) -> Digest {
    before.extended(words.as_bytes()).value()
}

/// Every regular file below a folder. CONFIG is FAT, which has no links.
fn collect(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Digest>) -> Result<(), Error> {
    for item in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let item = item.map_err(Error::io("read", folder))?;
        let path = item.path();
        let name = item.file_name().into_string().map_err(|_| Error::Name { path: path.clone() })?;
        let kind = item.file_type().map_err(Error::io("look at", &path))?;
        if kind.is_dir() {
            collect(&path, &format!("{prefix}{name}/"), files)?;
        } else if kind.is_file() {
            let mut writer = DigestWriter::new(io::sink());
            let mut file = File::open(&path).map_err(Error::io("open", &path))?;
            io::copy(&mut file, &mut writer).map_err(Error::io("read", &path))?;
            files.insert(format!("{prefix}{name}"), writer.finish().1);
        }
    }
    Ok(())
}

/// Extends the register in every bank, and has it noted in the event log of systemd. Without the variable, systemd-pcrextend
/// does nothing, and says that all is well, where the EFI stub has measured no kernel, as under Xen (systemd,
/// `docs/ENVIRONMENT.md`).
fn extend(places: &Places, words: &str) -> Result<(), Error> {
    let tool = places.tool("systemd-pcrextend").env("SYSTEMD_FORCE_MEASURE", "1");
    tool.arg(format!("--pcr={CONFIG_PCR}")).arg(words).run().map(drop)
}
