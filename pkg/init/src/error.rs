use std::{fmt, io, path::PathBuf};

/// Why the machine cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file, folder or device refuses.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// A mount failed.
    #[error("cannot mount {what} at {target}: {source}")]
    Mount { what: String, target: String, source: io::Error },
    /// The kernel command line lacks something.
    #[error("kernel command line: {argument} is {found}, expected {expected}")]
    Cmdline { argument: &'static str, found: String, expected: &'static str },
    /// Something has added to the arguments that are signed, or taken from them, and it is no addon that is signed, too.
    #[error(
        "kernel command line: it is not the one that is signed ({addons}), `{signed}`, but `{found}`: see what the firmware gives by SMBIOS (type 11) or boot options"
    )]
    Arguments { found: String, signed: String, addons: String },
    /// Xen has other arguments than those that are signed.
    #[error(
        "hypervisor command line: it is not the one that is signed, `{signed}`, but `{found}`: see what the firmware's boot entries say behind `--`"
    )]
    Hypervisor { found: String, signed: String },
    /// The slot did not appear.
    #[error("no partition has the GUID {guid} after {seconds} s; seen: {seen}")]
    NoSlot { guid: String, seconds: u64, seen: String },
    /// What lies behind the data is not a verity superblock.
    #[error("{}: {source}", device.display())]
    Verity { device: PathBuf, source: verity::Error },
    /// Slot and command line disagree.
    #[error("{}: the verity superblock says {found} data blocks, the kernel command line {expected}", device.display())]
    DataBlocks { device: PathBuf, found: u64, expected: u64 },
    /// The kernel refuses a device-mapper command.
    #[error("device mapper: {command} failed: {source}; table: {table}")]
    DeviceMapper { command: &'static str, table: String, source: io::Error },
    /// The store is damaged or not a store.
    #[error("store: {0}")]
    Store(#[from] store::Error),
}

impl Error {
    pub(crate) fn mount(what: impl fmt::Display, target: impl fmt::Display, source: impl Into<io::Error>) -> Self {
        Self::Mount { what: what.to_string(), target: target.to_string(), source: source.into() }
    }
}
