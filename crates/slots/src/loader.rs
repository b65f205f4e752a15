//! The two boot loaders of the EFI system partition: the first, which firmware starts without a boot entry, and a second one, which
//! firmware starts by a boot entry only.
//!
//! ```text
//!  EFI/BOOT/BOOTX64.EFI    the first: what starts. Where that is shim: EFI/BOOT/grubx64.efi, which shim starts
//!  EFI/evek/BOOTX64.EFI    the second: one on trial, or the predecessor of the first
//! ```
//! Each changes by one sector's write, and neither change touches the other. The caller decides which one starts, and when one takes
//! the place of the other.

use crate::{Device, Error, device::ESP};
use boot::loader::{behind_shim_path, fallback_path};
use disk::{Blocks, Placed};
use types::Arch;

/// The path of the second boot loader on the EFI system partition.
#[must_use]
pub fn second_loader_path(arch: Arch) -> String {
    format!("EFI/evek/BOOT{}.EFI", arch.efi().to_uppercase())
}

impl<B: Blocks> Device<B> {
    /// Whether the firmware starts shim, and shim the boot loader.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn has_shim(&self, arch: Arch) -> Result<bool, Error> {
        Ok(self.esp()?.has(&behind_shim_path(arch))?)
    }

    fn first_path(&self, arch: Arch) -> Result<String, Error> {
        Ok(if self.has_shim(arch)? { behind_shim_path(arch) } else { fallback_path(arch) })
    }

    /// The boot loader's bytes; `None` where there is none for this architecture.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn loader(&self, arch: Arch) -> Result<Option<Vec<u8>>, Error> {
        self.read(&self.first_path(arch)?)
    }

    /// Replaces the boot loader, at once or not at all.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn replace_loader(&self, arch: Arch, program: &[u8]) -> Result<(), Error> {
        self.put(&self.first_path(arch)?, program)
    }

    /// The second boot loader's bytes; `None` where there is none yet.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn second_loader(&self, arch: Arch) -> Result<Option<Vec<u8>>, Error> {
        self.read(&second_loader_path(arch))
    }

    /// Makes or replaces the second boot loader, at once or not at all.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn replace_second_loader(&self, arch: Arch, program: &[u8]) -> Result<(), Error> {
        self.put(&second_loader_path(arch), program)
    }

    /// Removes the second boot loader, if there is one.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn remove_second_loader(&self, arch: Arch) -> Result<(), Error> {
        let (mut esp, path) = (self.esp()?, second_loader_path(arch));
        if esp.read(&path)?.is_some() {
            esp.remove(&path)?;
        }
        Ok(())
    }

    /// The EFI system partition's place in the partition table, by which a boot entry names it.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn esp_partition(&self) -> Result<Placed, Error> {
        self.table()?.by_label(ESP).cloned().ok_or(Error::NoPartition { label: ESP })
    }

    fn put(&self, path: &str, program: &[u8]) -> Result<(), Error> {
        let mut esp = self.esp()?;
        esp.reclaim()?;
        match esp.read(path)? {
            Some(_) => esp.replace(path, program)?,
            None => esp.create(path, program)?,
        }
        Ok(())
    }
}
