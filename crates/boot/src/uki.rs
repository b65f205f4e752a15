//! Unified kernel images (UAPI group, *UKI specification*): an EFI stub with kernel, initramfs and command line as further
//! sections, laid out as systemd's `ukify` lays them out. PE32+ of every architecture.

use crate::{
    pe::{Headers, SECTION_HEADER, u32_at},
    sbat,
};
use types::Bytes;

/// Readable, initialised data.
const DATA: u32 = 0x4000_0040;
/// File offsets, addresses and sizes are 32-bit numbers; firmware takes them as signed here and there.
const LARGEST: usize = i32::MAX as usize;

/// Why an image cannot be assembled or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a PE file of the 64-bit kind.
    #[error("not an EFI program: {problem}")]
    NotPe {
        /// What is wrong with it.
        problem: String,
    },
    /// A stub that is signed: adding sections would break the signature.
    #[error("the EFI stub is signed: take the unsigned one")]
    SignedStub,
    /// A stub whose headers have no room for more sections.
    #[error("the EFI stub has room for {room} sections in its headers, {needed} are needed: take a newer stub")]
    HeaderSpace {
        /// Section headers that fit.
        room: usize,
        /// Section headers that there would be.
        needed: usize,
    },
    /// A stub that has a section already that is to be added.
    #[error("the EFI stub already has a section {name}: is it a unified image?")]
    Present {
        /// The section.
        name: &'static str,
    },
    /// A kernel image, initramfs or the like without any bytes.
    #[error("section {name} would be empty")]
    Empty {
        /// The section.
        name: &'static str,
    },
    /// Merged SBAT lines that do not fit into the stub's section.
    #[error("the merged .sbat is {found}, the stub has room for {room}: shorten the lines")]
    SbatSpace {
        /// Its size.
        found: Bytes,
        /// The size of the stub's section.
        room: Bytes,
    },
    /// An image that would be larger than PE allows.
    #[error("the unified kernel image would be larger than 2 GiB")]
    TooLarge,
}

/// What goes into an image, besides the stub.
#[derive(Debug, Clone)]
pub struct Contents<'a> {
    /// `/usr/lib/os-release`: systemd-boot takes title and version from it.
    pub os_release: &'a str,
    /// The kernel's command line, one line.
    pub cmdline: &'a str,
    /// The kernel's release, as `uname -r`.
    pub uname: &'a str,
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
    let headers = Headers::parse(stub)?;
    if headers.certificates(stub)? != 0 {
        return Err(Error::SignedStub);
    }
    let added: [(&'static str, &[u8]); 5] = [
        (".osrel", contents.os_release.as_bytes()),
        (".cmdline", contents.cmdline.as_bytes()),
        (".uname", contents.uname.as_bytes()),
        (".initrd", contents.initrd),
        (".linux", contents.linux),
    ];
    for (name, data) in added {
        if headers.sections.iter().any(|s| s.name == name) {
            return Err(Error::Present { name });
        }
        if data.is_empty() {
            return Err(Error::Empty { name });
        }
    }
    let mut image = stub.to_vec();
    merge_sbat(&mut image, &headers, contents)?;
    append(&mut image, &headers, &added)?;
    Ok(image)
}

fn append(image: &mut Vec<u8>, headers: &Headers, added: &[(&str, &[u8])]) -> Result<(), Error> {
    let before = headers.sections.len();
    let needed = before + added.len();
    let first_raw = headers.sections.iter().filter(|s| !s.raw.is_empty()).map(|s| s.raw.start).min();
    let end = first_raw.unwrap_or(headers.headers_len).min(headers.headers_len).min(image.len());
    let room = end.saturating_sub(headers.table) / SECTION_HEADER;
    if needed > room {
        return Err(Error::HeaderSpace { room, needed });
    }
    let mut address = headers.sections.iter().map(|s| s.address + s.virtual_size).max().unwrap_or(headers.headers_len);
    let mut initialised = u32_at(image, headers.optional + 8)?;
    image.resize(image.len().next_multiple_of(headers.file_alignment), 0);
    for (n, (name, data)) in added.iter().enumerate() {
        address = address.next_multiple_of(headers.section_alignment);
        let start = image.len();
        image.extend_from_slice(data);
        image.resize(image.len().next_multiple_of(headers.file_alignment), 0);
        let raw_len = image.len() - start;
        if address + data.len() > LARGEST || image.len() > LARGEST {
            return Err(Error::TooLarge);
        }
        let header = &mut image[headers.table + (before + n) * SECTION_HEADER..][..SECTION_HEADER];
        header.fill(0);
        header[..name.len()].copy_from_slice(name.as_bytes());
        for (at, value) in [(8, data.len()), (12, address), (16, raw_len), (20, start)] {
            header[at..at + 4].copy_from_slice(&(value as u32).to_le_bytes());
        }
        header[36..].copy_from_slice(&DATA.to_le_bytes());
        address += data.len();
        initialised = initialised.saturating_add(raw_len);
    }
    let size = address.next_multiple_of(headers.section_alignment);
    image[headers.count_at..headers.count_at + 2].copy_from_slice(&(needed as u16).to_le_bytes());
    for (at, value) in [(8, initialised), (56, size)] {
        image[headers.optional + at..headers.optional + at + 4].copy_from_slice(&(value as u32).to_le_bytes());
    }
    headers.checksum(image);
    Ok(())
}

/// Overwrites the stub's SBAT section with the merged one, in place, as ukify does.
fn merge_sbat(image: &mut [u8], headers: &Headers, contents: &Contents<'_>) -> Result<(), Error> {
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

/// A section of an EFI program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section<'a> {
    /// Its name, such as `.cmdline`.
    pub name: &'a str,
    /// Its address once loaded.
    pub address: u64,
    /// Its bytes, without padding.
    pub data: &'a [u8],
}

/// The sections of an EFI program, in the order of its table.
///
/// # Errors
/// [`Error::NotPe`].
pub fn sections(image: &[u8]) -> Result<Vec<Section<'_>>, Error> {
    let headers = Headers::parse(image)?;
    let sections = headers.sections.iter().enumerate().map(|(n, header)| {
        let name = &image[headers.table + n * SECTION_HEADER..][..8];
        let name =
            std::str::from_utf8(name).map_err(|_| Error::NotPe { problem: format!("section {n} has no name") })?;
        let raw = &image[header.raw.clone()];
        let data = &raw[..raw.len().min(header.virtual_size)];
        Ok(Section { name: name.trim_end_matches('\0'), address: header.address as u64, data })
    });
    sections.collect()
}

#[cfg(test)]
mod tests;
