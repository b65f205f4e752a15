//! What the firmware says (UEFI 2.10 §3.3; systemd's Boot Loader Interface).

use crate::places::Places;
use efivars::{Error, Name, Variables};

/// Whether it starts nothing without a signature: Secure Boot is on, and nobody may enroll keys.
pub(crate) fn secure_boot(places: &Places) -> Result<bool, Error> {
    let variables = Variables::at(&places.variables);
    Ok(variables.secure_boot()? && !variables.setup_mode()?)
}

/// Whether systemd-boot has counted this start, and goes back to the other image when tries are used up.
pub(crate) fn on_trial(places: &Places) -> bool {
    Variables::at(&places.variables).path(Name::BOOT_COUNT_PATH).exists()
}
