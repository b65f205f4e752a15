//! `/config/vault.yml`: the owner's decisions about a P3 that no TPM protects.

use crate::{error::Error, paths::Paths};
use serde::Deserialize;

const FILE: &str = "vault.yml";

/// The owner's decisions. Each has a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// How P3 is made in a machine without a usable TPM 2.
    pub(crate) without_tpm: WithoutTpm,
    /// A P3 that is not encrypted, in a machine with a usable TPM 2.
    pub(crate) plain_with_tpm: Verdict,
    /// An encrypted P3 that is another volume than this machine's TPM sealed last.
    pub(crate) other_volume: Verdict,
}

/// How P3 is made in a machine without a usable TPM 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WithoutTpm {
    /// Not encrypted.
    #[default]
    Plain,
    /// Encrypted by the key on the owner's medium, which every start needs.
    Key,
    /// Not at all; a P3 that is not encrypted is refused, too.
    Refuse,
}

/// Whether the device uses a P3 that its TPM does not vouch for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// P3 stays closed.
    #[default]
    Refuse,
    /// P3 is opened, and `vault status` warns.
    Accept,
}

impl Config {
    pub(crate) fn read(paths: &Paths) -> Result<Self, Error> {
        let path = paths.config.join(FILE);
        if !path.try_exists().map_err(Error::io("look for", path))? {
            return Ok(Self::default());
        }
        Ok(yaml::Source::open(&paths.config, FILE)?.parse()?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_safe_and_mistakes_are_shown() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { config: folder.path().to_owned(), ..Paths::default() };
        let default = Config::read(&paths).unwrap();
        assert_eq!(default.without_tpm, WithoutTpm::Plain);
        assert_eq!((default.plain_with_tpm, default.other_volume), (Verdict::Refuse, Verdict::Refuse));
        let write = |text: &str| std::fs::write(folder.path().join(FILE), text).unwrap();
        write("without_tpm: refuse\n");
        assert_eq!(Config::read(&paths).unwrap(), Config { without_tpm: WithoutTpm::Refuse, ..default });
        write("plain_with_tpm: accept\nother_volume: accept\n");
        let accepting = Config { plain_with_tpm: Verdict::Accept, other_volume: Verdict::Accept, ..default };
        assert_eq!(Config::read(&paths).unwrap(), accepting);
        write("# of this device\nwithout_tpm: keys\n");
        let error = Config::read(&paths).unwrap_err().to_string();
        assert!(error.contains("vault.yml:2") && error.contains("did you mean `key`?"), "{error}");
        write("without_tmp: key\n");
        let error = Config::read(&paths).unwrap_err().to_string();
        assert!(error.contains("vault.yml:1") && error.contains("unknown field `without_tmp`"), "{error}");
    }
}
