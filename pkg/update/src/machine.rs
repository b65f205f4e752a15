//! What is running, and the commands of the system.

use crate::{error::Error, places::Places};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    fs::{self, File},
    path::Path,
    process::Command,
};
use types::{Arch, Digest, Flavour};

/// What init has written of the slot that it has opened.
#[derive(Debug, Deserialize)]
struct SlotJson {
    root_hash: Digest,
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
    /// The oldest version that may be gone back to once this one is good.
    pub(crate) floor: String,
}

impl Running {
    pub(crate) fn read(places: &Places) -> Result<Self, Error> {
        let SlotJson { root_hash } = json(&places.slot)?;
        let text = fs::read_to_string(&places.os_release).map_err(Error::io("read", &places.os_release))?;
        let fields = boot::fields(&text);
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let unknown = |name: &str| Error::Source {
            address: places.os_release.display().to_string(),
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

/// Opens the device's disk.
pub(crate) fn disk(places: &Places, write: bool) -> Result<File, Error> {
    File::options().read(true).write(write).open(&places.disk).map_err(Error::io("open", &places.disk))
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

/// Restarts the machine, as an orderly shutdown.
pub(crate) fn restart() -> Result<(), Error> {
    run(&["systemctl", "--no-block", "reboot"]).map(drop)
}

/// The kernel's name of this start.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Seconds since the kernel started.
pub(crate) fn uptime() -> u64 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split(['.', ' ']).next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0)
}
