//! `image.json`: the description of an image, for people, tools and tests.

use segments::SegmentList;
use serde::{Deserialize, Serialize};
use sign::{Purpose, Role};
use std::collections::BTreeMap;
use types::{Bytes, Digest};

/// `image.json`: the parts of an image, for comparing two images and for verifying one.
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
    /// The files of the image by form: `raw`, `qcow2`, `efi` (the kernel image).
    pub files: BTreeMap<String, String>,
    /// The signers of its programs; absent for an unsigned image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing: Option<SigningJson>,
    /// Predicted values of a TPM's registers (SHA-256 bank): `pcr11` at the start of the kernel, after the EFI stub's
    /// measurements; `pcr11-ready` of a running system; `pcr14` for a CONFIG without files. Images of Xen have no
    /// `pcr11`, because nothing measures them. Images with shim have no `pcr14`, because shim extends it by values of
    /// the machine.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measurements: BTreeMap<String, Digest>,
    /// The partitions of the disk.
    pub partitions: Vec<PartitionJson>,
    /// The bytes of the disk that matter. Everything else on it is free, and zero in the files.
    #[serde(default)]
    pub disk: SegmentList,
    /// Outputs of every step by `<step>:<output>`, with digest and size, before signing.
    pub blobs: BTreeMap<String, BlobJson>,
    /// Debian packages by `name:arch=version`, with their digests.
    pub debs: BTreeMap<String, Digest>,
    /// Source archives by name, with their digests.
    pub vendors: BTreeMap<String, Digest>,
}

/// The signers of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningJson {
    /// The purpose of the keys.
    pub purpose: Purpose,
    /// A warning for users of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// Fingerprints (sha256 of the DER form) of the certificates for a device's firmware, and of the certificate of the
    /// TPM's policy.
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
    /// Digest of the bytes written; absent for an empty partition.
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
