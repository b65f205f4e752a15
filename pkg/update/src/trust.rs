//! The certificates whose updates and programs this device accepts. With Secure Boot they are those of its firmware; without, the
//! certificate that the running image would enroll.
//!
//! ```text
//! Secure Boot on   db, shim's list  ─┐
//!             off  ESP              ─┴─► who may sign ── but what dbx has ─► kernel image, boot loader; the key of `update.json`
//! ```

use crate::{error::Error, paths::Paths};
use boot::loader::CERTIFICATE;
use disk::Blocks;
use efivars::Variables;
use sign::{Certificate, Trust, variable};
use slots::Device;

/// The certificates that systemd-boot would enroll.
const ENROLLED: &str = "loader/keys/auto/db.auth";

/// The certificates that this device trusts.
pub(crate) fn read<B: Blocks>(paths: &Paths, device: &Device<B>) -> Result<Trust, Error> {
    let variables = Variables::at(&paths.variables);
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
    // a program that the firmware refuses once Secure Boot is on is refused before, too
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
