//! The device that tests go on from when they judge what happens on a device that is up.

use crate::{Boot, secure_boot::secured};
use types::{Arch, Flavour};
use vm::Network;

/// Seconds that a new image has where it is to be found good, on a host that does other things as well.
pub const PATIENCE: u32 = 900;

/// A device of the flavour kvm with Secure Boot, a watchdog, a network, one try for new images and a port for a stick; and with
/// a TPM where Debian's kernel has a driver for it. All tests that restore it share one saved machine.
#[must_use]
pub fn device(name: &'static str, arch: Arch) -> Boot {
    impatient(name, arch, PATIENCE)
}

/// The same, which gives a new image so many seconds. It is another saved machine.
#[must_use]
pub fn impatient(name: &'static str, arch: Arch, seconds: u32) -> Boot {
    let patience = format!("health: {{within: {seconds}, tries: 1}}\n");
    secured(Boot {
        network: Network::User { forwards: Vec::new() },
        config: vec![("update.yml".to_owned(), patience.into())],
        reboots: true,
        tpm: arch == Arch::Amd64,
        watchdog: true,
        extra: ["-device", "qemu-xhci"].map(str::to_owned).to_vec(),
        ..Boot::of(name, Flavour::Kvm, arch)
    })
}
