//! The machine-id and the host name, which systemd reads when it starts (machine-id(5), `systemd.machine_id=` is not used).
//!
//! ```text
//! UUID of the firmware, if it is the machine's own ─┐
//! GUID of P3, if P3 is there ───────────────────────┼─► /run/machine-id ─► bound to /etc/machine-id of the root
//! random ─── `vault make` makes it the GUID of P3 ──┘         └─► host name `<product>-<8 digits>`
//! ```
//! P3 itself may still be closed, but its GUID stands in the partition table. So a device without a UUID of its own has
//! one id from its first start on, for as long as it keeps its state.
//!
//! Without an identity the start goes on: systemd then makes up an id for this start.

use crate::{error::Error, files, log};
use device::identity::MachineId;
use rustix::{mount::mount_bind, system::sethostname};
use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

/// Where the facts are, so that tests can have their own.
struct Paths {
    firmware: PathBuf,
    random: PathBuf,
    os_release: PathBuf,
}

/// Who this device is.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    id: MachineId,
    /// Where the id is from, for the log.
    source: &'static str,
    host_name: String,
}

/// Gives the system below `root` its identity. `persist` is the GUID of P3.
pub(crate) fn set(persist: Option<&[u8; 16]>, root: &Path) {
    let paths = Paths {
        firmware: "/sys/class/dmi/id/product_uuid".into(),
        // blocks until the kernel has collected enough randomness
        random: "/dev/random".into(),
        os_release: root.join("usr/lib/os-release"),
    };
    let result = find(persist, &paths).and_then(|identity| {
        let Identity { id, source, host_name } = &identity;
        log::info(&format!("machine-id {id}, {source}; host name {host_name}"));
        hand_over(&identity, root)
    });
    if let Err(e) = result {
        log::warning(&format!("no identity of this device, systemd makes one up for this start: {e}"));
    }
}

fn find(persist: Option<&[u8; 16]>, paths: &Paths) -> Result<Identity, Error> {
    // a machine without SMBIOS has no such file
    let firmware = files::read_text(&paths.firmware).unwrap_or_default();
    let firmware = MachineId::of_firmware(&firmware).map(|id| (id, "the firmware's UUID"));
    let kept = || persist.and_then(MachineId::of_partition).map(|id| (id, "kept as the GUID of P3"));
    let (id, source) = match firmware.or_else(kept) {
        Some(found) => found,
        None => (random(&paths.random)?, "random: the firmware has no UUID of its own, and there is no P3 yet"),
    };
    let product = product(&files::read_text(&paths.os_release)?);
    Ok(Identity { id, source, host_name: id.host_name(&product) })
}

fn random(path: &Path) -> Result<MachineId, Error> {
    let mut bytes = [0; 16];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|source| Error::Io { action: "read", path: path.to_owned(), source })?;
    Ok(MachineId::of_random(bytes))
}

/// What the definition of the root calls a device: `DEFAULT_HOSTNAME` of os-release(5).
fn product(os_release: &str) -> String {
    let value = os_release.lines().find_map(|line| line.strip_prefix("DEFAULT_HOSTNAME="));
    value.map(|value| value.trim_matches('"')).filter(|value| !value.is_empty()).unwrap_or("localhost").to_owned()
}

fn hand_over(identity: &Identity, root: &Path) -> Result<(), Error> {
    let (from, to) = (Path::new("/run/machine-id"), root.join("etc/machine-id"));
    files::write(from, &format!("{}\n", identity.id))?;
    mount_bind(from, &to).map_err(|e| Error::mount(from.display(), to.display(), e))?;
    // systemd keeps a name that is set when it starts, unless /etc/hostname has another
    sethostname(identity.host_name.as_bytes()).map_err(|e| Error::Io {
        action: "set the host name by",
        path: "/proc/sys/kernel/hostname".into(),
        source: e.into(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

    /// A machine whose firmware has this UUID, and what a source of randomness gives.
    fn machine(uuid: &str, random: &[u8]) -> (tempfile::TempDir, Paths) {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths {
            firmware: dir.path().join("product_uuid"),
            random: dir.path().join("random"),
            os_release: dir.path().join("os-release"),
        };
        fs::write(&paths.firmware, format!("{uuid}\n")).unwrap();
        fs::write(&paths.random, random).unwrap();
        fs::write(&paths.os_release, "ID=\"evek\"\nDEFAULT_HOSTNAME=\"evek\"\n").unwrap();
        (dir, paths)
    }

    fn guid(id: &MachineId) -> [u8; 16] {
        u128::from_str_radix(&id.to_string(), 16).unwrap().to_be_bytes()
    }

    #[test]
    fn the_uuid_of_the_firmware_stays_the_machine_id() {
        let (_dir, paths) = machine("0de00b1c-5f43-4f63-9f1d-7e4b52e6a1d0", b"");
        let found = find(Some(&[7; 16]), &paths).unwrap();
        assert_eq!(found.id.to_string(), "0de00b1c5f434f639f1d7e4b52e6a1d0");
        assert_eq!(found.host_name, "evek-e0fc86bd");
    }

    #[test]
    fn without_a_uuid_all_starts_have_the_id_of_the_first() {
        for uuid in ["00000000-0000-0000-0000-000000000000", "03000200-0400-0500-0006-000700080009", "Not Settable"] {
            let (dir, paths) = machine(uuid, b"0123456789abcdef");
            let first = find(None, &paths).unwrap();
            // `vault make` gives P3 that GUID
            fs::write(dir.path().join("random"), b"fedcba9876543210").unwrap();
            for _ in 0..2 {
                let later = find(Some(&guid(&first.id)), &paths).unwrap();
                assert_eq!((later.id, &later.host_name), (first.id, &first.host_name), "{uuid}");
            }
        }
    }

    #[test]
    fn two_boards_with_one_sample_uuid_have_two_ids_and_two_names() {
        let sample = "03000200-0400-0500-0006-000700080009";
        let (_one, one) = machine(sample, b"randomness of  1");
        let (_two, two) = machine(sample, b"randomness of  2");
        let (one, two) = (find(None, &one).unwrap(), find(None, &two).unwrap());
        assert_ne!(one.id, two.id);
        assert_ne!(one.host_name, two.host_name);
    }

    #[test]
    fn a_machine_without_smbios_gets_an_id_too() {
        let (dir, paths) = machine("", b"0123456789abcdef");
        fs::remove_file(dir.path().join("product_uuid")).unwrap();
        assert!(find(None, &paths).is_ok());
        fs::remove_file(dir.path().join("random")).unwrap();
        assert!(find(None, &paths).unwrap_err().to_string().starts_with("cannot read "));
    }
}
