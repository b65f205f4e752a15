//! The identity of a device: its machine-id (machine-id(5)) and the names that follow from it.
//!
//! Firmware often has no UUID of its own: zeros, all ones, or the value that the vendor of its source code ships as a sample and
//! that every board of a series then shares. Such a value identifies nothing, so [`MachineId::of_firmware`] refuses it.
//!
//! Deliberately absent: serial numbers of boards. Vendors leave those at "Default string" as often as the UUID.

use std::fmt;

/// A machine-id: 128 bits, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MachineId([u8; 16]);

/// UUIDs that vendors ship on many boards.
const SAMPLES: [u128; 8] = [
    // AMI's Aptio, and the same with the byte order of RFC 4122
    0x03000200_0400_0500_0006_000700080009,
    0x00020003_0004_0005_0006_000700080009,
    // Insyde and others
    0x12345678_1234_5678_90ab_cddeefaabbcc,
    0x12345678_1234_5678_1234_567812345678,
    0x12345678_1234_1234_1234_123456789abc,
    0x01234567_89ab_cdef_0123_456789abcdef,
    0xdeadbeef_dead_beef_dead_beefdeadbeef,
    // Dell, with a blank service tag
    0x4c4c4544_0000_2010_8020_80c04f202020,
];
/// A value with no more different bytes than this is a filling.
const DIFFERENT: usize = 3;

impl MachineId {
    /// From the UUID that firmware has for the machine (SMBIOS 3.7 §7.2.1), as text; `None` for one that identifies nothing.
    #[must_use]
    pub fn of_firmware(uuid: &str) -> Option<Self> {
        let digits: String = uuid.trim().chars().filter(|c| *c != '-').collect();
        if digits.len() != 32 {
            return None;
        }
        let value = u128::from_str_radix(&digits, 16).ok()?;
        (!is_sample(value)).then_some(Self(value.to_be_bytes()))
    }

    /// From the unique GUID of P3, in the order of its text form. P3 is made on the device, with the machine-id of that start as
    /// its GUID, and keeps it from then on. `None` for a GUID that the image brings (version 8): all devices share it.
    #[must_use]
    pub fn of_partition(guid: &[u8; 16]) -> Option<Self> {
        let is_from_image = guid[6] >> 4 == 8;
        (!is_from_image && !is_sample(u128::from_be_bytes(*guid))).then_some(Self(*guid))
    }

    /// From 16 random bytes, as a UUID of version 4.
    #[must_use]
    pub fn of_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    /// The text of a file such as `/etc/machine-id`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let value = u128::from_str_radix(text, 16).ok().filter(|value| *value != 0 && text.len() == 32)?;
        Some(Self(value.to_be_bytes()))
    }

    /// The text form of a UUID, with hyphens.
    #[must_use]
    pub fn uuid(self) -> String {
        let hex = self.to_string();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    /// The name of a device that nobody has named: `<product>-<8 digits>`. The digits are a checksum of the whole id:
    /// UUIDs of one vendor often differ in their last bytes only.
    #[must_use]
    pub fn host_name(self, product: &str) -> String {
        format!("{product}-{:08x}", fnv(&self.0))
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn is_sample(value: u128) -> bool {
    let bytes = value.to_be_bytes();
    let mut different = bytes;
    different.sort_unstable();
    let kinds = 1 + different.windows(2).filter(|pair| pair[0] != pair[1]).count();
    // 00 01 02 …, 00 11 22 …
    let step = |pair: &[u8]| pair[1].wrapping_sub(pair[0]);
    let is_sequence = bytes.windows(2).all(|pair| step(pair) == step(&bytes));
    kinds <= DIFFERENT || is_sequence || SAMPLES.contains(&value)
}

/// FNV-1a, 32 bits, of the id (RFC 9923): names need no cryptography.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_that_a_vendor_has_chosen_identifies_the_machine() {
        for uuid in [
            "4c4c4544-0042-3510-8052-b4c04f4d4e32",
            "0de00b1c-5f43-4f63-9f1d-7e4b52e6a1d0",
            // made of a MAC address
            "00000000-0000-0000-0000-ac1f6bd055ea",
            "FA35C3B1-3B2D-11E9-B56E-0800200C9A66",
        ] {
            let id = MachineId::of_firmware(&format!("{uuid}\n")).unwrap();
            // as systemd.machine_id=firmware has it
            assert_eq!(id.to_string(), uuid.replace('-', "").to_lowercase());
            assert_eq!(id.uuid(), uuid.to_lowercase());
            assert_eq!(MachineId::parse(&format!("{id}\n")), Some(id));
        }
    }

    #[test]
    fn a_uuid_that_many_boards_share_does_not() {
        for uuid in [
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "FEFEFEFE-FEFE-FEFE-FEFE-FEFEFEFEFEFE",
            "10000000-0000-0000-0000-000000000001",
            "03000200-0400-0500-0006-000700080009",
            "00020003-0004-0005-0006-000700080009",
            "12345678-1234-5678-90AB-CDDEEFAABBCC",
            "00010203-0405-0607-0809-0a0b0c0d0e0f",
            "00112233-4455-6677-8899-aabbccddeeff",
            "Not Settable",
            "",
        ] {
            assert_eq!(MachineId::of_firmware(uuid), None, "{uuid}");
        }
    }

    #[test]
    fn p3_keeps_the_id_of_the_start_that_made_it() {
        let id = MachineId::of_random([0xff; 16]);
        assert_eq!(id.uuid(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let id = MachineId::of_random(*b"some random data");
        let guid = u128::from_str_radix(&id.to_string(), 16).unwrap().to_be_bytes();
        assert_eq!(MachineId::of_partition(&guid), Some(id));
        // `disk::Guid::of_name`: the same on all devices
        assert_eq!(MachineId::of_partition(&0x69d4e8d1_7935_8d61_86b6_4fa27373705b_u128.to_be_bytes()), None);
        assert_eq!(MachineId::of_partition(&[0; 16]), None);
    }

    #[test]
    fn devices_have_names_of_their_own_and_keep_them() {
        let name = |uuid: &str| MachineId::of_firmware(uuid).unwrap().host_name("evek");
        let one = name("0de00b1c-5f43-4f63-9f1d-7e4b52e6a1d0");
        assert_eq!(one, "evek-e0fc86bd");
        assert_ne!(one, name("0de00b1c-5f43-4f63-9f1d-7e4b52e6a1d1"));
    }

    #[test]
    fn a_machine_id_file_that_is_empty_or_uninitialized_has_no_id() {
        for text in ["", "uninitialized\n", "00000000000000000000000000000000", "0de00b1c"] {
            assert_eq!(MachineId::parse(text), None, "{text}");
        }
    }
}
