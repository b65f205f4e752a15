//! Reading the headers of a PE32+ file (Microsoft, *PE Format*), every offset checked.

use crate::uki::Error;

pub(crate) const SECTION_HEADER: usize = 40;
const PE32_PLUS: u16 = 0x20b;

/// Where the headers of an image are and what of them matters here.
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

/// A section header; `raw` is where its bytes lie in the file.
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
        if ![section_alignment, file_alignment].iter().all(|a| a.is_power_of_two() && (512..=1 << 21).contains(a)) {
            return Err(bad("its alignments are no powers of two between 512 bytes and 2 MiB"));
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

    /// The entry of the data directory for certificates: where, and its length, which is not 0 in a signed file.
    pub(crate) fn certificates(&self, image: &[u8]) -> Result<usize, Error> {
        u32_at(image, self.optional + 112 + 4 * 8 + 4)
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
