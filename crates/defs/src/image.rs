use crate::Located;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use types::Bytes;

/// `images/<name>.yml`: what a disk image is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageDef {
    /// One line for people.
    pub summary: String,
    /// The partitions in the order they have on the disk.
    pub partitions: Vec<Partition>,
    /// The forms that the disk image is written in.
    pub formats: Vec<Format>,
    /// Size of the whole disk; as large as its partitions need where absent.
    #[serde(default)]
    #[schemars(with = "Option<crate::schema::SizeText>")]
    pub size: Option<Bytes>,
}

/// One partition of a disk image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// Its number in the partition table, from 1.
    pub number: Located<u32>,
    /// Its label in the partition table.
    pub label: Located<String>,
    /// What it is for, which decides its type GUID.
    #[serde(rename = "type")]
    pub role: PartitionType,
    /// Its size, such as `512MiB`.
    #[schemars(with = "crate::schema::SizeText")]
    pub size: Bytes,
    /// What is written into it.
    pub content: PartitionContent,
    /// Not in the image: the device makes it at its first boot, so that the image stays small.
    #[serde(default)]
    pub first_boot: bool,
    /// Takes the rest of the device's disk; `size` is the least then.
    #[serde(default)]
    pub grow: bool,
}

/// What a partition is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PartitionType {
    /// EFI system partition.
    Esp,
    /// A store with its verity tree.
    Slot,
    /// The owner's configuration: SSH keys, network.
    Config,
    /// The device's state, the only writable file system.
    Persist,
}

/// What is written into a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PartitionContent {
    /// Boot loader and UKI.
    Esp,
    /// The flavour's store and its verity tree.
    Store,
    /// A file system for the owner's configuration.
    Config,
    /// Nothing.
    Empty,
}

/// The form of a disk image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The disk's bytes, sparse.
    Raw,
    /// QEMU's format.
    Qcow2,
}
