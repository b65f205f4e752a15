//! `vault measure`: tells the TPM of the files of CONFIG, once in each start, before anything depends on them.

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
    let expected = foretold(&words);
    let before = tpm.register(CONFIG_PCR)?;
    // where it has this value, the start was only too short for the marker
    if before != expected {
        extend(places, &words)?;
        let after = tpm.register(CONFIG_PCR)?;
        if after == before {
            return Err(Error::Unmoved);
        }
        if after != expected {
            eprintln!(
                "register {CONFIG_PCR} of the TPM was not empty: `vault seal` cannot foretell it in this machine"
            );
        }
    }
    fs::create_dir_all(&places.run).map_err(Error::io("make", &places.run))?;
    file::replace(&marker(places), words.as_bytes())
}

/// The words for the files of CONFIG as they are now.
pub(crate) fn words(places: &Places) -> Result<String, Error> {
    let mut files = BTreeMap::new();
    collect(&places.config, "", &mut files)?;
    Ok(config_event(&files))
}

/// The register's value after the words, in a start in which nobody else has measured anything into it.
pub(crate) fn foretold(words: &str) -> Digest {
    Register::default().extended(words.as_bytes()).value()
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
