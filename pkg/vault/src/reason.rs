//! Why the TPM does not give the key, in words for people.

use crate::{
    header::Header,
    places::Places,
    tpm::{Policy, Tpm},
};

/// The reason, as far as anyone knows: registers that are not as they were, and what the tool says itself.
pub(crate) fn reason(places: &Places, header: &Header, talk: &str) -> String {
    let Some(tpm) = Tpm::find(places) else {
        return Tpm::absence(places).to_owned();
    };
    if header.tpm().is_empty() {
        return "its key is not in the TPM any more: a sealing was cut off".to_owned();
    }
    let now = match tpm.bound() {
        Ok(now) => now,
        Err(e) => return e.to_string(),
    };
    let mut reasons = Vec::new();
    match header.bound() {
        None => reasons.push("what it was sealed to is not noted"),
        Some(then) => {
            if then.firmware != now.firmware {
                reasons.push("the firmware's keys or Secure Boot state (PCR 7) differ");
            }
            if then.config != now.config {
                reasons.push("CONFIG (PCR 14) differs");
            }
        }
    }
    let is_unsigned = header.image_policy() && Policy::find(places).is_none();
    if is_unsigned {
        reasons.push("the image is not signed for it (PCR 11)");
    }
    if reasons.is_empty() {
        reasons.push(if header.image_policy() {
            "PCR 7 and PCR 14 are as they were: the image is not signed for it (PCR 11), or the TPM was cleared"
        } else {
            "PCR 7 and PCR 14 are as they were: the TPM was cleared, or is another one"
        });
    }
    // lines after that are about passwords, for which nobody is asked
    let mut lines = talk.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let line = lines.clone().find(|line| line.contains("TPM2")).or_else(|| lines.next());
    match line {
        Some(line) => format!("{}; systemd-cryptsetup: {}", reasons.join(", "), line.trim_end_matches('.')),
        None => reasons.join(", "),
    }
}
