//! What the firmware says (UEFI 2.10 §3.3; systemd's Boot Loader Interface). A file of efivarfs has four bytes of attributes
//! before the value.

use crate::places::Places;
use std::fs;

/// Whether it starts nothing without a signature: Secure Boot is on, and nobody may enroll keys.
pub(crate) fn secure_boot(places: &Places) -> bool {
    let global = |name: &str| {
        let path = places.variables.join(format!("{name}-8be4df61-93ca-11d2-aa0d-00e098032b8c"));
        fs::read(path).ok().and_then(|bytes| bytes.get(4).copied())
    };
    global("SecureBoot") == Some(1) && global("SetupMode") == Some(0)
}

/// Whether systemd-boot has counted this start, and goes back to the other image when tries are used up.
pub(crate) fn on_trial(places: &Places) -> bool {
    places.variables.join("LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f").exists()
}
