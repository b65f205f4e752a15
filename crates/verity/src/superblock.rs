//! The verity superblock, `struct verity_sb` of cryptsetup's `lib/verity/verity.c`; all numbers little-endian.
//!
//! ```text
//!   0 signature[8] "verity\0\0"   32 algorithm[32] "sha256"     80 salt size u16, 6 bytes of padding
//!   8 version u32 = 1             64 data block size u32        88 salt[256]
//!  12 hash type u32 = 1           68 hash block size u32       344 padding[168]
//!  16 uuid[16]                    72 data blocks u64
//! ```

use crate::{BLOCK, Error};
use std::fmt::Debug;
use types::Digest;

const MAGIC: &[u8; 8] = b"verity\0\0";
const ALGORITHM: &[u8; 32] = b"sha256\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
const LEN: usize = 512;
const SALT_MAX: usize = 256;

/// What a verity superblock says; the fixed fields (sha256, 4096-byte blocks, version 1) are checked on reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    uuid: [u8; 16],
    data_blocks: u64,
    salt: Vec<u8>,
}

fn differs<T: Debug>(field: &'static str, found: T, expected: impl Into<String>) -> Error {
    Error::Superblock { field, found: format!("{found:?}"), expected: expected.into() }
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&from[at..at + N]);
    out
}

impl Superblock {
    pub(crate) fn new(data_blocks: u64, salt: &[u8], uuid: [u8; 16]) -> Result<Self, Error> {
        if salt.len() > SALT_MAX {
            return Err(differs("salt size", salt.len(), format!("at most {SALT_MAX}")));
        }
        Ok(Self { uuid, data_blocks, salt: salt.to_vec() })
    }

    /// Reads a superblock from the 512 or more bytes behind the data.
    ///
    /// # Errors
    /// [`Error::Superblock`] naming the field that is missing, damaged or of a kind not used here.
    pub fn parse(raw: &[u8]) -> Result<Self, Error> {
        if raw.len() < LEN {
            return Err(differs("length", raw.len(), format!("{LEN} bytes")));
        }
        if raw[..8] != *MAGIC {
            return Err(differs("signature", &raw[..8], "`verity`"));
        }
        for (field, at, expected) in [
            ("version", 8, 1),
            ("hash type", 12, 1),
            ("data block size", 64, BLOCK as u32),
            ("hash block size", 68, BLOCK as u32),
        ] {
            let found = u32::from_le_bytes(bytes(raw, at));
            if found != expected {
                return Err(differs(field, found, expected.to_string()));
            }
        }
        if raw[32..64] != *ALGORITHM {
            return Err(differs("algorithm", String::from_utf8_lossy(&raw[32..64]), "`sha256`"));
        }
        let data_blocks = u64::from_le_bytes(bytes(raw, 72));
        if data_blocks == 0 || data_blocks > u64::MAX / BLOCK {
            return Err(differs("data blocks", data_blocks, "a size that a disk can have"));
        }
        let salt_len = usize::from(u16::from_le_bytes(bytes(raw, 80)));
        if salt_len > SALT_MAX {
            return Err(differs("salt size", salt_len, format!("at most {SALT_MAX}")));
        }
        Ok(Self { uuid: bytes(raw, 16), data_blocks, salt: raw[88..88 + salt_len].to_vec() })
    }

    /// The block of [`BLOCK`] bytes as it lies on disk.
    pub(crate) fn to_block(&self) -> Vec<u8> {
        let mut b = vec![0; BLOCK as usize];
        b[..8].copy_from_slice(MAGIC);
        b[8..12].copy_from_slice(&1u32.to_le_bytes());
        b[12..16].copy_from_slice(&1u32.to_le_bytes());
        b[16..32].copy_from_slice(&self.uuid);
        b[32..64].copy_from_slice(ALGORITHM);
        b[64..68].copy_from_slice(&(BLOCK as u32).to_le_bytes());
        b[68..72].copy_from_slice(&(BLOCK as u32).to_le_bytes());
        b[72..80].copy_from_slice(&self.data_blocks.to_le_bytes());
        b[80..82].copy_from_slice(&(self.salt.len() as u16).to_le_bytes());
        b[88..88 + self.salt.len()].copy_from_slice(&self.salt);
        b
    }

    /// Length of the data in blocks of [`BLOCK`] bytes.
    #[must_use]
    pub const fn data_blocks(&self) -> u64 {
        self.data_blocks
    }

    /// The volume's UUID, in the order of RFC 4122.
    #[must_use]
    pub const fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// The salt; empty in images of this project.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The parameters of the device-mapper target `verity` for a device that holds data, superblock and tree; the target's
    /// length is `data_blocks × 8` sectors. `device` is `major:minor` or a path. Options such as
    /// `1 panic_on_corruption` may follow after a space.
    #[must_use]
    pub fn target(&self, device: &str, root_hash: Digest) -> String {
        let salt = match self.salt.as_slice() {
            [] => "-".to_owned(),
            salt => salt.iter().map(|b| format!("{b:02x}")).collect(),
        };
        let (n, first) = (self.data_blocks, self.data_blocks + 1);
        format!("1 {device} {device} {BLOCK} {BLOCK} {n} {first} sha256 {} {salt}", root_hash.hex())
    }
}
