use crate::{DiskLayout, LayoutPartition, Located};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::{Bytes, UnknownChoice};

/// `images/<name>.yml`: the recipe of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageDef {
    /// One line for people.
    pub summary: String,
    /// What it is.
    pub kind: ImageKind,
    /// The layout of its partitions: a file of `layouts/`.
    pub layout: Located<String>,
    /// Contents of partitions, by label. The image has these partitions only and stays small: the device makes the others of
    /// its own layout at its first boot.
    #[serde(default)]
    pub content: BTreeMap<String, Located<PartitionContent>>,
    /// Whether a device whose firmware has no platform key enrolls the keys of the image's signatures.
    #[serde(default)]
    pub enroll_keys: EnrollKeys,
    /// Whether the firmware starts shim, which Microsoft has signed, instead of systemd-boot. The firmware then needs
    /// no keys of the owner: a person enrolls the owner's certificate in shim, at the machine. `enroll_keys` must be
    /// `off`.
    #[serde(default)]
    pub shim: bool,
    /// The file formats of the disk image.
    pub formats: Vec<Format>,
    /// Size of the whole disk; as large as its partitions need where absent.
    #[serde(default)]
    #[schemars(with = "Option<crate::schema::SizeText>")]
    pub size: Option<Bytes>,
}

/// One partition of a disk image, from its layout and its definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number in the partition table, from 1.
    pub number: u32,
    /// Its label in the partition table.
    pub label: String,
    /// Its purpose, which decides its type GUID.
    pub role: PartitionType,
    /// Its size.
    pub size: Bytes,
    /// Its content.
    pub content: PartitionContent,
}

impl ImageDef {
    /// The partitions of the image, in the order they have on the disk.
    #[must_use]
    pub fn partitions(&self, layout: &DiskLayout) -> Vec<Partition> {
        let partition = |p: &LayoutPartition| {
            let content = self.content.get(&p.label.value)?.value;
            let (number, label) = (p.number.value, p.label.value.clone());
            Some(Partition { number, label, role: p.role, size: p.size, content })
        };
        layout.partitions.iter().filter_map(partition).collect()
    }
}

/// The kind of an image, which decides what is made of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImageKind {
    /// A disk that a device runs from.
    Disk,
}

/// The purpose of a partition.
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

impl PartitionType {
    /// The word in definitions.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Esp => "esp",
            Self::Slot => "slot",
            Self::Config => "config",
            Self::Persist => "persist",
        }
    }
}

/// The content of a partition.
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

/// When firmware without a platform key (*setup mode*, UEFI 2.10 §32.3.1) receives the keys of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EnrollKeys {
    /// Never.
    #[default]
    Off,
    /// When a person selects the keys in the boot menu.
    Manual,
    /// Automatically in virtual machines; elsewhere when a person selects the keys in the boot menu.
    IfSafe,
    /// Automatically on every machine. Firmware that needs other keys for its own drivers no longer starts.
    Force,
}

impl EnrollKeys {
    /// The word in definitions, and in systemd-boot's `loader.conf` (`secure-boot-enroll`).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Manual => "manual",
            Self::IfSafe => "if-safe",
            Self::Force => "force",
        }
    }
}

/// The form of a disk image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The disk's bytes, sparse.
    Raw,
    /// QEMU's format.
    Qcow2,
    /// VMware's format: one sparse file.
    Vmdk,
    /// Hyper-V's format.
    Vhdx,
    /// VirtualBox's format.
    Vdi,
    /// An archive for Google Compute Engine.
    Gcp,
    /// The disk's bytes, compressed by zstd: for downloads, and for `flash`.
    #[serde(rename = "raw.zst")]
    Zstd,
}

impl std::str::FromStr for Format {
    type Err = UnknownChoice;

    fn from_str(s: &str) -> Result<Self, UnknownChoice> {
        let choices = || Self::ALL.map(Self::as_str).to_vec();
        let unknown = || UnknownChoice { what: "format", found: s.to_owned(), choices: choices() };
        Self::ALL.into_iter().find(|format| format.as_str() == s).ok_or_else(unknown)
    }
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Raw, Self::Qcow2, Self::Vmdk, Self::Vhdx, Self::Vdi, Self::Gcp, Self::Zstd];

    /// The end of a file's name.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Gcp => "gcp.tar.gz",
            other => other.as_str(),
        }
    }

    /// The word in definitions.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vhdx => "vhdx",
            Self::Vdi => "vdi",
            Self::Gcp => "gcp",
            Self::Zstd => "raw.zst",
        }
    }
}
