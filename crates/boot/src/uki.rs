//! Unified kernel images (UAPI group, *UKI specification*): an EFI stub with kernel, initramfs and command line as further
//! sections, laid out as systemd's `ukify` lays them out. PE32+ of every architecture.

use crate::{
    pe::{self, Error, Headers, SECTION_HEADER, sections},
    sbat,
};
use types::Bytes;

/// What goes into an image, besides the stub.
#[derive(Debug, Clone)]
pub struct Contents<'a> {
    /// `/usr/lib/os-release`: systemd-boot takes title and version from it.
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

/// Overwrites the stub's SBAT section with the merged one, in place, as ukify does.
fn merge_sbat(image: &mut [u8], contents: &Contents<'_>) -> Result<(), Error> {
    let headers = Headers::parse(image)?;
    let Some((n, section)) = headers.sections.iter().enumerate().find(|(_, s)| s.name == ".sbat") else {
        return Ok(());
    };
    let kernel = sections(contents.linux)?.into_iter().find(|s| s.name == ".sbat").map(|s| s.data.to_vec());
    if kernel.is_none() && contents.sbat.is_none() {
        return Ok(());
    }
    let stub = image[section.raw.clone()].to_vec();
    let (stub, kernel) = (String::from_utf8_lossy(&stub), kernel.as_deref().map(String::from_utf8_lossy));
    let merged = sbat::merge([Some(&*stub), kernel.as_deref(), contents.sbat].into_iter().flatten());
    let room = section.raw.len();
    if merged.len() > room {
        return Err(Error::SbatSpace { found: Bytes(merged.len() as u64), room: Bytes(room as u64) });
    }
    let raw = &mut image[section.raw.clone()];
    raw.fill(0);
    raw[..merged.len()].copy_from_slice(merged.as_bytes());
    let size_at = headers.table + n * SECTION_HEADER + 8;
    image[size_at..size_at + 4].copy_from_slice(&(merged.len() as u32).to_le_bytes());
    Ok(())
}

#[cfg(test)]
mod tests;
