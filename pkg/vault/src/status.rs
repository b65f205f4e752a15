//! `vault status`.

use crate::{
    error::Error,
    places::Places,
    record::{Opener, Record, State},
    recovery,
};
use serde::Serialize;
use std::fmt::Write as _;

/// What there is to know.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    record: Record,
    /// Whether a recovery key is kept on P3.
    recovery_key: bool,
}

impl Report {
    pub(crate) fn read(places: &Places) -> Result<Self, Error> {
        Ok(Self { record: Record::read(places)?, recovery_key: recovery::path(places).exists() })
    }

    pub(crate) fn text(&self, json: bool) -> String {
        if json {
            return serde_json::to_string_pretty(self).unwrap_or_default();
        }
        let mut text = format!("{}\n", self.state());
        // writing to a String cannot fail
        if let Some(reason) = &self.record.reason {
            let _ = writeln!(text, "the TPM did not open it: {reason}");
        }
        if self.record.state == State::Sealed {
            let kept = if self.recovery_key { "kept, `vault recovery-key` prints it" } else { "none is kept" };
            let _ = writeln!(text, "recovery key: {kept}");
        }
        for warning in self.warnings() {
            let _ = writeln!(text, "warning: {warning}");
        }
        text
    }

    fn has_tpm(&self) -> bool {
        !self.record.pcrs.is_empty()
    }

    fn state(&self) -> String {
        let opener = match self.record.opened_by {
            Some(Opener::Tpm) => "opened by the TPM",
            Some(Opener::Key) => "opened by a key",
            None => "open",
        };
        match self.record.state {
            State::Sealed if self.record.image_policy => {
                format!("sealed: {opener}; bound to PCR 7, PCR 14 and images signed by the owner of this one (PCR 11)")
            }
            State::Sealed => format!("sealed: {opener}; bound to PCR 7 and PCR 14"),
            State::Key if self.has_tpm() => {
                format!("key: {opener}, which every start needs; `vault seal` has the TPM open it")
            }
            State::Key => format!("key: {opener}, which every start needs; this machine has no TPM"),
            State::Plain if self.has_tpm() => {
                "plain: not encrypted, although this machine has a TPM; it was made without".to_owned()
            }
            State::Plain => "plain: not encrypted, this machine has no TPM".to_owned(),
        }
    }

    fn warnings(&self) -> Vec<&'static str> {
        let mut warnings = Vec::new();
        if self.record.state == State::Sealed {
            if !self.record.secure_boot {
                warnings.push("Secure Boot is off: whoever can start another system on this machine can have the key");
            }
            if !self.record.image_policy {
                warnings
                    .push("the key is not bound to the owner's images: Xen is not measured, or P3 was sealed without");
            }
            if !self.recovery_key {
                warnings.push("without a recovery key, nothing opens P3 when the TPM does not; see `journalctl -u evek-vault-keep`");
            }
        }
        warnings
    }
}
