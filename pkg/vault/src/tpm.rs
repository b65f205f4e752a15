//! The TPM as the kernel shows it, and the registers of it that P3 is bound to: those of the SHA-256 bank.

use crate::{error::Error, firmware, paths::Paths};
use boot::measure::{CONFIG_PCR, PCR, Register};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, io, path::PathBuf};
use types::Digest;

/// The register of the firmware's keys and of Secure Boot (TCG PC Client Platform Firmware Profile §3.3.4).
const FIRMWARE_PCR: u32 = 7;
const BANK: &str = "pcr-sha256";

/// A TPM 2 with a bank of SHA-256 registers.
pub(crate) struct Tpm<'a>(&'a Paths);

/// The register values that P3 is bound to, as its header holds them: hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bound {
    #[serde(rename = "7")]
    pub(crate) firmware: String,
    #[serde(rename = "14")]
    pub(crate) config: String,
}

impl<'a> Tpm<'a> {
    /// The TPM, or the reason why this machine has none that P3 could be bound to.
    pub(crate) fn find(paths: &'a Paths) -> Result<Self, String> {
        let path = paths.tpm.join("tpm_version_major");
        let version = match fs::read_to_string(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err("this machine has no TPM 2, or it is switched off in the firmware".to_owned());
            }
            version => version.map_err(|e| Error::io("read", &path)(e).to_string())?,
        };
        if version.trim() != "2" {
            let version = version.trim();
            return Err(format!("the TPM of this machine has version {version}, and P3 needs a TPM 2"));
        }
        let has = |path: PathBuf| path.try_exists().map_err(|e| Error::io("look for", path)(e).to_string());
        let tpm = Self(paths);
        if has(tpm.path(CONFIG_PCR))? {
            return Ok(tpm);
        }
        let others = other_banks(paths).map_err(|e| e.to_string())?;
        let others = if others.is_empty() { "none at all".to_owned() } else { format!("only {}", others.join(", ")) };
        Err(format!(
            "the TPM of this machine has no SHA-256 registers, {others}: switch the SHA-256 bank on in the firmware"
        ))
    }

    /// The TPM, if the firmware and the EFI stub have measured this start into it: P3 that is sealed to registers which nobody
    /// extends would be bound to nothing, or would never open.
    pub(crate) fn measured(paths: &'a Paths) -> Result<Self, String> {
        let tpm = Self::find(paths)?;
        match tpm.unmeasured() {
            Ok(None) => Ok(tpm),
            Ok(Some(problem)) => Err(problem),
            Err(e) => Err(e.to_string()),
        }
    }

    /// What the TPM lacks of the measurements that P3 is bound to. Xen has no stub, and its image no policy for register 11.
    pub(crate) fn unmeasured(&self) -> Result<Option<String>, Error> {
        const WHAT_TO_DO: &str = "update the firmware, or switch its measurements (`measured boot`) on";
        let is_zero = |number| Ok::<_, Error>(self.register(number)? == Register::default().value());
        if is_zero(FIRMWARE_PCR)? {
            let problem = "the firmware does not measure into the SHA-256 registers of the TPM (PCR 7 is zero)";
            return Ok(Some(format!("{problem}: {WHAT_TO_DO}")));
        }
        if Policy::find(self.0).is_some() {
            if is_zero(PCR)? {
                let problem = "the kernel image is not measured into the TPM (PCR 11 is zero)";
                return Ok(Some(format!("{problem}: {WHAT_TO_DO}")));
            }
            if !firmware::stub_measured(self.0)? {
                let problem = "the EFI stub has not measured the kernel image (no variable StubPcrKernelImage)";
                return Ok(Some(format!("{problem}: {WHAT_TO_DO}")));
            }
        }
        Ok(None)
    }

    fn path(&self, register: u32) -> PathBuf {
        self.0.tpm.join(format!("{BANK}/{register}"))
    }

    /// The value of a register now (kernel, `Documentation/ABI/stable/sysfs-class-tpm`).
    pub(crate) fn register(&self, number: u32) -> Result<Digest, Error> {
        let path = self.path(number);
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let text = text.trim().to_ascii_lowercase();
        text.parse().map_err(|_| Error::Register { path, found: text })
    }

    /// The values that P3 would be bound to now.
    pub(crate) fn bound(&self) -> Result<Bound, Error> {
        Ok(Bound { firmware: self.register(FIRMWARE_PCR)?.hex(), config: self.register(CONFIG_PCR)?.hex() })
    }

    /// The registers that matter here.
    pub(crate) fn registers(&self) -> Result<BTreeMap<u32, String>, Error> {
        [FIRMWARE_PCR, PCR, CONFIG_PCR].into_iter().map(|number| Ok((number, self.register(number)?.hex()))).collect()
    }
}

/// Whether the machine has a TPM 2, whatever its registers.
pub(crate) fn is_version_2(paths: &Paths) -> bool {
    fs::read_to_string(paths.tpm.join("tpm_version_major")).is_ok_and(|version| version.trim() == "2")
}

/// `SHA-1`, `SHA-384`, …: the banks that the TPM has.
fn other_banks(paths: &Paths) -> Result<Vec<String>, Error> {
    let mut banks = Vec::new();
    for item in fs::read_dir(&paths.tpm).map_err(Error::io("read", &paths.tpm))? {
        let name = item.map_err(Error::io("read", &paths.tpm))?.file_name();
        let bank = name.to_str().filter(|name| *name != BANK).and_then(|name| name.strip_prefix("pcr-sha"));
        banks.extend(bank.map(|bits| format!("SHA-{bits}")));
    }
    banks.sort();
    Ok(banks)
}

/// The option that binds a key to registers: to their values now, or to a predicted value of CONFIG's register.
pub(crate) fn registers_option(config: Option<Digest>) -> String {
    let config = config.map(|value| format!("={}", value.hex())).unwrap_or_default();
    format!("--tpm2-pcrs={FIRMWARE_PCR}:sha256+{CONFIG_PCR}:sha256{config}")
}

/// The signed image's policy: the key by which its owner signs values of PCR 11, and the signatures. Xen's image has none.
pub(crate) struct Policy {
    key: PathBuf,
    pub(crate) signature: PathBuf,
}

impl Policy {
    pub(crate) fn find(paths: &Paths) -> Option<Self> {
        let (key, signature) =
            (paths.policy.join("tpm2-pcr-public-key.pem"), paths.policy.join("tpm2-pcr-signature.json"));
        (key.exists() && signature.exists()).then_some(Self { key, signature })
    }

    /// The options that bind a key to the owner's images, or not: without these options the tools look for a key themselves.
    /// They exclude policies of systemd-pcrlock, too.
    pub(crate) fn options(policy: Option<&Self>) -> [String; 3] {
        let (key, register) = match policy {
            Some(policy) => (policy.key.display().to_string(), PCR.to_string()),
            None => Default::default(),
        };
        [format!("--tpm2-public-key={key}"), format!("--tpm2-public-key-pcrs={register}"), "--tpm2-pcrlock=".to_owned()]
    }
}
