//! `/config/update.yml`: how this device is updated.

use crate::{error::Error, places::Places};
use serde::Deserialize;
use types::Bytes;

const FILE: &str = "update.yml";

/// What the owner says. Everything has a default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Where updates come from.
    pub(crate) source: Option<String>,
    /// Bytes a second.
    pub(crate) limit: Option<Bytes>,
    /// When a new image is good.
    pub(crate) health: Health,
}

/// When a new image is good.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Health {
    /// Seconds from the start of the system until every service must be ready and every address must have answered.
    pub(crate) within: u64,
    /// Addresses (http, https) that must answer, such as the controller's.
    pub(crate) reach: Vec<String>,
    /// How often a new image may start before it is given up.
    pub(crate) tries: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self { within: 900, reach: Vec::new(), tries: slots::TRIES }
    }
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
        assert_eq!(Config::read(&places).unwrap(), Config::default());
        let write = |text: &str| std::fs::write(folder.path().join(FILE), text).unwrap();
        write("source: usb\nlimit: 1MiB\nhealth: {within: 60, reach: ['https://controller']}\n");
        let read = Config::read(&places).unwrap();
        assert_eq!((read.limit, read.health.within), (Some(Bytes::mib(1)), 60));
        write("source: usb\nhealt: {}\n");
        assert!(Config::read(&places).unwrap_err().to_string().contains("update.yml:2"));
    }
}
