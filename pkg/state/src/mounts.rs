//! The kernel's mounts, behind a trait for tests.

use crate::error::Error;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::{ffi::CString, fs, path::Path};

/// Something that can be mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// CONFIG.
    Vfat,
    /// P3.
    Ext4,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Vfat => "vfat",
            Self::Ext4 => "ext4",
        }
    }
}

pub(crate) trait Mounts {
    /// Mounts a device where nobody else looks, lists its root, and unmounts it.
    fn try_out(&self, device: &Path, kind: Kind, at: &Path) -> Result<(), Error>;
    /// Mounts an empty file system in memory.
    fn stand_in(&self, at: &Path, read_only: bool) -> Result<(), Error>;
}

/// The kernel itself.
pub(crate) struct Kernel;

/// Enough for the records of the services; guests and pods are not to fill the memory.
const STAND_IN: &str = "mode=0755,size=25%";

impl Mounts for Kernel {
    fn try_out(&self, device: &Path, kind: Kind, at: &Path) -> Result<(), Error> {
        fs::create_dir_all(at).map_err(Error::io("make", at))?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        // P3 is mounted for writing: only then the kernel replays its journal
        let flags = if kind == Kind::Vfat { flags | MountFlags::RDONLY } else { flags };
        mount(device, at, kind.name(), flags, None).map_err(|e| Error::io("mount", device)(e.into()))?;
        let listed = fs::read_dir(at).and_then(|items| items.map(|item| item.map(drop)).collect::<Result<Vec<_>, _>>());
        unmount(at, UnmountFlags::empty()).map_err(|e| Error::io("unmount", at)(e.into()))?;
        listed.map(drop).map_err(Error::io("list the files of", device))
    }

    fn stand_in(&self, at: &Path, read_only: bool) -> Result<(), Error> {
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        let flags = if read_only { flags | MountFlags::RDONLY | MountFlags::NOEXEC } else { flags };
        let options = CString::new(STAND_IN).map_err(|e| Error::io("mount", at)(e.into()))?;
        mount("tmpfs", at, "tmpfs", flags, options.as_c_str()).map_err(|e| Error::io("mount", at)(e.into()))
    }
}
