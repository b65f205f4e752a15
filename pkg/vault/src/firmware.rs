//! The firmware's variables (UEFI 2.10 §3.3; systemd's Boot Loader Interface; systemd-stub(7)).

use crate::paths::Paths;
use efivars::{Error, Name, Variables, Vendor};

/// The register that the stub measured the kernel image into; absent where it measured nothing.
const STUB_MEASURED: Name = Name(Vendor::Loader, "StubPcrKernelImage");

/// Whether the firmware refuses programs without a signature: Secure Boot is on, and nobody may enroll keys.
pub(crate) fn secure_boot(paths: &Paths) -> Result<bool, Error> {
    let variables = Variables::at(&paths.variables);
    Ok(variables.secure_boot()? && !variables.setup_mode()?)
}

/// Whether this start is one of an image's tries: systemd-boot goes back to the other image when they are used up.
pub(crate) fn on_trial(paths: &Paths) -> Result<bool, Error> {
    Ok(Variables::at(&paths.variables).read(Name::BOOT_COUNT_PATH)?.is_some())
}

/// Whether the EFI stub measured the kernel image.
pub(crate) fn stub_measured(paths: &Paths) -> Result<bool, Error> {
    Ok(Variables::at(&paths.variables).read(STUB_MEASURED)?.is_some())
}
