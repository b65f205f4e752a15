//! The tokens in P3's header: those of systemd, and one of our own (LUKS2 On-Disk Format Specification §3.5).
//!
//! ```text
//!  systemd-tpm2      key slot, sealed blob, registers that it is bound to, public key for PCR 11
//!  systemd-recovery  key slot
//!  evek-vault        no key slot: the values of PCR 7 and PCR 14 at the sealing, to explain a refusal
//! ```
//! There is at most one token `evek-vault`. No decision depends on it: everyone who holds the disk can write it.

use crate::{error::Error, paths::Paths, tools::Tool, tpm::Bound};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

const TPM: &str = "systemd-tpm2";
const RECOVERY: &str = "systemd-recovery";
const OURS: &str = "evek-vault";

/// The part of the metadata that the vault needs.
#[derive(Debug, Deserialize)]
pub(crate) struct Header {
    tokens: BTreeMap<u32, Token>,
    keyslots: BTreeMap<u32, Value>,
    /// Which bytes are encrypted, and by which cipher.
    pub(crate) segments: Map<String, Value>,
    /// Digests of the volume key.
    pub(crate) digests: Map<String, Value>,
}

/// A token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Token {
    #[serde(rename = "type")]
    kind: String,
    keyslots: Vec<String>,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

impl Header {
    pub(crate) fn read(paths: &Paths) -> Result<Self, Error> {
        let text = paths.tool("cryptsetup").args(["luksDump", "--dump-json-metadata"]).arg(&paths.partition).run()?;
        let command = "cryptsetup luksDump".to_owned();
        serde_json::from_str(&text).map_err(|e| Error::Header { command, problem: e.to_string() })
    }

    fn of_kind(&self, kind: &'static str) -> impl Iterator<Item = (&u32, &Token)> {
        self.tokens.iter().filter(move |(_, token)| token.kind == kind)
    }

    /// The tokens by which the TPM releases the key.
    pub(crate) fn tpm(&self) -> Vec<&Token> {
        self.of_kind(TPM).map(|(_, token)| token).collect()
    }

    /// Removes the tokens by which the TPM releases the key from the header. Their key slots stay.
    pub(crate) fn hide_tpm(&self, paths: &Paths) -> Result<(), Error> {
        self.of_kind(TPM).try_for_each(|(number, _)| token(paths, "remove", *number).run().map(drop))
    }

    /// Puts those tokens back.
    pub(crate) fn show_tpm(&self, paths: &Paths) -> Result<(), Error> {
        self.of_kind(TPM).try_for_each(|(number, found)| import(token(paths, "import", *number), found))
    }

    /// Whether P3 was sealed to a TPM. A sealing that was cut off may have left our own token only.
    pub(crate) fn is_sealed(&self) -> bool {
        self.of_kind(TPM).chain(self.of_kind(OURS)).next().is_some()
    }

    /// Whether the TPM releases the key to the owner's images only.
    pub(crate) fn image_policy(&self) -> bool {
        self.of_kind(TPM).any(|(_, token)| token.fields.contains_key("tpm2_pubkey"))
    }

    /// Whether another key than that of the TPM opens P3.
    pub(crate) fn has_other_keys(&self) -> bool {
        let of_tpm = self.tpm_slots();
        self.keyslots.keys().any(|slot| !of_tpm.contains(&slot.to_string().as_str()))
    }

    /// Key slots that the TPM opens.
    pub(crate) fn tpm_slots(&self) -> Vec<&str> {
        self.slots_of(TPM)
    }

    /// Key slots that recovery keys open.
    pub(crate) fn recovery_slots(&self) -> Vec<&str> {
        self.slots_of(RECOVERY)
    }

    fn slots_of(&self, kind: &'static str) -> Vec<&str> {
        self.of_kind(kind).flat_map(|(_, token)| &token.keyslots).map(String::as_str).collect()
    }

    /// The registers that P3 is sealed to.
    pub(crate) fn bound(&self) -> Option<Bound> {
        let (_, token) = self.of_kind(OURS).next()?;
        serde_json::from_value(token.fields.get("pcrs")?.clone()).ok()
    }

    /// Notes the registers that P3 is sealed to, in place of the note before.
    pub(crate) fn note(&self, paths: &Paths, bound: &Bound) -> Result<(), Error> {
        let ours: Vec<_> = self.of_kind(OURS).map(|(number, _)| *number).collect();
        for number in ours.iter().skip(1) {
            token(paths, "remove", *number).run()?;
        }
        if self.bound().as_ref() == Some(bound) {
            return Ok(());
        }
        let pcrs = serde_json::json!({"pcrs": bound});
        let fields = pcrs.as_object().cloned().unwrap_or_default();
        let new = Token { kind: OURS.to_owned(), keyslots: Vec::new(), fields };
        match ours.first() {
            Some(number) => import(token(paths, "import", *number).arg("--token-replace"), &new),
            None => import(paths.tool("cryptsetup").args(["token", "import"]).arg(&paths.partition), &new),
        }
    }
}

/// An action of cryptsetup on one token.
fn token(paths: &Paths, action: &str, number: u32) -> Tool {
    let tool = paths.tool("cryptsetup").args(["token", action]).arg(&paths.partition);
    tool.arg(format!("--token-id={number}"))
}

fn import(tool: Tool, token: &Token) -> Result<(), Error> {
    let text = serde_json::json!(token).to_string();
    tool.arg("--json-file=-").input(text.as_bytes()).run().map(drop)
}
