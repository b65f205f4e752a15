//! The programs that the firmware starts: unified kernel images, initramfs archives and the loader's folder tree.
//!
//! ```text
//! ESP  EFI/BOOT/BOOTX64.EFI        systemd-boot
//!      EFI/Linux/<name>.efi        UKI = stub │ .osrel │ .cmdline │ .uname │ .initrd │ .linux
//!      loader/loader.conf                                           └ cpio::write, then zstd by the caller
//!      loader/addons/<name>.addon.efi   addon stub │ .sbat │ .cmdline: further arguments, signed by somebody else
//! ```
//! [`uki`], [`xen`] and [`addon`] assemble PE files, [`pe`] lists their sections, [`cpio`] writes archives, [`loader`]
//! makes the tree of a FAT volume, [`measure`] predicts TPM registers, [`mod@arch`] finds a program's architecture, and
//! [`describe`] reads a kernel image's description.
//!
//! Deliberately absent: signatures, compression, and every other boot loader.

pub mod addon;
pub mod arch;
pub mod cpio;
mod described;
pub mod loader;
pub mod measure;
pub mod pe;
mod sbat;
pub mod uki;
pub mod xen;

pub use described::{Described, describe, fields};
