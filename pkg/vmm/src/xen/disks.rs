//! Disks of guests as block devices of this domain: the kernel's block back end accepts nothing else.

use super::run;
use crate::{error::Error, hypervisor::Disk};
use app::DiskFormat;

/// Loop devices over a guest's disks, in their order. They stay until they are detached.
pub(super) struct Loops(Vec<String>);

impl Loops {
    /// Attaches every disk; none stays attached when one cannot be.
    pub(super) async fn attach(disks: &[Disk]) -> Result<Self, Error> {
        let mut loops = Self(Vec::new());
        for disk in disks {
            match attach(disk).await {
                Ok(device) => loops.0.push(device),
                Err(e) => {
                    loops.detach().await?;
                    return Err(e);
                }
            }
        }
        Ok(loops)
    }

    pub(super) fn devices(&self) -> &[String] {
        &self.0
    }

    pub(super) async fn detach(self) -> Result<(), Error> {
        for device in &self.0 {
            run("losetup", &["--detach", device]).await?;
        }
        Ok(())
    }
}

async fn attach(disk: &Disk) -> Result<String, Error> {
    if disk.format != DiskFormat::Raw {
        return Err(Error::Unfit { hypervisor: super::NAME, what: "disks but raw ones" });
    }
    let file = disk.file.display().to_string();
    // left over when this service was killed; a layer of the store may be attached for several guests
    if !disk.read_only {
        let stale = run("losetup", &["--noheadings", "--output", "NAME", "--associated", &file]).await?;
        for device in stale.split_whitespace() {
            run("losetup", &["--detach", device]).await?;
        }
    }
    let access = if disk.read_only { &["--read-only"][..] } else { &[] };
    let device = run("losetup", &[&["--find", "--show"], access, &[&file]].concat()).await?;
    Ok(device.trim().to_owned())
}
