//! Whose updates and programs this device takes: those of the owner of its firmware, if the firmware asks for signatures; else
//! of whoever the image that it runs would have enrolled.
//!
//! ```text
//! Secure Boot on   db   ─┐
//!             off  ESP  ─┴─► who may sign ── but what dbx has ─► kernel image, boot loader; the key of `update.json`
//! ```

use crate::{error::Error, places::Places};
use disk::Blocks;
use efivars::{Name, Variables};
use sign::{Trust, variable};
use slots::Device;

/// What systemd-boot would enroll.
const ENROLLED: &str = "loader/keys/auto/db.auth";

/// Whom this device trusts.
pub(crate) fn read<B: Blocks>(places: &Places, device: &Device<B>) -> Result<Trust, Error> {
    let variables = Variables::at(&places.variables);
    // what the firmware will not start once Secure Boot is on is not wanted before, either
    let dbx = variables.value(Name::DBX)?;
    let trust = if variables.secure_boot()? {
        Trust::read(&variables.value(Name::DB)?, &dbx)?
    } else {
        let Some(write) = device.read(ENROLLED)? else {
            return Err(Error::NoTrust(format!(
                "without Secure Boot, {ENROLLED} on the ESP says whose; it is missing"
            )));
        };
        Trust::read(variable::written(&write)?, &dbx)?
    };
    if trust.is_empty() {
        return Err(Error::NoTrust("there is no certificate among those that its firmware knows".to_owned()));
    }
    Ok(trust)
}

#[cfg(test)]
#[path = "trust_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
