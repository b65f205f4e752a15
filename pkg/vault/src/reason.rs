//! Why the TPM does not release the key.

use crate::{
    header::Header,
    paths::Paths,
    tpm::{Policy, Tpm},
};

/// The reason, as far as this machine shows it: registers that differ from those of the sealing, and the tool's own message.
pub(crate) fn reason(paths: &Paths, header: &Header, talk: &str) -> String {
    let tpm = match Tpm::find(paths) {
        Ok(tpm) => tpm,
        Err(problem) => return problem,
    };
    if header.tpm().is_empty() {
        return "its key is not in the TPM any more: a sealing was cut off".to_owned();
    }
    let now = match tpm.bound() {
        Ok(now) => now,
        Err(e) => return e.to_string(),
    };
    let mut reasons = Vec::new();
    // an error here is one of a register, which `bound` has just read
    reasons.extend(tpm.unmeasured().unwrap_or_default());
    match header.bound() {
        None => reasons.push("the registers of the sealing are not noted".to_owned()),
        Some(then) => {
            if then.firmware != now.firmware {
                reasons.push("the firmware's keys or Secure Boot state (PCR 7) differ".to_owned());
            }
            if then.config != now.config {
                reasons.push("CONFIG (PCR 14) differs".to_owned());
            }
        }
    }
    if header.image_policy() && Policy::find(paths).is_none() {
        reasons.push("the image is not signed for it (PCR 11)".to_owned());
    }
    if reasons.is_empty() {
        let reason = if header.image_policy() {
            "PCR 7 and PCR 14 are as they were: the image is not signed for it (PCR 11), or the TPM was cleared"
        } else {
            "PCR 7 and PCR 14 are as they were: the TPM was cleared, or is another one"
        };
        reasons.push(reason.to_owned());
    }
    // lines after that are about passwords, for which nobody is asked
    let mut lines = talk.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let line = lines.clone().find(|line| line.contains("TPM2")).or_else(|| lines.next());
    match line {
        Some(line) => format!("{}; systemd-cryptsetup: {}", reasons.join(", "), line.trim_end_matches('.')),
        None => reasons.join(", "),
    }
}
