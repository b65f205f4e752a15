//! Where things are on a device.

use std::{path::PathBuf, time::Duration};

/// Files, folders and devices, so that tests can have their own.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// Where the commands of the system are; the first folder that has one counts.
    pub(crate) commands: Vec<PathBuf>,
    /// The disk that the running slot is on.
    pub(crate) disk: PathBuf,
    /// P3.
    pub(crate) partition: PathBuf,
    /// P3 when it is open.
    pub(crate) mapped: PathBuf,
    /// What the kernel knows of disks.
    pub(crate) blocks: PathBuf,
    /// What systemd-repart is told by the image.
    pub(crate) definitions: PathBuf,
    /// The owner's files.
    pub(crate) config: PathBuf,
    /// What is known of this start.
    pub(crate) run: PathBuf,
    /// What is kept, on P3.
    pub(crate) state: PathBuf,
    /// The owner's medium.
    pub(crate) medium: PathBuf,
    /// The kernel's view of the TPM.
    pub(crate) tpm: PathBuf,
    /// What the signed image brings for the TPM.
    pub(crate) policy: PathBuf,
    /// The id of this machine, which P3 keeps.
    pub(crate) machine_id: PathBuf,
    /// The firmware's variables.
    pub(crate) variables: PathBuf,
    /// Between two looks at what is not there yet.
    pub(crate) pause: Duration,
    /// How long an image on trial waits for a key.
    pub(crate) patience: Duration,
}

impl Default for Places {
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
            policy: "/run/systemd".into(),
            machine_id: "/etc/machine-id".into(),
            variables: "/sys/firmware/efi/efivars".into(),
            pause: Duration::from_secs(2),
            patience: Duration::from_secs(60),
        }
    }
}

impl Places {
    /// The key that has opened P3, from `open` to `keep`. In memory only.
    pub(crate) fn key(&self) -> PathBuf {
        self.run.join("vault.key")
    }
}
