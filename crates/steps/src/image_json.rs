//! `image.json`: what an image is, for people, tools and tests.

use serde::{Deserialize, Serialize};
use sign::{Purpose, Role};
use std::collections::BTreeMap;
use types::{Bytes, Digest};

/// `image.json`: what an image is made of, so that two can be compared and one can be checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageJson {
    /// Version of this document's form.
    pub format: u32,
    /// `<version>-<flavour>-<arch>`
    pub version: String,
    /// Root hash of the slot's verity tree.
    pub root_hash: Digest,
    /// Length of the store, in blocks of 4096 bytes.
    pub data_blocks: u64,
    /// The files of the image by form: `raw`, `qcow2`, `efi` (what systemd-boot starts).
    pub files: BTreeMap<String, String>,
    /// Whose signatures its programs have; absent where they have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing: Option<SigningJson>,
    /// What a TPM's registers (SHA-256 bank) hold: `pcr11` when the kernel starts, by what the EFI stub measures; `pcr11-ready`
    /// once the system is up; `pcr14` for a CONFIG without files. Xen measures nothing into register 11, and shim what only the
    /// machine knows into register 14.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measurements: BTreeMap<String, Digest>,
    /// The partitions of the disk.
    pub partitions: Vec<PartitionJson>,
    /// Outputs of every step by `<step>:<output>`, with digest and size. They have no signatures.
    pub blobs: BTreeMap<String, BlobJson>,
    /// Debian packages by `name:arch=version`, with their digests.
    pub debs: BTreeMap<String, Digest>,
    /// Source archives by name, with their digests.
    pub vendors: BTreeMap<String, Digest>,
}

/// Whose signatures an image has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningJson {
    /// How far the keys are to be trusted.
    pub purpose: Purpose,
    /// What to know before such an image is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Fingerprints (sha256 of the DER form) of the certificates that a device's firmware is to have, and of the one
    /// that says to its TPM which images are the owner's.
    pub certificates: BTreeMap<Role, Digest>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionJson {
    /// Number in the table.
    pub number: u32,
    /// Label.
    pub label: String,
    /// Its GUID.
    pub guid: String,
    /// First byte on the disk.
    pub start: Bytes,
    /// Size on the disk.
    pub size: Bytes,
    /// Number of bytes written; the rest is zero.
    pub written: Bytes,
    /// Digest of the bytes written; none for an empty partition.
    pub digest: Option<Digest>,
}

/// A blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobJson {
    /// sha256.
    pub digest: Digest,
    /// Size.
    pub size: Bytes,
}
