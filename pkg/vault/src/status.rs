//! `vault status`.

use crate::{
    changes::{self, Changes},
    error::Error,
    paths::Paths,
    record::{Opener, Record, State},
    recovery,
    volume::Volume,
};
use serde::Serialize;
use std::fmt::Write as _;

/// The state of P3, and of the files that protect it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    record: Record,
    /// Whether a recovery key is kept on P3.
    recovery_key: bool,
    /// How CONFIG differs from the files that P3 is sealed to; `None` where no list of them is kept.
    config: Option<Changes>,
    /// Files that could not be read for this report.
    problems: Vec<String>,
}

impl Report {
    pub(crate) fn read(paths: &Paths) -> Result<Self, Error> {
        let record = Record::read(paths)?;
        let mut report = Self { record, recovery_key: false, config: None, problems: Vec::new() };
        // without P3, `/persist` is another file system
        if report.record.state.is_open() {
            match recovery::is_kept(paths) {
                Ok(is_kept) => report.recovery_key = is_kept,
                Err(e) => report.problems.push(e.to_string()),
            }
            match changes::since_sealing(paths) {
                Ok(config) => report.config = config,
                Err(e) => report.problems.push(e.to_string()),
            }
        }
        Ok(report)
    }

    pub(crate) fn text(&self, json: bool) -> Result<String, Error> {
        if json {
            let failed = |e: serde_json::Error| Error::io("write", "the report")(e.into());
            return serde_json::to_string_pretty(self).map_err(failed);
        }
        let record = &self.record;
        let mut text = format!("{}\n", self.state());
        // writing to a String cannot fail
        if let Some(reason) = record.reason.as_ref().filter(|_| record.state.is_open()) {
            let _ = writeln!(text, "the TPM did not open it: {reason}");
        }
        if let Some(problem) = &record.tpm_problem {
            let _ = writeln!(text, "no TPM protects it: {problem}");
        }
        if record.state == State::Sealed {
            let kept = if self.recovery_key { "kept, `vault recovery-key` prints it" } else { "none is kept" };
            let _ = writeln!(text, "recovery key: {kept}");
        }
        if let Some(changes) = self.config.as_ref().filter(|changes| !changes.is_empty()) {
            let _ =
                write!(text, "CONFIG differs from the files that P3 is sealed to; `vault seal` accepts it:\n{changes}");
        }
        for warning in self.warnings() {
            let _ = writeln!(text, "warning: {warning}");
        }
        Ok(text)
    }

    fn has_tpm(&self) -> bool {
        self.record.tpm_problem.is_none()
    }

    fn state(&self) -> String {
        let opener = match self.record.opened_by {
            Some(Opener::Tpm) => "opened by the TPM",
            Some(Opener::Key) => "opened by a key for this start",
            None => "open",
        };
        let reason = self.record.reason.as_deref().unwrap_or("see `journalctl -u evek-vault -u evek-repart`");
        match self.record.state {
            State::Sealed if self.record.image_policy => {
                format!("sealed: {opener}; bound to PCR 7, PCR 14 and images signed by the owner of this one (PCR 11)")
            }
            State::Sealed => format!("sealed: {opener}; bound to PCR 7 and PCR 14"),
            State::Key if self.has_tpm() => {
                "key: opened by the owner's key, which every start needs; after `vault seal` \
                                             the TPM opens it"
                    .to_owned()
            }
            State::Key => "key: opened by the owner's key, which every start needs".to_owned(),
            State::Plain if self.has_tpm() => {
                "plain: not encrypted, although this machine has a TPM; CONFIG accepts that".to_owned()
            }
            State::Plain => "plain: not encrypted".to_owned(),
            State::Refused => format!("refused: P3 is not open: {reason}"),
            State::Failed => format!("failed: P3 is not open: {reason}"),
        }
    }

    fn warnings(&self) -> Vec<&str> {
        let mut warnings: Vec<&str> = self.problems.iter().map(String::as_str).collect();
        match self.record.volume.filter(|_| self.record.state.is_open() && self.record.state != State::Plain) {
            Some(Volume::Another) => {
                warnings.push("P3 is another volume than the one that this TPM sealed; `vault seal` accepts it");
            }
            Some(Volume::Unbound) if self.has_tpm() => {
                warnings.push("this TPM has not sealed P3, and would not notice another volume; `vault seal` binds it");
            }
            Some(Volume::Unknown) => warnings.push(
                "the TPM does not answer which volume it has sealed: another one would not be noticed; see \
                 `journalctl -u evek-vault`",
            ),
            _ => {}
        }
        if self.record.state == State::Sealed {
            if !self.record.secure_boot {
                warnings
                    .push("Secure Boot is off: anyone who can start another system on this machine can have the key");
            }
            if !self.record.image_policy {
                warnings
                    .push("the key is not bound to the owner's images: Xen is not measured, or P3 was sealed without");
            }
            if !self.recovery_key {
                warnings.push(
                    "without a recovery key, nothing opens P3 when the TPM does not; see `journalctl -u \
                     evek-vault-keep`",
                );
            }
        }
        warnings
    }
}
