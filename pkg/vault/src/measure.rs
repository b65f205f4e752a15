//! `vault measure`: measures the files of CONFIG into the TPM, once in each start, before anything reads them.
//!
//! Other programs may have measured into the same register before: shim measures its list of certificates (shim, `README.tpm`).
//! `measure` first notes the value that it finds, so that a second run after an interruption measures nothing twice.

use crate::{changes::Files, error::Error, file, paths::Paths, tpm::Tpm};
use boot::measure::{CONFIG_PCR, Register, config_event};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};
use types::{Digest, DigestWriter};

/// The mark that CONFIG was measured in this start: a file with the words that were measured.
pub(crate) fn marker(paths: &Paths) -> PathBuf {
    paths.run.join("config-measured")
}

pub(crate) fn measure(paths: &Paths) -> Result<(), Error> {
    if marker(paths).exists() {
        return Ok(());
    }
    let tpm = match Tpm::find(paths) {
        Ok(tpm) => tpm,
        Err(problem) => {
            eprintln!("CONFIG is not measured: {problem}");
            return Ok(());
        }
    };
    let words = words_for(&files(paths)?);
    fs::create_dir_all(&paths.run).map_err(Error::io("make", &paths.run))?;
    let before = match before(paths)? {
        Some(before) => before,
        None => {
            let before = Register::holding(tpm.register(CONFIG_PCR)?);
            file::replace(&before_path(paths), before.value().hex().as_bytes())?;
            before
        }
    };
    if tpm.register(CONFIG_PCR)? == before.value() {
        extend(paths, &words)?;
        if tpm.register(CONFIG_PCR)? == before.value() {
            return Err(Error::Unmoved);
        }
    }
    if tpm.register(CONFIG_PCR)? != predicted(before, &words) {
        eprintln!(
            "other programs have extended register {CONFIG_PCR} of the TPM meanwhile: `vault seal` cannot predict it"
        );
    }
    file::replace(&marker(paths), words.as_bytes())
}

fn before_path(paths: &Paths) -> PathBuf {
    paths.run.join("config-before")
}

/// The register's value before CONFIG was measured in this start; `None` where nobody has read it.
pub(crate) fn before(paths: &Paths) -> Result<Option<Register>, Error> {
    let path = before_path(paths);
    match fs::read_to_string(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        text => {
            let found = text.map_err(Error::io("read", &path))?;
            let value = found.parse().map_err(|_| Error::Register { path, found })?;
            Ok(Some(Register::holding(value)))
        }
    }
}

/// The files of CONFIG as they are now.
pub(crate) fn files(paths: &Paths) -> Result<Files, Error> {
    let mut files = Files::new();
    collect(&paths.config, "", &mut files)?;
    Ok(files)
}

/// The words that are measured for files.
pub(crate) fn words_for(files: &Files) -> String {
    config_event(files)
}

/// The register's value after the words.
pub(crate) fn predicted(before: Register, words: &str) -> Digest {
    before.extended(words.as_bytes()).value()
}

/// Every regular file below a folder. CONFIG is FAT, which has no links.
fn collect(folder: &Path, prefix: &str, files: &mut Files) -> Result<(), Error> {
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

/// Extends the register in every bank, and systemd's event log by an entry. Without the variable, systemd-pcrextend does nothing
/// and succeeds where the EFI stub has measured no kernel, as under Xen (systemd, `docs/ENVIRONMENT.md`).
fn extend(paths: &Paths, words: &str) -> Result<(), Error> {
    let tool = paths.tool("systemd-pcrextend").env("SYSTEMD_FORCE_MEASURE", "1");
    tool.arg(format!("--pcr={CONFIG_PCR}")).arg(words).run().map(drop)
}
