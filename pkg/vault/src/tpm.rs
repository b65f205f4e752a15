//! The TPM, as the kernel shows it, and what P3 is bound to in it. The bank is that of SHA-256.

use crate::{error::Error, places::Places};
use boot::measure::{CONFIG_PCR, PCR};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, path::PathBuf};
use types::Digest;

/// The register of the firmware's keys and of Secure Boot (TCG PC Client Platform Firmware Profile §3.3.4).
const FIRMWARE_PCR: u32 = 7;

/// A TPM 2 with a bank of SHA-256 registers.
pub(crate) struct Tpm<'a>(&'a Places);

/// The values that P3 is bound to, as they are kept in its header: hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bound {
    #[serde(rename = "7")]
    pub(crate) firmware: String,
    #[serde(rename = "14")]
    pub(crate) config: String,
}

impl<'a> Tpm<'a> {
    pub(crate) fn find(places: &'a Places) -> Option<Self> {
        let tpm = Self(places);
        (is_version_2(places) && tpm.path(CONFIG_PCR).exists()).then_some(tpm)
    }

    /// Why there is none, in words for people.
    pub(crate) fn absence(places: &Places) -> &'static str {
        if is_version_2(places) {
            "the TPM of this machine has no SHA-256 registers: switch that bank on in the firmware"
        } else {
            "this machine has no TPM 2, or it is switched off in the firmware"
        }
    }

    fn path(&self, register: u32) -> PathBuf {
        self.0.tpm.join(format!("pcr-sha256/{register}"))
    }

    /// The value of a register now (kernel, `Documentation/ABI/stable/sysfs-class-tpm`).
    pub(crate) fn register(&self, number: u32) -> Result<Digest, Error> {
        let path = self.path(number);
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let text = text.trim().to_ascii_lowercase();
        text.parse().map_err(|_| Error::Register { path, found: text })
    }

    /// What P3 would be bound to now.
    pub(crate) fn bound(&self) -> Result<Bound, Error> {
        Ok(Bound { firmware: self.register(FIRMWARE_PCR)?.hex(), config: self.register(CONFIG_PCR)?.hex() })
    }

    /// For people.
    pub(crate) fn registers(&self) -> Result<BTreeMap<u32, String>, Error> {
        [FIRMWARE_PCR, PCR, CONFIG_PCR].into_iter().map(|number| Ok((number, self.register(number)?.hex()))).collect()
    }
}

fn is_version_2(places: &Places) -> bool {
    fs::read_to_string(places.tpm.join("tpm_version_major")).is_ok_and(|version| version.trim() == "2")
}

/// The option that binds a key to registers: as they are, or to what CONFIG will make of its own.
pub(crate) fn registers_option(config: Option<Digest>) -> String {
    let config = config.map(|value| format!("={}", value.hex())).unwrap_or_default();
    format!("--tpm2-pcrs={FIRMWARE_PCR}:sha256+{CONFIG_PCR}:sha256{config}")
}

/// What the signed image brings: the key that its owner signs PCR 11 with, and the signatures. Xen brings none.
pub(crate) struct Policy {
    key: PathBuf,
    pub(crate) signature: PathBuf,
}

impl Policy {
    pub(crate) fn find(places: &Places) -> Option<Self> {
        let (key, signature) =
            (places.policy.join("tpm2-pcr-public-key.pem"), places.policy.join("tpm2-pcr-signature.json"));
        (key.exists() && signature.exists()).then_some(Self { key, signature })
    }

    /// The options that bind a key to the owner's images, or say that it is not: without them the tools look for a key
    /// themselves. Policies of systemd-pcrlock have no place here either.
    pub(crate) fn options(policy: Option<&Self>) -> [String; 3] {
        let (key, register) = match policy {
            Some(policy) => (policy.key.display().to_string(), PCR.to_string()),
            None => Default::default(),
        };
        [format!("--tpm2-public-key={key}"), format!("--tpm2-public-key-pcrs={register}"), "--tpm2-pcrlock=".to_owned()]
    }
}
