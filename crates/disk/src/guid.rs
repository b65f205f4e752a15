use std::{fmt, str::FromStr};
use types::Digest;
use uuid::Uuid;

/// The GUID of a disk or partition, in the order of RFC 4122 (the order in which it is written as text).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid([u8; 16]);

/// Text that is not a GUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a GUID such as 5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6")]
pub struct ParseGuidError(String);

impl Guid {
    /// From sixteen bytes in the order of RFC 4122.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The sixteen bytes in the order of RFC 4122.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// A slot's partition GUID: the first half of its root hash, by which a kernel image finds its slot.
    #[must_use]
    pub fn of_root_hash(root_hash: Digest) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&root_hash.as_bytes()[..16]);
        Self(bytes)
    }

    /// A GUID that depends on a name alone, so that it is the same in every build: version 8 of RFC 9562 §5.8, filled
    /// with sha256.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&Digest::of(format!("org.evek.guid:{name}").as_bytes()).as_bytes()[..16]);
        bytes[6] = bytes[6] & 0x0f | 0x80;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    /// The bytes in UEFI's order: the first three fields little-endian (UEFI 2.10, appendix A).
    pub(crate) const fn to_disk(self) -> [u8; 16] {
        Uuid::from_bytes(self.0).to_bytes_le()
    }

    pub(crate) const fn from_disk(bytes: [u8; 16]) -> Self {
        Self(*Uuid::from_bytes_le(bytes).as_bytes())
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&Uuid::from_bytes(self.0).hyphenated().to_string())
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Guid {
    type Err = ParseGuidError;

    fn from_str(s: &str) -> Result<Self, ParseGuidError> {
        let uuid = Uuid::try_parse(s).map_err(|_| ParseGuidError(s.to_owned()))?;
        Ok(Self(*uuid.as_bytes()))
    }
}

/// The purpose of a partition, by its type GUID. The values are EVE's, so that EVE's tools recognise them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PartitionType {
    /// EFI system partition (UEFI 2.10 §5.3.3).
    EfiSystem,
    /// A slot, `IMGA` or `IMGB`, and `INSTALLER` on installer media; ChromeOS' type for a root file system.
    Image,
    /// `CONFIG` of an installed or live disk.
    Config,
    /// `CONFIG` and `INVENTORY` of installer media: Microsoft's basic data, which other operating systems show.
    BasicData,
    /// `P3`, the device's state.
    Persist,
    /// Any other type.
    Other(Guid),
}

impl PartitionType {
    const KNOWN: [(Self, u128); 5] = [
        (Self::EfiSystem, 0xc12a7328_f81f_11d2_ba4b_00a0c93ec93b),
        (Self::Image, 0x5dfbf5f4_2848_4bac_aa5e_0d9a20b745a6),
        (Self::Config, 0x13307e62_cd9c_4920_8f9b_91b45828b798),
        (Self::BasicData, 0xebd0a0a2_b9e5_4433_87c0_68b6b72699c7),
        (Self::Persist, 0x5f24425a_2dfa_11e8_a270_7b663faccc2c),
    ];

    /// The type's GUID.
    #[must_use]
    pub fn guid(self) -> Guid {
        if let Self::Other(guid) = self {
            return guid;
        }
        let known = Self::KNOWN.iter().find(|(kind, _)| *kind == self);
        known.map_or(Guid([0; 16]), |(_, value)| Guid(value.to_be_bytes()))
    }

    /// The type that has this GUID.
    #[must_use]
    pub fn of_guid(guid: Guid) -> Self {
        let known = Self::KNOWN.iter().find(|(_, value)| Guid(value.to_be_bytes()) == guid);
        known.map_or(Self::Other(guid), |(kind, _)| *kind)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_guid() {
        for (kind, _) in PartitionType::KNOWN {
            assert_eq!(PartitionType::of_guid(kind.guid()), kind);
        }
        assert_eq!(PartitionType::EfiSystem.guid().to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
        let other: Guid = "0FC63DAF-8483-4772-8E79-3D69D8477DE4".parse().unwrap();
        assert_eq!(PartitionType::of_guid(other), PartitionType::Other(other));
        assert_eq!(Guid::from_disk(other.to_disk()), other);
    }

    #[test]
    fn derived_guids_stay_what_they_are() {
        assert_eq!(Guid::of_name("disk").to_string(), "69d4e8d1-7935-8d61-86b6-4fa27373705b");
        assert_eq!(Guid::of_root_hash(Digest::of(b"")).to_string(), "e3b0c442-98fc-1c14-9afb-f4c8996fb924");
    }
}
