//! Where things are on a device.

use std::path::PathBuf;

/// Files, folders and devices, so that tests can have their own.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// The disk that the running slot is on.
    pub(crate) disk: PathBuf,
    /// The folder of the links to its partitions.
    pub(crate) partitions: PathBuf,
    /// What init has found: the running slot.
    pub(crate) slot: PathBuf,
    /// The running store.
    pub(crate) store: PathBuf,
    /// What is kept.
    pub(crate) state: PathBuf,
    /// The owner's files.
    pub(crate) config: PathBuf,
    /// The firmware's variables.
    pub(crate) variables: PathBuf,
    /// os-release(5) of the running system.
    pub(crate) os_release: PathBuf,
    /// Certificates of web servers.
    pub(crate) authorities: PathBuf,
    /// The kernel's last words of starts that failed.
    pub(crate) last_words: PathBuf,
    /// Where media are mounted.
    pub(crate) media: PathBuf,
    /// What `vault` has found of P3.
    pub(crate) vault: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            disk: "/dev/disk/evek/disk".into(),
            partitions: "/dev/disk/evek".into(),
            slot: "/run/evek/slot.json".into(),
            store: "/run/evek/store".into(),
            state: "/persist/update".into(),
            config: "/config".into(),
            variables: "/sys/firmware/efi/efivars".into(),
            os_release: "/etc/os-release".into(),
            authorities: "/etc/ssl/certs/ca-certificates.crt".into(),
            last_words: "/sys/fs/pstore".into(),
            media: "/run/evek/media".into(),
            vault: "/run/evek/vault.json".into(),
        }
    }
}
