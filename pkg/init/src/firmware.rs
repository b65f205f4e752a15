//! What the firmware's variables tell of its Secure Boot (UEFI 2.10 §3.3, §32.6.1; kernel, `Documentation/filesystems/efivarfs.rst`).

use crate::log;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use sign::Trust;
use std::{fs, io, path::Path};

const VARIABLES: &str = "/sys/firmware/efi/efivars";
const SECURE_BOOT: &str = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
const DB: &str = "db-d719b2cb-3d3a-4596-a3bc-dad00e67656f";
const DBX: &str = "dbx-d719b2cb-3d3a-4596-a3bc-dad00e67656f";
/// Which file the EFI stub was started from, by itself (systemd-stub(7)).
const IMAGE: &str = "StubImageIdentifier-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// Attributes before a variable's value.
const ATTRIBUTES: usize = 4;

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
        mount("efivarfs", VARIABLES, "efivarfs", flags, None)
            .map_err(|e| format!("cannot ask the firmware: mount of efivarfs: {}", io::Error::from(e)))?;
        let answer = Self::read(Path::new(VARIABLES));
        if let Err(e) = unmount(VARIABLES, UnmountFlags::DETACH) {
            log::warning(&format!("{VARIABLES} stays mounted: {}", io::Error::from(e)));
        }
        answer
    }

    /// From files as efivarfs has them; the reason, where there is no Secure Boot.
    pub(crate) fn read(variables: &Path) -> Result<Self, String> {
        let value = |name: &str| match fs::read(variables.join(name)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(format!("cannot read {name}: {e}")),
            Ok(file) => Ok(Some(file.get(ATTRIBUTES..).unwrap_or_default().to_owned())),
        };
        if value(SECURE_BOOT)?.as_deref() != Some(&[1]) {
            return Err("Secure Boot is off, no addon counts".to_owned());
        }
        let (db, dbx) = (value(DB)?.unwrap_or_default(), value(DBX)?.unwrap_or_default());
        let trust = Trust::read(&db, &dbx).map_err(|e| format!("db and dbx: {e}"))?;
        Ok(Self { trust, image: value(IMAGE)?.map(|raw| text(&raw)) })
    }
}

/// A text in UTF-16, up to its zero.
fn text(raw: &[u8]) -> String {
    let units = raw.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).take_while(|unit| *unit != 0);
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}
