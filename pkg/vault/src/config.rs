//! `/config/vault.yml`: what the owner wants where there is no TPM.

use crate::{error::Error, places::Places};
use serde::Deserialize;

const FILE: &str = "vault.yml";

/// What the owner says. Everything has a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// How P3 is made in a machine without a TPM 2.
    pub(crate) without_tpm: WithoutTpm,
}

/// How P3 is made in a machine without a TPM 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WithoutTpm {
    /// Not encrypted.
    #[default]
    Plain,
    /// Encrypted by the key on the owner's medium, which every start needs.
    Key,
    /// Not at all; nor is a P3 opened that is not encrypted.
    Refuse,
}

impl Config {
    pub(crate) fn read(places: &Places) -> Result<Self, Error> {
        if !places.config.join(FILE).exists() {
            return Ok(Self::default());
        }
        Ok(yaml::Source::open(&places.config, FILE)?.parse()?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn nothing_need_be_said_and_mistakes_are_shown() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places { config: folder.path().to_owned(), ..Places::default() };
        assert_eq!(Config::read(&places).unwrap().without_tpm, WithoutTpm::Plain);
        let write = |text: &str| std::fs::write(folder.path().join(FILE), text).unwrap();
        write("without_tpm: refuse\n");
        assert_eq!(Config::read(&places).unwrap().without_tpm, WithoutTpm::Refuse);
        write("# of this device\nwithout_tpm: keys\n");
        let error = Config::read(&places).unwrap_err().to_string();
        assert!(error.contains("vault.yml:2") && error.contains("did you mean `key`?"), "{error}");
        write("without_tmp: key\n");
        let error = Config::read(&places).unwrap_err().to_string();
        assert!(error.contains("vault.yml:1") && error.contains("unknown field `without_tmp`"), "{error}");
    }
}
