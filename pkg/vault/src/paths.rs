//! The paths of a device.

use crate::nv::{self, Exchange};
use std::{path::PathBuf, time::Duration};

/// Files, folders and devices. Tests have their own.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// Folders with the system's commands. The first folder that holds a command wins.
    pub(crate) commands: Vec<PathBuf>,
    /// The disk that holds the running slot.
    pub(crate) disk: PathBuf,
    /// P3.
    pub(crate) partition: PathBuf,
    /// P3 when it is open.
    pub(crate) mapped: PathBuf,
    /// The kernel's view of disks.
    pub(crate) blocks: PathBuf,
    /// The image's definitions for systemd-repart.
    pub(crate) definitions: PathBuf,
    /// CONFIG, the owner's files.
    pub(crate) config: PathBuf,
    /// The state of this start, in memory.
    pub(crate) run: PathBuf,
    /// The vault's own state, on P3: mode 0700, and no service mounts it.
    pub(crate) state: PathBuf,
    /// The owner's medium.
    pub(crate) medium: PathBuf,
    /// The kernel's view of the TPM.
    pub(crate) tpm: PathBuf,
    /// The TPM itself.
    pub(crate) tpm_device: PathBuf,
    /// How a command reaches the TPM.
    pub(crate) exchange: Exchange,
    /// The signed image's policy for the TPM.
    pub(crate) policy: PathBuf,
    /// The id of this machine, which P3 keeps.
    pub(crate) machine_id: PathBuf,
    /// The firmware's variables.
    pub(crate) variables: PathBuf,
    /// The time between two looks for a medium or an answer.
    pub(crate) pause: Duration,
    /// The time that an image on trial waits for a key.
    pub(crate) patience: Duration,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            commands: ["/usr/bin", "/usr/sbin", "/usr/lib/systemd"].map(PathBuf::from).to_vec(),
            disk: "/dev/disk/evek/disk".into(),
            partition: "/dev/disk/evek/P3".into(),
            mapped: "/dev/mapper/persist".into(),
            blocks: "/sys/class/block".into(),
            definitions: "/usr/lib/repart.d".into(),
            config: "/config".into(),
            run: "/run/evek".into(),
            state: "/persist/vault".into(),
            medium: "/dev/disk/by-label/EVEKEY".into(),
            tpm: "/sys/class/tpm/tpm0".into(),
            tpm_device: "/dev/tpmrm0".into(),
            exchange: nv::exchange,
            policy: "/run/systemd".into(),
            machine_id: "/etc/machine-id".into(),
            variables: "/sys/firmware/efi/efivars".into(),
            pause: Duration::from_secs(2),
            patience: Duration::from_secs(60),
        }
    }
}

impl Paths {
    /// The key that opened P3, from `open` to `keep`. In memory only.
    pub(crate) fn key(&self) -> PathBuf {
        self.run.join("vault.key")
    }

    /// The mark that `make` made P3 in this start.
    pub(crate) fn made(&self) -> PathBuf {
        self.run.join("vault-made")
    }
}
