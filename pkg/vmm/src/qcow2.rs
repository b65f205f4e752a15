//! Headers of qcow2 files (QEMU, `docs/interop/qcow2.rst`), as far as they name other files.
//!
//! A qcow2 file can name a *backing file*, which QEMU reads where the file itself has no data, and an *external data file*,
//! which QEMU reads and writes in place of the file itself. Either name may be any path, and images come from vendors. So vmm
//! refuses both before a program of QEMU's opens the file.

use std::ops::Range;

/// How much of a file [`Header::parse`] needs: the whole header and its extensions, which QEMU itself writes into less.
pub(crate) const HEAD: usize = 64 << 10;
const MAGIC: &[u8] = b"QFI\xfb";
/// Incompatible features, bit 2: the data is in an external file.
const EXTERNAL_DATA: u64 = 1 << 2;
/// Extension: the name of the external data file.
const DATA_FILE_NAME: u32 = 0x4441_5441;

/// A header without other files.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The size of the disk that the guest sees.
    pub(crate) size: u64,
}

/// Why a header is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the file is no qcow2")]
    NoQcow2,
    #[error("the qcow2 header is damaged, or of a version other than 2 and 3")]
    Malformed,
    #[error(
        "the qcow2 file has the backing file `{0}`, and a disk must not refer to other files: make it one file with \
         `qemu-img convert -O qcow2`"
    )]
    Backing(String),
    #[error(
        "the qcow2 file keeps its data in the external file `{0}`, and a disk must not refer to other files: make it one \
         file with `qemu-img convert -O qcow2`"
    )]
    External(String),
}

/// Whether a file begins as a qcow2 file does.
pub(crate) fn is_qcow2(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

impl Header {
    /// Reads the first [`HEAD`] bytes of a file.
    pub(crate) fn parse(head: &[u8]) -> Result<Self, Refusal> {
        if !is_qcow2(head) {
            return Err(Refusal::NoQcow2);
        }
        let field = |range: Range<usize>| number(head, range).ok_or(Refusal::Malformed);
        let (version, backing, backing_length, size) = (field(4..8)?, field(8..16)?, field(16..20)?, field(24..32)?);
        if backing != 0 || backing_length != 0 {
            return Err(Refusal::Backing(name(head, backing, backing_length)));
        }
        let (features, extensions) = match version {
            // the header of version 2 ends here
            2 => (0, 72),
            3 => (field(72..80)?, field(100..104)?),
            _ => return Err(Refusal::Malformed),
        };
        let data_file = data_file(head, extensions);
        if features & EXTERNAL_DATA != 0 || data_file.is_some() {
            return Err(Refusal::External(data_file.unwrap_or_default()));
        }
        Ok(Self { size })
    }
}

fn number(head: &[u8], range: Range<usize>) -> Option<u64> {
    head.get(range).map(|bytes| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// A name for a message; it may be anything.
fn name(head: &[u8], offset: u64, length: u64) -> String {
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = usize::try_from(length).ok().and_then(|length| start.checked_add(length));
    let bytes = end.and_then(|end| head.get(start..end)).unwrap_or_default();
    String::from_utf8_lossy(bytes).escape_debug().to_string()
}

/// The name in the extension for it; extensions follow each other, each with a type, a length and data of whole 8 bytes.
fn data_file(head: &[u8], first: u64) -> Option<String> {
    let mut at = usize::try_from(first).ok()?;
    loop {
        let start = at.checked_add(8)?;
        let kind = number(head, at..at.checked_add(4)?)?;
        let length = number(head, at + 4..start)?;
        if kind == 0 {
            return None;
        }
        if kind == u64::from(DATA_FILE_NAME) {
            return Some(name(head, start as u64, length));
        }
        at = start.checked_add(usize::try_from(length).ok()?.checked_next_multiple_of(8)?)?;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A header as `qemu-img create` writes it, of a disk of 1 MiB.
    fn header(version: u8) -> Vec<u8> {
        let mut head = vec![0; 4096];
        head[..4].copy_from_slice(MAGIC);
        head[7] = version;
        head[23] = 16;
        head[24..32].copy_from_slice(&(1_u64 << 20).to_be_bytes());
        if version == 3 {
            head[103] = 104;
        }
        head
    }

    fn with_extension(kind: u32, data: &[u8]) -> Vec<u8> {
        let mut head = header(3);
        // one before it, whose length is no multiple of 8
        head[104..108].copy_from_slice(&0x6803_f857_u32.to_be_bytes());
        head[111] = 3;
        head[120..124].copy_from_slice(&kind.to_be_bytes());
        head[124..128].copy_from_slice(&(data.len() as u32).to_be_bytes());
        head[128..128 + data.len()].copy_from_slice(data);
        head
    }

    #[test]
    fn a_file_of_its_own_is_read() {
        for version in [2, 3] {
            assert_eq!(Header::parse(&header(version)), Ok(Header { size: 1 << 20 }), "version {version}");
        }
        assert_eq!(Header::parse(&with_extension(0xe279_2aca, b"raw")), Ok(Header { size: 1 << 20 }));
    }

    #[test]
    fn a_backing_file_is_refused_by_its_name() {
        for version in [2, 3] {
            let mut head = header(version);
            head[8..16].copy_from_slice(&512_u64.to_be_bytes());
            head[19] = 27;
            head[512..539].copy_from_slice(b"/persist/vault/recovery-key");
            let refused = Header::parse(&head).unwrap_err();
            assert_eq!(refused, Refusal::Backing("/persist/vault/recovery-key".into()));
            // the name may lie anywhere
            head[8..16].copy_from_slice(&u64::MAX.to_be_bytes());
            assert_eq!(Header::parse(&head), Err(Refusal::Backing(String::new())));
            head[16..20].fill(0);
            assert_eq!(Header::parse(&head), Err(Refusal::Backing(String::new())));
        }
    }

    #[test]
    fn a_name_cannot_write_to_a_terminal() {
        let mut head = header(3);
        head[14] = 2;
        head[19] = 4;
        head[512..516].copy_from_slice(b"\x1b]0;");
        assert_eq!(Header::parse(&head), Err(Refusal::Backing("\\u{1b}]0;".into())));
    }

    #[test]
    fn an_external_data_file_is_refused() {
        let named = with_extension(DATA_FILE_NAME, b"/persist/vault/recovery-key");
        assert_eq!(Header::parse(&named), Err(Refusal::External("/persist/vault/recovery-key".into())));
        let mut flagged = header(3);
        flagged[79] = 4;
        assert_eq!(Header::parse(&flagged), Err(Refusal::External(String::new())));
    }

    #[test]
    fn everything_else_is_no_qcow2_of_ours() {
        assert_eq!(Header::parse(b""), Err(Refusal::NoQcow2));
        assert_eq!(Header::parse(&[0; 4096]), Err(Refusal::NoQcow2));
        // a descriptor of VMware's, which names further files
        assert_eq!(Header::parse(b"# Disk DescriptorFile\n"), Err(Refusal::NoQcow2));
        for version in [0, 1, 4] {
            assert_eq!(Header::parse(&header(version)), Err(Refusal::Malformed), "version {version}");
        }
        for length in [4, 31, 79, 103] {
            assert_eq!(Header::parse(&header(3)[..length]), Err(Refusal::Malformed), "{length} bytes");
        }
    }
}
