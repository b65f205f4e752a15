//! Whose updates and programs this device takes: those of the owner of its firmware, if the firmware asks for signatures; else
//! of whoever the image that it runs would have enrolled.

use crate::{error::Error, places::Places};
use disk::Blocks;
use efivars::{Name, Variables};
use sign::{Certificate, variable};
use slots::Device;

/// What systemd-boot would enroll.
const ENROLLED: &str = "loader/keys/auto/db.auth";

/// The certificates that this device trusts.
pub(crate) fn certificates<B: Blocks>(places: &Places, device: &Device<B>) -> Result<Vec<Certificate>, Error> {
    let variables = Variables::at(&places.variables);
    let found = if variables.secure_boot()? {
        variable::certificates(&variables.value(Name::DB)?)?
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
