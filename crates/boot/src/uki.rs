//! Unified kernel images (UAPI group, *UKI specification*): an EFI stub with kernel, initramfs and command line as further
//! sections, laid out as systemd's `ukify` lays them out. PE32+ of every architecture.

use crate::{
    pe::{self, Error, sections},
    sbat,
};

/// The parts of an image, besides the stub.
#[derive(Debug, Clone)]
pub struct Contents<'a> {
    /// `/usr/lib/os-release`: systemd-boot reads title and version from it.
    pub os_release: &'a str,
    /// The kernel's command line, one line.
    pub cmdline: &'a str,
    /// The kernel's release, as `uname -r`.
    pub uname: &'a str,
    /// Microcode for the processor, an uncompressed cpio archive that the stub puts before the initramfs.
    pub microcode: Option<&'a [u8]>,
    /// The initramfs: one or more cpio archives, compressed or not.
    pub initrd: &'a [u8],
    /// The kernel, an EFI program itself.
    pub linux: &'a [u8],
    /// SBAT lines of our own, merged with those of stub and kernel.
    pub sbat: Option<&'a str>,
}

/// Assembles an image.
///
/// # Errors
/// [`Error`], when the stub or the kernel is no EFI program or the sections do not fit.
pub fn assemble(stub: &[u8], contents: &Contents<'_>) -> Result<Vec<u8>, Error> {
    let mut added: Vec<(&'static str, &[u8])> = vec![
        (".osrel", contents.os_release.as_bytes()),
        (".cmdline", contents.cmdline.as_bytes()),
        (".uname", contents.uname.as_bytes()),
    ];
    added.extend(contents.microcode.map(|archive| (".ucode", archive)));
    added.extend([(".initrd", contents.initrd), (".linux", contents.linux)]);
    let mut image = stub.to_vec();
    merge_sbat(&mut image, contents)?;
    pe::append(&mut image, &added)?;
    Ok(image)
}

/// The sections by which a TPM recognises an owner's images: the owner's public key, which is measured, and signatures
/// over the measurement, which cannot be measured themselves.
const POLICY: [&str; 2] = [".pcrpkey", ".pcrsig"];

/// Adds the public key (PEM) whose private key signs the image's measurement. The caller then calls [`with_policy`].
///
/// # Errors
/// [`Error`], when the image is signed, has such a key already, or has no room.
pub fn with_policy_key(image: &[u8], pem: &str) -> Result<Vec<u8>, Error> {
    let mut image = image.to_vec();
    pe::append(&mut image, &[(POLICY[0], pem.as_bytes())])?;
    Ok(image)
}

/// Adds signatures (systemd-measure(1)) over the image's measurement, which includes the public key.
///
/// # Errors
/// As of [`with_policy_key`].
pub fn with_policy(image: &[u8], signatures: &str) -> Result<Vec<u8>, Error> {
    let mut image = image.to_vec();
    pe::append(&mut image, &[(POLICY[1], signatures.as_bytes())])?;
    Ok(image)
}

/// The image without public key and signatures; the same bytes if it has none.
///
/// # Errors
/// [`Error`], when it is signed, or no EFI program.
pub fn without_policy(image: &[u8]) -> Result<Vec<u8>, Error> {
    let mut image = image.to_vec();
    pe::take_off(&mut image, &POLICY)?;
    Ok(image)
}

/// The additions of [`with_policy_key`] and [`with_policy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy<'a> {
    /// The public key (PEM).
    pub key: &'a [u8],
    /// The signatures (JSON).
    pub signatures: &'a [u8],
}

/// The public key and the signatures of an image; none in an unsigned image.
///
/// # Errors
/// [`Error::NotPe`].
pub fn policy(image: &[u8]) -> Result<Option<Policy<'_>>, Error> {
    let sections = sections(image)?;
    let [key, signatures] = POLICY.map(|name| sections.iter().find(|s| s.name == name).map(|s| s.data));
    Ok(key.zip(signatures).map(|(key, signatures)| Policy { key, signatures }))
}

/// Adds the kernel's SBAT lines, and ours, to the stub's.
fn merge_sbat(image: &mut [u8], contents: &Contents<'_>) -> Result<(), Error> {
    let kernel = sections(contents.linux)?.into_iter().find(|s| s.name == ".sbat").map(|s| s.data.to_vec());
    let kernel = kernel.as_deref().map(String::from_utf8_lossy);
    let more: Vec<&str> = [kernel.as_deref(), contents.sbat].into_iter().flatten().collect();
    sbat::merge_into(image, &more).map(drop)
}

#[cfg(test)]
mod tests;
