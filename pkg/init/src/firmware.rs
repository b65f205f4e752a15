//! The firmware's variables about its Secure Boot (UEFI 2.10 §3.3, §32.6.1), and about the disk that it has started (§3.1).

use crate::{boot_path::BootPath, log};
use efivars::{FOLDER, Name, Variables, Vendor};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use sign::Trust;
use std::io;

/// A firmware that starts nothing unless it is signed.
pub(crate) struct Firmware {
    /// Whose programs it starts.
    pub(crate) trust: Trust,
    /// The path of the kernel image on the EFI system partition.
    pub(crate) image: Option<String>,
}

/// The facts about the start by which its disk is known.
#[derive(Debug, Default)]
pub(crate) struct Started {
    /// The GUID of the EFI system partition, as the boot loader read it, in small letters.
    pub(crate) esp: Option<String>,
    /// The place of the disk.
    pub(crate) path: Option<BootPath>,
}

impl Started {
    /// Asks the firmware of this machine. Firmware that does not answer names no disk.
    pub(crate) fn ask() -> Self {
        with_variables(Self::read).unwrap_or_else(|reason| {
            log::warning(&format!("the firmware does not say which disk it has started: {reason}"));
            Self::default()
        })
    }

    fn read(variables: &Variables) -> Result<Self, String> {
        let value = |name: Name<'_>| variables.value(name).map_err(|e| e.to_string());
        let esp = Some(utf16(&value(Name::LOADER_PARTITION)?).to_lowercase()).filter(|guid| !guid.is_empty());
        let path = match value(Name(Vendor::Global, "BootCurrent"))?.as_slice() {
            [low, high] => {
                let entry = format!("Boot{:04X}", u16::from_le_bytes([*low, *high]));
                BootPath::of_entry(&value(Name(Vendor::Global, &entry))?)
            }
            _ => None,
        };
        Ok(Self { esp, path })
    }
}

/// Mounts the variables for one look: systemd mounts them later for those who may change them.
fn with_variables<T>(look: impl FnOnce(&Variables) -> Result<T, String>) -> Result<T, String> {
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("efivarfs", FOLDER, "efivarfs", flags, None)
        .map_err(|e| format!("cannot ask the firmware: mount of efivarfs: {}", io::Error::from(e)))?;
    let answer = look(&Variables::default());
    if let Err(e) = unmount(FOLDER, UnmountFlags::DETACH) {
        log::warning(&format!("{FOLDER} stays mounted: {}", io::Error::from(e)));
    }
    answer
}

impl Firmware {
    /// Asks the firmware of this machine.
    pub(crate) fn ask() -> Result<Self, String> {
        with_variables(Self::read)
    }

    /// From its variables; the reason, where there is no Secure Boot.
    pub(crate) fn read(variables: &Variables) -> Result<Self, String> {
        let text = |e: efivars::Error| e.to_string();
        if !variables.secure_boot().map_err(text)? {
            return Err("Secure Boot is off, no addon is accepted".to_owned());
        }
        let (allowed, forbidden) = (variables.allowed().map_err(text)?, variables.forbidden().map_err(text)?);
        let trust = Trust::read(&allowed, &forbidden).map_err(|e| format!("db, dbx or what shim has: {e}"))?;
        let image = variables.read(Name::STUB_IMAGE).map_err(text)?;
        Ok(Self { trust, image: image.map(|variable| utf16(&variable.value)) })
    }
}

/// A text in UTF-16, up to its zero.
fn utf16(raw: &[u8]) -> String {
    let units = raw.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).take_while(|unit| *unit != 0);
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_disk_that_was_started_is_read_from_loader_and_boot_entry() {
        let dir = tempfile::tempdir().unwrap();
        let variables = Variables::at(dir.path());
        let set = |name: Name<'_>, value: &[u8]| {
            fs::write(variables.path(name), [&[6, 0, 0, 0][..], value].concat()).unwrap();
        };
        let read = || Started::read(&variables).unwrap();
        assert!(read().esp.is_none() && read().path.is_none(), "no variables at all");
        let guid: Vec<u8> = "00AB\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
        set(Name::LOADER_PARTITION, &guid);
        set(Name(Vendor::Global, "BootCurrent"), &[0x0a, 0]);
        assert!(read().path.is_none(), "the entry is gone");
        // active, no description, PciRoot(0)/Pci(3,0)
        let path = [2, 1, 12, 0, 0xd0, 0x41, 3, 0x0a, 0, 0, 0, 0, 1, 1, 6, 0, 0, 3, 0x7f, 0xff, 4, 0];
        set(Name(Vendor::Global, "Boot000A"), &[&[1, 0, 0, 0, path.len() as u8, 0, 0, 0][..], &path].concat());
        assert!(read().path.is_some());
        assert_eq!(read().esp.as_deref(), Some("00ab"));
    }
}
