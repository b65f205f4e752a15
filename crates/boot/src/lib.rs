//! What the firmware starts: unified kernel images, initramfs archives and the loader's folder tree.
//!
//! ```text
//! ESP  EFI/BOOT/BOOTX64.EFI        systemd-boot
//!      EFI/Linux/<name>.efi        UKI = stub │ .osrel │ .cmdline │ .uname │ .initrd │ .linux
//!      loader/loader.conf                                           └ cpio::write, then zstd by the caller
//! ```
//! [`uki`] assembles PE files and lists their sections, [`cpio`] writes archives, [`loader`] makes the tree that
//! becomes a FAT volume.
//!
//! Deliberately absent: signatures, compression, Xen's unified image, and every other boot loader.

pub mod cpio;
pub mod loader;
mod pe;
mod sbat;
pub mod uki;
