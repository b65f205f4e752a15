//! The files, folders and devices of a running device.

use std::path::PathBuf;

/// Paths that this program uses. Tests have their own.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// udev's link to the disk of the running slot.
    pub(crate) disk: PathBuf,
    /// The folder of the links to the partitions of that disk.
    pub(crate) partitions: PathBuf,
    /// The running slot and its disk, written by `init`.
    pub(crate) slot: PathBuf,
    /// The running store.
    pub(crate) store: PathBuf,
    /// The folder on P3 that keeps the records.
    pub(crate) state: PathBuf,
    /// The folder in memory that keeps records while P3 cannot.
    pub(crate) volatile: PathBuf,
    /// The file that is locked while slots are changed. It is in memory, so that P3 is not needed.
    pub(crate) lock: PathBuf,
    /// The file that `bless` makes for `trial`.
    pub(crate) blessed: PathBuf,
    /// The owner's files.
    pub(crate) config: PathBuf,
    /// The firmware's variables.
    pub(crate) variables: PathBuf,
    /// os-release(5) of the running system.
    pub(crate) os_release: PathBuf,
    /// The arguments of the running kernel.
    pub(crate) cmdline: PathBuf,
    /// Certificates of web servers.
    pub(crate) authorities: PathBuf,
    /// The panics of earlier starts that the firmware has kept.
    pub(crate) last_words: PathBuf,
    /// The mount point for removable media.
    pub(crate) media: PathBuf,
    /// The state of P3, written by `vault`.
    pub(crate) vault: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            disk: "/dev/disk/evek/disk".into(),
            partitions: "/dev/disk/evek".into(),
            slot: "/run/evek/slot.json".into(),
            store: "/run/evek/store".into(),
            state: "/persist/update".into(),
            volatile: "/run/evek/update".into(),
            lock: "/run/evek/update.lock".into(),
            blessed: "/run/evek/blessed".into(),
            config: "/config".into(),
            variables: "/sys/firmware/efi/efivars".into(),
            os_release: "/etc/os-release".into(),
            cmdline: "/proc/cmdline".into(),
            authorities: "/etc/ssl/certs/ca-certificates.crt".into(),
            last_words: "/sys/fs/pstore".into(),
            media: "/run/evek/media".into(),
            vault: "/run/evek/vault.json".into(),
        }
    }
}
