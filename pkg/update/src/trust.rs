//! Whose updates and programs this device takes: those of the owner of its firmware, if the firmware asks for signatures; else
//! of whoever the image that it runs would have enrolled.
//!
//! ```text
//! Secure Boot on   db, shim's list  ─┐
//!             off  ESP              ─┴─► who may sign ── but what dbx has ─► kernel image, boot loader; the key of `update.json`
//! ```

use crate::{error::Error, places::Places};
use boot::loader::CERTIFICATE;
use disk::Blocks;
use efivars::Variables;
use sign::{Certificate, Trust, variable};
use slots::Device;

/// What systemd-boot would enroll.
const ENROLLED: &str = "loader/keys/auto/db.auth";

/// Whom this device trusts.
pub(crate) fn read<B: Blocks>(places: &Places, device: &Device<B>) -> Result<Trust, Error> {
    let variables = Variables::at(&places.variables);
    let allowed = if variables.secure_boot()? {
        variables.allowed()?
    } else if let Some(write) = device.read(ENROLLED)? {
        variable::written(&write)?.to_owned()
    } else if let Some(certificate) = device.read(CERTIFICATE)? {
        variable::list(&Certificate::from_der(&certificate)?, [0; 16])
    } else {
        return Err(Error::NoTrust(format!(
            "without Secure Boot, {ENROLLED} on the ESP says whose, or {CERTIFICATE}; they are missing"
        )));
    };
    // what the firmware will not start once Secure Boot is on is not wanted before, either
    let trust = Trust::read(&allowed, &variables.forbidden()?)?;
    if trust.is_empty() {
        return Err(Error::NoTrust("there is no certificate among those that its firmware knows".to_owned()));
    }
    Ok(trust)
}

#[cfg(test)]
#[path = "trust_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
