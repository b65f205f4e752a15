use serde::{Deserialize, Serialize};
use std::fmt;

/// The purpose of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// The platform key, which owns the firmware's other keys (UEFI 2.10 §32.3.4).
    #[serde(rename = "PK")]
    Pk,
    /// The key exchange key, which signs changes of `db` (UEFI 2.10 §32.3.5).
    #[serde(rename = "KEK")]
    Kek,
    /// Signs programs that the firmware starts (UEFI 2.10 §32.5.3).
    #[serde(rename = "db")]
    Db,
    /// Signs updates.
    #[serde(rename = "update")]
    Update,
    /// Signs policies: to which images a device's TPM releases the key of P3.
    #[serde(rename = "pcr")]
    Pcr,
    /// The predecessor of `pcr` during an exchange. A folder need not have it.
    #[serde(rename = "pcr-before")]
    PcrBefore,
    /// Signs addons: further arguments for a device's kernel. No firmware trusts it until the owner adds its
    /// certificate.
    #[serde(rename = "debug")]
    Debug,
    /// Signs the modules of a kernel that is built from source. The kernel has the certificate built in.
    #[serde(rename = "modules")]
    Modules,
}

impl Role {
    /// Every role that a folder of keys must have.
    pub const ALL: [Self; 7] = [Self::Pk, Self::Kek, Self::Db, Self::Update, Self::Pcr, Self::Debug, Self::Modules];

    /// Its name, also that of its files without their ending.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pk => "PK",
            Self::Kek => "KEK",
            Self::Db => "db",
            Self::Update => "update",
            Self::Pcr => "pcr",
            Self::PcrBefore => "pcr-before",
            Self::Debug => "debug",
            Self::Modules => "modules",
        }
    }

    /// Its name in its certificate.
    #[cfg(feature = "keys")]
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Pk => "platform key",
            Self::Kek => "key exchange key",
            Self::Db => "signature database key",
            Self::Update => "update key",
            Self::Pcr | Self::PcrBefore => "PCR policy key",
            Self::Debug => "debug key",
            Self::Modules => "module key",
        }
    }

    /// Length of its RSA key in bits. All firmware accepts 2048 bits (UEFI 2.10 §32.5.1), and so do TPMs (TCG, *PC
    /// Client Platform TPM Profile*, "Asymmetric Algorithms"); longer keys are optional.
    #[cfg(feature = "keys")]
    pub(crate) const fn bits(self) -> usize {
        match self {
            Self::Pk | Self::Kek | Self::Db | Self::Pcr | Self::PcrBefore | Self::Debug | Self::Modules => 2048,
            Self::Update => 3072,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
