//! The state of P3 in this start: `/run/evek/vault.json`. `vault status` and `update status` read it, and so does the unit that
//! starts the device without P3.

use crate::{error::Error, file, firmware, paths::Paths, tpm::Tpm, volume::Volume};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, io, path::PathBuf};

/// How P3 is protected, and by which key it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) state: State,
    /// The key that opened P3; `None` for a P3 that is not encrypted, or not open.
    pub(crate) opened_by: Option<Opener>,
    /// Whether the firmware refuses programs without a signature.
    pub(crate) secure_boot: bool,
    /// The registers of the TPM when P3 was opened; none without a TPM 2.
    pub(crate) pcrs: BTreeMap<u32, String>,
    /// Why P3 cannot be bound to a TPM of this machine.
    pub(crate) tpm_problem: Option<String>,
    /// Whether the TPM releases the key to the owner's images only.
    pub(crate) image_policy: bool,
    /// What the TPM holds about the volume; `None` without a TPM 2.
    pub(crate) volume: Option<Volume>,
    /// Why the TPM did not release the key, or why P3 is not open.
    pub(crate) reason: Option<String>,
}

/// How P3 is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Encrypted, and the TPM has the key.
    Sealed,
    /// Encrypted, and the owner has the key.
    Key,
    /// Not encrypted.
    Plain,
    /// Not open: this machine and CONFIG do not accept it.
    Refused,
    /// Not open: something failed.
    Failed,
}

/// The key that opened P3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Opener {
    /// The key that the TPM holds.
    Tpm,
    /// A key from a medium or the console.
    Key,
}

impl State {
    /// Whether the files of `/persist` are those of P3.
    pub(crate) const fn is_open(self) -> bool {
        !matches!(self, Self::Refused | Self::Failed)
    }
}

impl Record {
    /// Describes this machine now. A value that cannot be read keeps nobody from opening P3.
    pub(crate) fn new(paths: &Paths, state: State) -> Self {
        let registers = Tpm::find(paths).and_then(|tpm| tpm.registers().map_err(|e| e.to_string()));
        let secure_boot = firmware::secure_boot(paths).unwrap_or_else(|e| {
            eprintln!("{e}");
            false
        });
        Self {
            state,
            opened_by: None,
            secure_boot,
            pcrs: registers.unwrap_or_default(),
            tpm_problem: Tpm::measured(paths).err(),
            image_policy: false,
            volume: None,
            reason: None,
        }
    }

    /// Leaves the reason for those who find the device without P3.
    pub(crate) fn explains(paths: &Paths, result: Result<(), Error>) -> Result<(), Error> {
        let Err(e) = result else { return Ok(()) };
        let state = if e.is_refusal() { State::Refused } else { State::Failed };
        let record = Self { reason: Some(e.to_string()), ..Self::new(paths, state) };
        if let Err(other) = record.write(paths) {
            eprintln!("error: {other}");
        }
        Err(e)
    }

    fn path(paths: &Paths) -> PathBuf {
        paths.run.join("vault.json")
    }

    pub(crate) fn read(paths: &Paths) -> Result<Self, Error> {
        let path = Self::path(paths);
        match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(Error::NotOpened),
            other => serde_json::from_slice(&other.map_err(Error::io("read", &path))?)
                .map_err(|e| Error::io("understand", &path)(e.into())),
        }
    }

    pub(crate) fn write(&self, paths: &Paths) -> Result<(), Error> {
        let path = Self::path(paths);
        let text = serde_json::to_vec_pretty(self).map_err(|e| Error::io("write", &path)(e.into()))?;
        fs::create_dir_all(&paths.run).map_err(Error::io("make", &paths.run))?;
        file::replace(&path, &text)
    }
}
