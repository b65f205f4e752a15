//! PE32+ files (Microsoft, *PE Format*): reading their headers with a check of every offset, and adding sections.

use types::Bytes;

pub(crate) const SECTION_HEADER: usize = 40;
/// Length of the DOS header, which locates the next header.
const DOS_HEADER: usize = 64;
/// Length of a symbol (PE Format, *COFF Symbol Table*).
const SYMBOL: usize = 18;
const PE32_PLUS: u16 = 0x20b;
/// Readable, initialised data.
const DATA: u32 = 0x4000_0040;
/// File offsets, addresses and sizes are 32-bit numbers; some firmware reads them as signed.
const LARGEST: usize = i32::MAX as usize;

/// Why an EFI program cannot be assembled or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a PE file of the 64-bit kind.
    #[error("not an EFI program: {problem}")]
    NotPe {
        /// What is wrong with it.
        problem: String,
    },
    /// A signed program: adding sections would break the signature.
    #[error("the EFI program is signed, and more sections would break that: take the unsigned one")]
    Signed,
    /// A program whose headers have no room for more sections.
    #[error("the EFI program has room for {room} sections in its headers, {needed} are needed: take a newer one")]
    HeaderSpace {
        /// Section headers that fit.
        room: usize,
        /// Section headers after the addition.
        needed: usize,
    },
    /// A program that already has a section of the added name.
    #[error("the EFI program already has a section {name}: is it a unified image?")]
    Present {
        /// The section.
        name: &'static str,
    },
    /// An empty section, such as an empty initramfs.
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
    /// A line of arguments that its reader would truncate or split.
    #[error("{what} must be one line of at most {most} bytes, and is {found} long: `{line}`")]
    Line {
        /// The reader of the arguments.
        what: &'static str,
        /// The arguments.
        line: String,
        /// Their length.
        found: usize,
        /// The limit.
        most: usize,
    },
    /// An image larger than PE allows.
    #[error("the unified image would be larger than 2 GiB")]
    TooLarge,
}

/// The places of an image's headers, and the fields that this module uses.
#[derive(Debug)]
pub(crate) struct Headers {
    /// Offset of the COFF header's field `NumberOfSections`.
    pub(crate) count_at: usize,
    /// Offset of the optional header.
    pub(crate) optional: usize,
    pub(crate) section_alignment: usize,
    pub(crate) file_alignment: usize,
    pub(crate) headers_len: usize,
    /// Offset of the section table.
    pub(crate) table: usize,
    pub(crate) sections: Vec<Header>,
}

/// A section header; `raw` is the range of its bytes in the file.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) name: String,
    pub(crate) virtual_size: usize,
    pub(crate) address: usize,
    pub(crate) raw: std::ops::Range<usize>,
}

fn bytes<const N: usize>(image: &[u8], at: usize) -> Result<[u8; N], Error> {
    let part = at.checked_add(N).and_then(|end| image.get(at..end));
    part.and_then(|p| p.try_into().ok()).ok_or(Error::NotPe { problem: format!("it ends before byte {at}") })
}

pub(crate) fn u16_at(image: &[u8], at: usize) -> Result<usize, Error> {
    Ok(u16::from_le_bytes(bytes(image, at)?).into())
}

pub(crate) fn u32_at(image: &[u8], at: usize) -> Result<usize, Error> {
    Ok(u32::from_le_bytes(bytes(image, at)?) as usize)
}

impl Headers {
    pub(crate) fn parse(image: &[u8]) -> Result<Self, Error> {
        let bad = |problem: &str| Error::NotPe { problem: problem.to_owned() };
        if image.get(..2) != Some(b"MZ") {
            return Err(bad("it does not start with `MZ`"));
        }
        let coff = u32_at(image, 0x3c)?;
        if bytes::<4>(image, coff)? != *b"PE\0\0" {
            return Err(bad("it has no PE header"));
        }
        let count = u16_at(image, coff + 6)?;
        let optional = coff + 24;
        let table = optional + u16_at(image, coff + 20)?;
        if u16_at(image, optional)? != usize::from(PE32_PLUS) {
            return Err(bad("it is not PE32+, the 64-bit form"));
        }
        let (section_alignment, file_alignment) = (u32_at(image, optional + 32)?, u32_at(image, optional + 36)?);
        // Xen aligns its file to 32 and 8 bytes, below the 512 that the format requires; firmware accepts this
        let fits = |a: usize, least: usize| a.is_power_of_two() && (least..=1 << 21).contains(&a);
        if !fits(section_alignment, 512) || !fits(file_alignment, 8) {
            return Err(bad("its alignments are no powers of two up to 2 MiB"));
        }
        let mut sections = Vec::with_capacity(count.min(96));
        for at in (0..count).map(|n| table + n * SECTION_HEADER) {
            let name: [u8; 8] = bytes(image, at)?;
            let name = String::from_utf8_lossy(&name).trim_end_matches('\0').to_owned();
            let (len, start) = (u32_at(image, at + 16)?, u32_at(image, at + 20)?);
            let raw = start..start + len;
            if raw.end > image.len() {
                return Err(Error::NotPe { problem: format!("section {name} reaches beyond its end") });
            }
            let (virtual_size, address) = (u32_at(image, at + 8)?, u32_at(image, at + 12)?);
            sections.push(Header { name, virtual_size, address, raw });
        }
        let headers_len = u32_at(image, optional + 60)?;
        Ok(Self { count_at: coff + 6, optional, section_alignment, file_alignment, headers_len, table, sections })
    }

    /// The entry of the data directory for certificates: its place, and its length, which is not 0 in a signed file.
    pub(crate) fn certificates(&self, image: &[u8]) -> Result<usize, Error> {
        u32_at(image, self.optional + 112 + 4 * 8 + 4)
    }

    /// How many section headers fit between the table's start and the first section's bytes.
    pub(crate) fn room(&self, image: &[u8]) -> usize {
        let first_raw = self.sections.iter().filter(|s| !s.raw.is_empty()).map(|s| s.raw.start).min();
        let end = first_raw.unwrap_or(self.headers_len).min(self.headers_len).min(image.len());
        end.saturating_sub(self.table) / SECTION_HEADER
    }

    /// Computes the checksum field of the optional header: ones' complement sum of all words, plus the length.
    pub(crate) fn checksum(&self, image: &mut [u8]) {
        let field = self.optional + 64;
        image[field..field + 4].fill(0);
        let words = image.chunks(2).map(|w| u64::from(w[0]) | w.get(1).map_or(0, |b| u64::from(*b) << 8));
        let sum = words.fold(0u64, |sum, word| {
            let sum = sum + word;
            (sum & 0xffff) + (sum >> 16)
        });
        let sum = (sum + image.len() as u64) as u32;
        image[field..field + 4].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Sections to be added: names and bytes.
type Added<'a> = [(&'static str, &'a [u8])];

/// Verifies that these sections can be added: they are new, none is empty, and the image has no signature.
pub(crate) fn check(image: &[u8], added: &Added<'_>) -> Result<(), Error> {
    let headers = Headers::parse(image)?;
    if headers.certificates(image)? != 0 {
        return Err(Error::Signed);
    }
    for &(name, data) in added {
        if headers.sections.iter().any(|s| s.name == name) {
            return Err(Error::Present { name });
        }
        if data.is_empty() {
            return Err(Error::Empty { name });
        }
    }
    Ok(())
}

/// Adds sections after the image's own, in this order.
pub(crate) fn append(image: &mut Vec<u8>, added: &Added<'_>) -> Result<(), Error> {
    check(image, added)?;
    let headers = Headers::parse(image)?;
    let before = headers.sections.len();
    let needed = before + added.len();
    let room = headers.room(image);
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

/// Removes debug information: the sections `.debug_…` at the end, and the table of long names (PE Format, *COFF String
/// Table*), which images should not have. Long names of other sections are truncated to eight bytes.
pub(crate) fn strip_debug(image: &mut Vec<u8>) -> Result<(), Error> {
    let headers = Headers::parse(image)?;
    let (symbols, count) = (u32_at(image, headers.count_at + 6)?, u32_at(image, headers.count_at + 10)?);
    let strings = image.get(symbols + count * SYMBOL..).filter(|_| symbols != 0).unwrap_or_default().to_vec();
    let names = headers.sections.iter().map(|s| long_name(&s.name, &strings)).collect::<Result<Vec<_>, _>>()?;
    let kept = names.iter().rposition(|name| !name.starts_with(".debug_")).map_or(0, |last| last + 1);
    if kept == names.len() && symbols == 0 {
        return Ok(());
    }
    for (n, name) in names.iter().enumerate().take(kept) {
        let header = &mut image[headers.table + n * SECTION_HEADER..][..SECTION_HEADER];
        header[..8].fill(0);
        let short = &name.as_bytes()[..name.len().min(8)];
        header[..short.len()].copy_from_slice(short);
    }
    image[headers.count_at + 6..headers.count_at + 14].fill(0);
    cut(image, &headers, kept)
}

/// Removes the sections after the first `kept`, and the bytes after the last kept section.
fn cut(image: &mut Vec<u8>, headers: &Headers, kept: usize) -> Result<(), Error> {
    let (stay, gone) = headers.sections.split_at(kept);
    image[headers.table + kept * SECTION_HEADER..][..gone.len() * SECTION_HEADER].fill(0);
    let initialised = u32_at(image, headers.optional + 8)?;
    let initialised = initialised.saturating_sub(gone.iter().map(|s| s.raw.len()).sum());
    let size = stay.iter().map(|s| s.address + s.virtual_size).max().unwrap_or(headers.headers_len);
    let size = size.next_multiple_of(headers.section_alignment);
    let end = stay.iter().map(|s| s.raw.end).max().unwrap_or(0);
    // contradictory headers must not let this cut into kept bytes
    let fields = headers.table.max(headers.optional + 68) + headers.sections.len() * SECTION_HEADER;
    image.truncate(end.max(headers.headers_len).max(fields));
    image[headers.count_at..headers.count_at + 2].copy_from_slice(&(kept as u16).to_le_bytes());
    for (at, value) in [(8, initialised), (56, size)] {
        image[headers.optional + at..headers.optional + at + 4].copy_from_slice(&(value as u32).to_le_bytes());
    }
    headers.checksum(image);
    Ok(())
}

/// Removes the last sections, as far as they have these names. This undoes [`append`], byte for byte.
pub(crate) fn take_off(image: &mut Vec<u8>, names: &[&str]) -> Result<(), Error> {
    let headers = Headers::parse(image)?;
    if headers.certificates(image)? != 0 {
        return Err(Error::Signed);
    }
    let kept = headers.sections.iter().rposition(|s| !names.contains(&s.name.as_str())).map_or(0, |last| last + 1);
    if kept == headers.sections.len() { Ok(()) } else { cut(image, &headers, kept) }
}

/// The name of a section, which may be `/` and an offset in the string table.
fn long_name(name: &str, strings: &[u8]) -> Result<String, Error> {
    let Some(at) = name.strip_prefix('/') else { return Ok(name.to_owned()) };
    let text = at.parse().ok().and_then(|at: usize| strings.get(at..)).and_then(|t| t.split(|b| *b == 0).next());
    let text = text.ok_or_else(|| Error::NotPe { problem: format!("its section {name} has no name") })?;
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// Makes room for `more` section headers, if necessary by putting new headers in front of everything. For
/// position-independent programs with the same layout in file and memory.
///
/// A section that begins in the middle of a page keeps its address in the page: firmware then leaves it writable, and a
/// program with code and data in one section needs that (EDK II, `ImagePropertiesRecordLib`).
pub(crate) fn make_room(image: &mut Vec<u8>, more: usize) -> Result<(), Error> {
    let headers = Headers::parse(image)?;
    let count = headers.sections.len();
    let (room, needed) = (headers.room(image), count + more);
    if room >= needed {
        return Ok(());
    }
    let flat = headers.sections.iter().all(|s| s.raw.is_empty() || s.raw.start == s.address);
    // the targets of the data directory would have to move too
    let plain = image.get(headers.optional + 112..headers.table).is_some_and(|d| d.iter().all(|b| *b == 0));
    let (nt, front) = (headers.count_at - 6, headers.section_alignment);
    let (optional, table) = (DOS_HEADER + headers.optional - nt, DOS_HEADER + headers.table - nt);
    if !flat || !plain || table + needed * SECTION_HEADER > front {
        return Err(Error::HeaderSpace { room, needed });
    }
    let mut new = vec![0; front];
    new[..2].copy_from_slice(b"MZ");
    new[0x3c] = DOS_HEADER as u8;
    let old = &image[nt..headers.table + count * SECTION_HEADER];
    new[DOS_HEADER..][..old.len()].copy_from_slice(old);
    let mut put = |at: usize, value: usize| new[at..at + 4].copy_from_slice(&(value as u32).to_le_bytes());
    // AddressOfEntryPoint, BaseOfCode, SizeOfImage
    for at in [16, 20, 56] {
        put(optional + at, u32_at(image, headers.optional + at)? + front);
    }
    // SizeOfHeaders: includes the old headers, so that they stay in memory too
    put(optional + 60, headers.headers_len + front);
    for (n, section) in headers.sections.iter().enumerate().filter(|(_, s)| !s.raw.is_empty()) {
        let header = table + n * SECTION_HEADER;
        put(header + 12, section.address + front);
        put(header + 20, section.raw.start + front);
    }
    new.extend_from_slice(image);
    *image = new;
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

#[cfg(any(test, feature = "example"))]
pub mod example;
