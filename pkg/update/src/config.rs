//! `/config/update.yml`: how this device is updated.
//!
//! A mistake in the file must not make a good image fail: an image is then judged by the defaults, and `update status` shows the
//! mistake.

use crate::{error::Error, paths::Paths};
use serde::Deserialize;
use types::Bytes;

const FILE: &str = "update.yml";

/// The owner's settings. Each has a default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// The source of updates.
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
    /// Starts of a new image before it is given up.
    pub(crate) tries: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self { within: 900, reach: Vec::new(), tries: slots::TRIES }
    }
}

impl Config {
    pub(crate) fn read(paths: &Paths) -> Result<Self, Error> {
        if !paths.config.join(FILE).exists() {
            return Ok(Self::default());
        }
        Ok(yaml::Source::open(&paths.config, FILE)?.parse()?)
    }

    /// The settings by which an image is judged, and what is wrong with the file: then the defaults, which ask no address.
    pub(crate) fn or_default(paths: &Paths) -> (Self, Option<String>) {
        match Self::read(paths) {
            Ok(config) => (config, None),
            Err(e) => (Self::default(), Some(format!("{e}; until {FILE} is corrected, its defaults are used"))),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_default_and_mistakes_are_shown() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { config: folder.path().to_owned(), ..Paths::default() };
        assert_eq!(Config::read(&paths).unwrap(), Config::default());
        let write = |text: &str| std::fs::write(folder.path().join(FILE), text).unwrap();
        write("source: usb\nlimit: 1MiB\nhealth: {within: 60, reach: ['https://controller']}\n");
        let read = Config::read(&paths).unwrap();
        assert_eq!((read.limit, read.health.within), (Some(Bytes::mib(1)), 60));
        write("source: usb\nhealt: {}\n");
        assert!(Config::read(&paths).unwrap_err().to_string().contains("update.yml:2"));
        let (judged, warning) = Config::or_default(&paths);
        assert_eq!(judged, Config::default());
        assert!(warning.unwrap().contains("update.yml:2"));
    }
}
