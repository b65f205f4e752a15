//! The running image, its disk, and the commands of the system.

use crate::{error::Error, paths::Paths};
use disk::Guid;
use efivars::{Name, Variables, Vendor};
use rustix::system::{RebootCommand, reboot, sysinfo};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    fs::{self, File, Metadata},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};
use types::{Arch, Digest, Flavour};

/// The partition that the boot loader was started from (systemd, *Boot Loader Interface*).
const STARTED_FROM: Name<'_> = Name(Vendor::Loader, "LoaderDevicePartUUID");
/// Between two requests for an orderly restart, and their number.
const RESTART_PAUSE: Duration = Duration::from_secs(10);
const RESTARTS: u32 = 3;

/// What `init` writes of the slot that it has opened. Further fields are for others.
#[derive(Debug, Deserialize)]
struct SlotJson {
    root_hash: Digest,
    /// The disk that the slot is on.
    disk: PathBuf,
}

/// The running image.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    /// The root hash of its slot.
    pub(crate) root_hash: Digest,
    /// `<version>-<flavour>-<arch>`.
    pub(crate) image: String,
    pub(crate) version: String,
    pub(crate) flavour: Flavour,
    pub(crate) arch: Arch,
    /// The oldest version that this device accepts once this image is good.
    pub(crate) floor: String,
}

impl Running {
    pub(crate) fn read(paths: &Paths) -> Result<Self, Error> {
        let SlotJson { root_hash, .. } = json(&paths.slot)?;
        let text = fs::read_to_string(&paths.os_release).map_err(Error::io("read", &paths.os_release))?;
        let fields = boot::fields(&text);
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let unknown = |name: &str| Error::Source {
            address: paths.os_release.display().to_string(),
            problem: format!("{name} is `{}`, which is none that is known", field(name)),
        };
        Ok(Self {
            root_hash,
            image: field("IMAGE_VERSION"),
            version: field("VERSION_ID"),
            flavour: field("VARIANT_ID").parse().map_err(|_| unknown("VARIANT_ID"))?,
            arch: Arch::host().ok_or_else(|| unknown("ARCHITECTURE"))?,
            floor: field("EVEK_FLOOR"),
        })
    }
}

/// Opens the disk that `init` has found the running slot on. Before udev has run there is no link to it.
pub(crate) fn disk(paths: &Paths, write: bool) -> Result<File, Error> {
    let SlotJson { disk: path, .. } = json(&paths.slot)?;
    let file = File::options().read(true).write(write).open(&path).map_err(Error::io("open", &path))?;
    let own = file.metadata().map_err(Error::io("look at", &path))?;
    match fs::metadata(&paths.disk) {
        Ok(linked) if !is_same(&own, &linked) => Err(Error::OtherDisk {
            problem: format!(
                "{} leads to another disk than {}, from which this system runs",
                paths.disk.display(),
                path.display()
            ),
        }),
        _ => Ok(file),
    }
}

/// Whether two names are of one device, or of one file, as tests have.
fn is_same(a: &Metadata, b: &Metadata) -> bool {
    if a.file_type().is_block_device() && b.file_type().is_block_device() {
        return a.rdev() == b.rdev();
    }
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Refuses to change an EFI system partition that the firmware does not start from: the change would have no effect. Where the
/// firmware names none, nothing is compared.
pub(crate) fn starts_from(paths: &Paths, esp: Guid) -> Result<(), Error> {
    let value = Variables::at(&paths.variables).value(STARTED_FROM)?;
    let units: Vec<u16> = value.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let text = String::from_utf16_lossy(&units);
    let text = text.trim_end_matches('\0');
    match text.to_ascii_lowercase().parse::<Guid>() {
        Ok(started) if started != esp => Err(Error::OtherDisk {
            problem: format!(
                "the boot loader was started from partition {started}, but the EFI system partition beside the running slot is \
                 {esp}: remove the other disk, or start from this one"
            ),
        }),
        _ => Ok(()),
    }
}

/// Reads a document.
pub(crate) fn json<T: DeserializeOwned>(path: &Path) -> Result<T, Error> {
    let text = fs::read(path).map_err(Error::io("read", path))?;
    serde_json::from_slice(&text).map_err(|e| Error::io("understand", path)(e.into()))
}

/// Runs a command and returns what it says.
pub(crate) fn run(command: &[&str]) -> Result<String, Error> {
    let failed = |problem: String| Error::Command { command: command.join(" "), problem };
    let output = Command::new(command[0]).args(&command[1..]).output().map_err(|e| failed(e.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The machine, so that tests can have another one.
pub(crate) trait System {
    /// Time since the kernel started.
    fn uptime(&self) -> Duration;
    /// Waits.
    fn pause(&self, time: Duration);
    /// Restarts the machine.
    fn restart(&self) -> Result<(), Error>;
    /// Units that have failed, and units that are still starting.
    fn units(&self) -> [Vec<String>; 2];
}

/// The machine that this program runs on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Host;

impl System for Host {
    fn uptime(&self) -> Duration {
        Duration::from_secs(sysinfo().uptime.try_into().unwrap_or(u64::MAX))
    }

    fn pause(&self, time: Duration) {
        thread::sleep(time);
    }

    /// As an orderly shutdown; where systemd refuses that again and again, at once.
    fn restart(&self) -> Result<(), Error> {
        for _ in 0..RESTARTS {
            match run(&["systemctl", "--no-block", "reboot"]) {
                Ok(_) => return Ok(()),
                Err(e) => eprintln!("{e}"),
            }
            thread::sleep(RESTART_PAUSE);
        }
        rustix::fs::sync();
        reboot(RebootCommand::Restart).map_err(|e| Error::io("restart", "the machine")(e.into()))
    }

    fn units(&self) -> [Vec<String>; 2] {
        ["failed", "activating"].map(|state| {
            let state = format!("--state={state}");
            let list = ["systemctl", "list-units", "--plain", "--no-legend", "--all", "--type=service,mount", &state];
            let text = run(&list).unwrap_or_else(|e| {
                eprintln!("{e}");
                String::new()
            });
            text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
        })
    }
}

/// The kernel's identifier of the start.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn utf16(text: &str) -> Vec<u8> {
        [7, 0, 0, 0].into_iter().chain(text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes)).collect()
    }

    #[test]
    fn the_disk_is_the_one_that_init_has_found_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let paths = Paths { slot: at("slot.json"), disk: at("link"), ..Paths::default() };
        for disk in ["vda", "vdb"] {
            fs::write(at(disk), disk).unwrap();
        }
        let text = serde_json::json!({"root_hash": Digest::of(b"a"), "disk": at("vdb"), "label": "IMGA"});
        fs::write(at("slot.json"), text.to_string()).unwrap();
        assert!(disk(&paths, true).is_ok(), "before there is a link");
        std::os::unix::fs::symlink(at("vdb"), at("link")).unwrap();
        assert!(disk(&paths, true).is_ok());
        fs::remove_file(at("link")).unwrap();
        std::os::unix::fs::symlink(at("vda"), at("link")).unwrap();
        assert!(matches!(disk(&paths, false), Err(Error::OtherDisk { .. })));
    }

    #[test]
    fn an_esp_that_was_not_started_from_is_not_changed() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { variables: folder.path().to_owned(), ..Paths::default() };
        let own = Guid::of_name("own");
        assert!(starts_from(&paths, own).is_ok(), "firmware that names none");
        let file = folder.path().join(STARTED_FROM.to_string());
        for (text, is_ok) in [
            (own.to_string().to_uppercase(), true),
            (Guid::of_name("other").to_string(), false),
            ("?".to_owned(), true),
        ] {
            fs::write(&file, utf16(&text)).unwrap();
            assert_eq!(starts_from(&paths, own).is_ok(), is_ok, "{text}");
        }
    }
}
