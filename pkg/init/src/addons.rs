//! Addons: arguments for the kernel beside those of its image, signed by somebody whom the owner has the firmware trust
//! (docs/secure-boot.md, "Debugging a device").
//!
//! ```text
//! ESP of the slot's disk  loader/addons/*.addon.efi ─┐ each signed by a certificate in the firmware's `db`?
//!                         <image>.extra.d/…         ─┴─► texts ─► signed line + texts = /proc/cmdline?
//! ```
//! The EFI stub has verified the same signatures, but leaves no record: the arguments that it adds for SMBIOS look alike.
//!
//! Every failure here has one result: the kernel has received arguments that nobody signed, and the start is refused.

use crate::{
    cmdline::{Arguments, More},
    disks::Slot,
    error::Error,
    firmware::Firmware,
    log,
};
use boot::addon;
use disk::{Blocks, Window, fat::Edit};
use std::fs::File;
use types::{Arch, Bytes};

/// An addon whose signature is good.
#[derive(Debug, PartialEq, Eq)]
struct Addon {
    /// Its file.
    name: String,
    /// Who has signed it.
    signer: String,
    /// The arguments.
    text: String,
}

/// What is on an EFI system partition.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    /// The addons that the EFI stub has taken arguments from, in its order.
    addons: Vec<Addon>,
    /// The others, each with the reason why the stub has not.
    others: Vec<String>,
}

/// The kernel that addons are for.
struct Kernel {
    arch: Arch,
    /// As `uname -r`.
    release: String,
}

/// The arguments that the kernel received, if addons on the disk of the slot account for them.
pub(crate) fn check(more: More, slot: &Slot) -> Result<Arguments, Error> {
    let found = on_disk(slot);
    let arguments = judge(more, &found)?;
    let Found { addons, others } = found.unwrap_or_default();
    for other in others {
        log::warning(&format!("no addon: {other}"));
    }
    for Addon { name, signer, text } in addons {
        log::warning(&format!("debug addon {name}, signed by {signer}: {text}"));
    }
    Ok(arguments)
}

/// Accepts the arguments if the addons that were found account for them.
fn judge(more: More, found: &Result<Found, String>) -> Result<Arguments, Error> {
    let Found { addons, others } = match found {
        Ok(found) => found,
        Err(reason) => return Err(more.refused(reason)),
    };
    let texts: Vec<String> = addons.iter().map(|addon| addon.text.clone()).collect();
    more.with(&texts).map_err(|more| {
        let names: Vec<&str> = addons.iter().map(|addon| addon.name.as_str()).collect();
        let with =
            if names.is_empty() { "no addon is accepted".to_owned() } else { format!("nor with {}", names.join(", ")) };
        more.refused([&[with], others.as_slice()].concat().join("; "))
    })
}

/// What is on the disk of the slot; the reason, where nothing can count.
fn on_disk(slot: &Slot) -> Result<Found, String> {
    let firmware = Firmware::ask()?;
    let arch = Arch::host().ok_or("addons are for x86-64 and AArch64 only")?;
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let path = slot.disk.display();
    let esp = slot.esp.clone().ok_or_else(|| format!("{path} has no EFI system partition"))?;
    let disk = File::open(&slot.disk).map_err(|e| format!("cannot open {path}: {e}"))?;
    let window = Window::new(&disk, Bytes(esp.start), Bytes(esp.end - esp.start));
    let window = window.map_err(|e| format!("EFI system partition of {path}: {e}"))?;
    find(window, &firmware, &Kernel { arch, release }).map_err(|e| format!("EFI system partition of {path}: {e}"))
}

/// What is in the folders that the EFI stub looks into.
fn find(esp: impl Blocks, firmware: &Firmware, kernel: &Kernel) -> Result<Found, disk::Error> {
    let esp = Edit::open(esp)?;
    let own = firmware.image.as_deref().map(addon::folder_of);
    let mut found = Found::default();
    for folder in [Some(addon::GLOBAL.to_owned()), own].into_iter().flatten() {
        for name in addon::named(files(&esp, &folder)?) {
            let path = format!("{folder}/{name}");
            let program = esp.read(&path)?.unwrap_or_default();
            match vouched(&program, firmware, kernel) {
                Ok((signer, text)) => found.addons.push(Addon { name, signer, text }),
                Err(reason) => found.others.push(format!("{path}: {reason}")),
            }
        }
    }
    Ok(found)
}

/// Who has signed an addon, and its arguments.
fn vouched(program: &[u8], firmware: &Firmware, kernel: &Kernel) -> Result<(String, String), String> {
    let signer = firmware.trust.signer(program).map_err(|e| e.to_string())?;
    let text = addon::arguments(program, kernel.arch, &kernel.release).map_err(|e| e.to_string())?;
    Ok((signer.subject(), text))
}

/// The names of the files in a folder; none where there is no such folder.
fn files<B: Blocks>(esp: &Edit<B>, folder: &str) -> Result<Vec<String>, disk::Error> {
    let mut path = String::new();
    for part in folder.split('/') {
        // FAT knows no capitals
        if !esp.list(&path)?.iter().any(|item| item.is_folder && item.name.eq_ignore_ascii_case(part)) {
            return Ok(Vec::new());
        }
        path = if path.is_empty() { part.to_owned() } else { format!("{path}/{part}") };
    }
    Ok(esp.list(&path)?.into_iter().filter(|item| !item.is_folder).map(|item| item.name).collect())
}

#[cfg(test)]
#[path = "addons_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
