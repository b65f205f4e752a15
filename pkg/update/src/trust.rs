//! Whose updates and programs this device takes: those of the owner of its firmware, if the firmware asks for signatures; else
//! of whoever the image that it runs would have enrolled.

use crate::{error::Error, places::Places};
use disk::Blocks;
use sign::{Certificate, variable};
use slots::Device;
use std::fs;

/// `EFI_IMAGE_SECURITY_DATABASE_GUID` (UEFI 2.10 §32.6.1), `EFI_GLOBAL_VARIABLE` (§3.3).
const DB: &str = "db-d719b2cb-3d3a-4596-a3bc-dad00e67656f";
const SECURE_BOOT: &str = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// What systemd-boot would enroll.
const ENROLLED: &str = "loader/keys/auto/db.auth";
/// Attributes before a variable's value (kernel, `Documentation/filesystems/efivarfs.rst`).
const ATTRIBUTES: usize = 4;

/// The certificates that this device trusts.
pub(crate) fn certificates<B: Blocks>(places: &Places, device: &Device<B>) -> Result<Vec<Certificate>, Error> {
    let enforced = fs::read(places.variables.join(SECURE_BOOT)).is_ok_and(|value| value.get(ATTRIBUTES) == Some(&1));
    let found = if enforced {
        let path = places.variables.join(DB);
        let value = fs::read(&path).map_err(Error::io("read", &path))?;
        variable::certificates(value.get(ATTRIBUTES..).unwrap_or_default())?
    } else {
        let Some(write) = device.read(ENROLLED)? else {
            return Err(Error::NoTrust(format!(
                "without Secure Boot, {ENROLLED} on the ESP says whose; it is missing"
            )));
        };
        variable::certificates(variable::written(&write)?)?
    };
    if found.is_empty() {
        return Err(Error::NoTrust("there is no certificate among those that its firmware knows".to_owned()));
    }
    Ok(found)
}
