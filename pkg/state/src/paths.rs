//! Where things are on a device.

use std::{path::PathBuf, time::Duration};

/// Files, folders and devices, so that tests can have their own.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// The folders of the system's programs; the first that has one is used.
    pub(crate) programs: Vec<PathBuf>,
    /// The disk that the running slot is on.
    pub(crate) disk: PathBuf,
    /// Block devices as the kernel shows them.
    pub(crate) blocks: PathBuf,
    /// CONFIG.
    pub(crate) config_device: PathBuf,
    /// P3, opened by `vault`.
    pub(crate) persist_device: PathBuf,
    /// The mount point of CONFIG.
    pub(crate) config: PathBuf,
    /// The mount point of P3.
    pub(crate) persist: PathBuf,
    /// The definitions of systemd-repart, for the sizes.
    pub(crate) definitions: PathBuf,
    /// Facts about this start.
    pub(crate) run: PathBuf,
    /// Between two looks for a device that udev has still to make.
    pub(crate) pause: Duration,
    /// The time that udev gets for a device whose partition the kernel has found.
    pub(crate) patience: Duration,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            programs: ["/usr/bin", "/usr/sbin"].map(PathBuf::from).to_vec(),
            disk: "/dev/disk/evek/disk".into(),
            blocks: "/sys/class/block".into(),
            config_device: "/dev/disk/evek/CONFIG".into(),
            persist_device: "/dev/mapper/persist".into(),
            config: "/config".into(),
            persist: "/persist".into(),
            definitions: "/usr/lib/repart.d".into(),
            run: device::standing::FOLDER.into(),
            pause: Duration::from_millis(200),
            patience: Duration::from_secs(120),
        }
    }
}

impl Paths {
    /// A program of the system. One that is nowhere fails by its name.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        let found = self.programs.iter().map(|folder| folder.join(name)).find(|path| path.exists());
        found.unwrap_or_else(|| name.into())
    }
}
