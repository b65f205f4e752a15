//! What the firmware's variables tell of its Secure Boot (UEFI 2.10 §3.3, §32.6.1).

use crate::log;
use efivars::{FOLDER, Name, Variables};
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

impl Firmware {
    /// Asks the firmware of this machine. Its variables are mounted for that only: systemd mounts them for who may change them.
    pub(crate) fn ask() -> Result<Self, String> {
        let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("efivarfs", FOLDER, "efivarfs", flags, None)
            .map_err(|e| format!("cannot ask the firmware: mount of efivarfs: {}", io::Error::from(e)))?;
        let answer = Self::read(&Variables::default());
        if let Err(e) = unmount(FOLDER, UnmountFlags::DETACH) {
            log::warning(&format!("{FOLDER} stays mounted: {}", io::Error::from(e)));
        }
        answer
    }

    /// From its variables; the reason, where there is no Secure Boot.
    pub(crate) fn read(variables: &Variables) -> Result<Self, String> {
        let text = |e: efivars::Error| e.to_string();
        if !variables.secure_boot().map_err(text)? {
            return Err("Secure Boot is off, no addon counts".to_owned());
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
