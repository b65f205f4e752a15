//! What is known of P3 in this start: `/run/evek/vault.json`.

use crate::{error::Error, file, firmware, places::Places, tpm::Tpm};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, io, path::PathBuf};

/// How P3 is protected, and what has opened it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) state: State,
    /// Nothing need open what is not encrypted.
    pub(crate) opened_by: Option<Opener>,
    /// Whether the firmware starts nothing without a signature.
    pub(crate) secure_boot: bool,
    /// The registers of the TPM when P3 was opened; none without a TPM 2.
    pub(crate) pcrs: BTreeMap<u32, String>,
    /// Whether the TPM gives the key to the owner's images only.
    pub(crate) image_policy: bool,
    /// Why the TPM has not given the key.
    pub(crate) reason: Option<String>,
}

/// How P3 is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// The TPM has the key.
    Sealed,
    /// The owner has the key.
    Key,
    /// Not at all.
    Plain,
}

/// What has opened P3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Opener {
    /// The TPM's key.
    Tpm,
    /// A key from a medium or the console.
    Key,
}

impl Record {
    /// Of this machine as it is now. What cannot be read for it keeps nobody from opening P3.
    pub(crate) fn new(places: &Places, state: State) -> Self {
        let pcrs = Tpm::find(places).map(|tpm| tpm.registers());
        let pcrs = pcrs.unwrap_or_else(|| Ok(BTreeMap::new())).unwrap_or_else(|e| {
            eprintln!("{e}");
            BTreeMap::new()
        });
        let secure_boot = firmware::secure_boot(places).unwrap_or_else(|e| {
            eprintln!("{e}");
            false
        });
        Self { state, opened_by: None, secure_boot, pcrs, image_policy: false, reason: None }
    }

    fn path(places: &Places) -> PathBuf {
        places.run.join("vault.json")
    }

    pub(crate) fn read(places: &Places) -> Result<Self, Error> {
        let path = Self::path(places);
        match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::NotOpened),
            other => serde_json::from_slice(&other.map_err(Error::io("read", &path))?)
                .map_err(|e| Error::io("understand", &path)(e.into())),
        }
    }

    pub(crate) fn write(&self, places: &Places) -> Result<(), Error> {
        let path = Self::path(places);
        let text = serde_json::to_vec_pretty(self).map_err(|e| Error::io("write", &path)(e.into()))?;
        file::replace(&path, &text)
    }
}
