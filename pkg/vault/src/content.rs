//! The kind of P3's content, found by its bytes.

use crate::error::Error;
use std::{fs::File, io, os::unix::fs::FileExt as _, path::Path};

/// The kind of P3's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Encrypted, LUKS version 2.
    Luks,
    /// A file system that anyone can read.
    Ext4,
}

/// The first bytes of a header with version 2 (LUKS2 On-Disk Format Specification 1.1.1 §2.1).
const FIRST: &[u8] = b"LUKS\xba\xbe\x00\x02";
/// The first bytes of the header's copy.
const SECOND: &[u8] = b"SKUL\xba\xbe\x00\x02";
/// Offsets of the copy: it follows the first header, which has one of these sizes (§2.2).
const SECOND_AT: [u64; 9] =
    [0x00_4000, 0x00_8000, 0x01_0000, 0x02_0000, 0x04_0000, 0x08_0000, 0x10_0000, 0x20_0000, 0x40_0000];
/// `s_magic` of the superblock at 1024 (kernel, `Documentation/filesystems/ext4/super.rst`).
const EXT4: (u64, &[u8]) = (1080, b"\x53\xef");

impl Content {
    /// The copy of a header is looked for last: where something else is, cryptsetup would not repair the first header either.
    pub(crate) fn of(path: &Path) -> Result<Self, Error> {
        let device = File::open(path).map_err(Error::io("open", path))?;
        let has = |(offset, expected): (u64, &[u8])| {
            let mut found = vec![0; expected.len()];
            match device.read_exact_at(&mut found, offset) {
                Ok(()) => Ok(found == expected),
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
                Err(e) => Err(Error::io("read", path)(e)),
            }
        };
        if has((0, FIRST))? {
            return Ok(Self::Luks);
        }
        if has(EXT4)? {
            return Ok(Self::Ext4);
        }
        for offset in SECOND_AT {
            if has((offset, SECOND))? {
                return Ok(Self::Luks);
            }
        }
        Err(Error::Unknown { path: path.to_owned() })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn content(parts: &[(u64, &[u8])]) -> Result<Content, Error> {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(8 << 20).unwrap();
        for (offset, bytes) in parts {
            file.as_file().write_all_at(bytes, *offset).unwrap();
        }
        Content::of(file.path())
    }

    #[test]
    fn a_header_or_its_copy_or_a_file_system_is_known_and_nothing_else() {
        assert_eq!(content(&[(0, FIRST)]).unwrap(), Content::Luks);
        for offset in SECOND_AT {
            assert_eq!(content(&[(offset, SECOND)]).unwrap(), Content::Luks, "{offset:#x}");
        }
        assert_eq!(content(&[EXT4]).unwrap(), Content::Ext4);
        for (bad, parts) in [
            ("nothing", &[][..]),
            ("version 1", &[(0, &b"LUKS\xba\xbe\x00\x01"[..])][..]),
            ("a copy in no place for it", &[(0x5000, SECOND)][..]),
            ("a first header in the place of the copy", &[(0x4000, FIRST)][..]),
        ] {
            assert!(matches!(content(parts), Err(Error::Unknown { .. })), "{bad}");
        }
    }

    #[test]
    fn a_file_system_over_an_old_header_is_a_file_system() {
        assert_eq!(content(&[EXT4, (0x4000, SECOND)]).unwrap(), Content::Ext4);
        assert_eq!(content(&[EXT4, (0, FIRST)]).unwrap(), Content::Luks);
    }
}
