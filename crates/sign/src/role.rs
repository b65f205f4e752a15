use serde::{Deserialize, Serialize};
use std::fmt;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// The platform key: who owns the firmware's other keys (UEFI 2.10 §32.3.4).
    #[serde(rename = "PK")]
    Pk,
    /// The key exchange key: who may change `db` (UEFI 2.10 §32.3.5).
    #[serde(rename = "KEK")]
    Kek,
    /// Who signs programs that the firmware starts (UEFI 2.10 §32.5.3).
    #[serde(rename = "db")]
    Db,
    /// Who signs what a slot holds.
    #[serde(rename = "verity")]
    Verity,
    /// Who signs updates.
    #[serde(rename = "update")]
    Update,
    /// Who says which images a device's TPM gives the key of its state to.
    #[serde(rename = "pcr")]
    Pcr,
    /// Who said so before, while devices change over: a folder need not have it.
    #[serde(rename = "pcr-before")]
    PcrBefore,
    /// Who may give a device's kernel further arguments. No firmware is told of it until its owner does so.
    #[serde(rename = "debug")]
    Debug,
    /// Who signs the modules of a kernel that is built from source. The kernel has its certificate built in.
    #[serde(rename = "modules")]
    Modules,
}

impl Role {
    /// Every role that a folder of keys must have.
    pub const ALL: [Self; 8] =
        [Self::Pk, Self::Kek, Self::Db, Self::Verity, Self::Update, Self::Pcr, Self::Debug, Self::Modules];

    /// Its name, also that of its files without their ending.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pk => "PK",
            Self::Kek => "KEK",
            Self::Db => "db",
            Self::Verity => "verity",
            Self::Update => "update",
            Self::Pcr => "pcr",
            Self::PcrBefore => "pcr-before",
            Self::Debug => "debug",
            Self::Modules => "modules",
        }
    }

    /// What its certificate calls it.
    #[cfg(feature = "keys")]
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Pk => "platform key",
            Self::Kek => "key exchange key",
            Self::Db => "signature database key",
            Self::Verity => "verity key",
            Self::Update => "update key",
            Self::Pcr | Self::PcrBefore => "PCR policy key",
            Self::Debug => "debug key",
            Self::Modules => "module key",
        }
    }

    /// Length of its RSA key in bits. Firmware is sure to take 2048 only (UEFI 2.10 §32.5.1), and
    /// so are TPMs (TCG, *PC Client Platform TPM Profile*, "Asymmetric Algorithms").
    #[cfg(feature = "keys")]
    pub(crate) const fn bits(self) -> usize {
        match self {
            Self::Pk | Self::Kek | Self::Db | Self::Pcr | Self::PcrBefore | Self::Debug | Self::Modules => 2048,
            Self::Verity | Self::Update => 3072,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
