//! The oldest version that this device accepts.
//!
//! ```text
//!  floor.json on P3                 raised by `bless` to EVEK_FLOOR of each image that is good
//!  EVEK_FLOOR of the running image  protected by dm-verity; the lower bound once that image is good
//! ```
//! A damaged `floor.json` closes the way back: until its owner removes the file, nothing older than the running image is accepted.
//!
//! > **Warning.** The boot loader does not look at the floor. Someone who can write to the disk can still start an older image that
//! > is signed; revoke such images in `dbx`.

use crate::{
    error::Error,
    machine::Running,
    record::{KeptFloor, Records},
};
use slots::compare;
use std::cmp::Ordering;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Floor {
    /// The oldest version; empty where there is none.
    pub(crate) version: String,
    /// Why the file that is kept cannot be used.
    pub(crate) damage: Option<String>,
}

impl Floor {
    /// Of a device whose running image is good, or still on trial: that one's own floor binds nobody yet.
    pub(crate) fn read(records: &Records, running: &Running, is_good: bool) -> Self {
        let own = if is_good { running.floor.as_str() } else { "" };
        match records.floor() {
            Ok(kept) => {
                let kept = kept.map(|kept| kept.version).unwrap_or_default();
                Self { version: newer(own, &kept).to_owned(), damage: None }
            }
            Err(e) => Self { version: newer(own, &running.version).to_owned(), damage: Some(e.to_string()) },
        }
    }

    /// Refuses what is older; the text says why.
    pub(crate) fn allows(&self, version: &str) -> Result<(), String> {
        if compare(version, &self.version) != Ordering::Less {
            return Ok(());
        }
        let text = format!("nothing older than {} may run here any more", self.version);
        Err(match &self.damage {
            None => text,
            Some(damage) => format!("{text}, because {damage}; remove that file to accept older versions again"),
        })
    }

    /// Raises the floor that is kept to that of an image that is good.
    pub(crate) fn raise(records: &Records, running: &Running) -> Result<(), Error> {
        let kept = records.floor()?.map(|kept| kept.version).unwrap_or_default();
        if compare(&running.floor, &kept) == Ordering::Greater {
            records.set_floor(&KeptFloor { version: running.floor.clone() })?;
        }
        Ok(())
    }
}

fn newer<'a>(a: &'a str, b: &'a str) -> &'a str {
    if compare(a, b) == Ordering::Less { b } else { a }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::paths::Paths;
    use std::fs;
    use types::{Arch, Digest, Flavour};

    fn running(version: &str, floor: &str) -> Running {
        Running {
            root_hash: Digest::of(version.as_bytes()),
            image: format!("{version}-kvm-amd64"),
            version: version.into(),
            flavour: Flavour::Kvm,
            arch: Arch::Amd64,
            floor: floor.into(),
        }
    }

    #[test]
    fn the_running_image_is_the_lower_bound_and_damage_closes_the_way_back() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { state: folder.path().join("update"), ..Paths::default() };
        let records = Records::at(&paths);
        let image = running("0.5.0", "0.2.0");
        let version = |is_good| Floor::read(&records, &image, is_good).version;
        assert_eq!((version(true), version(false)), ("0.2.0".to_owned(), String::new()), "nothing is kept");
        Floor::raise(&records, &image).unwrap();
        Floor::raise(&records, &running("0.1.0", "0.1.0")).unwrap();
        assert_eq!((version(true), version(false)), ("0.2.0".to_owned(), "0.2.0".to_owned()), "it only rises");
        let kept = Floor::read(&records, &image, true);
        assert!(kept.allows("0.2.0").is_ok() && kept.allows("0.2.0~rc1").is_err());

        let file = paths.state.join("floor.json");
        for damage in ["", "{", "{\"version\":7}", "[]"] {
            fs::write(&file, damage).unwrap();
            let floor = Floor::read(&records, &image, true);
            let refused = floor.allows("0.4.0").unwrap_err();
            assert!(refused.contains("older than 0.5.0") && refused.contains("floor.json"), "`{damage}`: {refused}");
            assert!(floor.allows("0.5.0").is_ok() && floor.allows("0.6.0").is_ok(), "`{damage}`");
            assert!(Floor::raise(&records, &image).is_err(), "`{damage}`: it is not replaced by a lower one");
            assert_eq!(fs::read_to_string(&file).unwrap(), damage);
        }
    }
}
