use super::{Device, ELEVEN, SEVEN};
use crate::{
    error::Error,
    open::open,
    record::{Opener, State},
};
use efivars::Name;
use std::fs;

const ATTACH: &str = "systemd-cryptsetup attach persist @/P3 - tpm2-device=auto,headless=1,discard";
fn note(device: &Device, seven: &str, fourteen: &str) {
    let token = serde_json::json!({"type": "evek-vault", "keyslots": [], "pcrs": {"7": seven, "14": fourteen}});
    device.write("tokens/5", token.to_string());
}

fn fourteen(device: &Device) -> String {
    device.text("tpm/pcr-sha256/14").trim().to_lowercase()
}

#[test]
fn the_tpm_opens_what_is_sealed() {
    let device = Device::new().with_tpm().with_policy().with_sealed_p3();
    open(&device.paths).unwrap();
    let attach = format!("{ATTACH},tpm2-signature=@/policy/tpm2-pcr-signature.json");
    assert_eq!(device.calls(), ["cryptsetup luksDump --dump-json-metadata @/P3".to_owned(), attach]);
    let text = device.text("run/vault.json");
    let expected = serde_json::json!({"state": "sealed", "opened_by": "tpm", "secure_boot": false, "image_policy": true,
        "pcrs": {"7": SEVEN, "11": ELEVEN, "14": fourteen(&device)}, "tpm_problem": null, "volume": "bound",
        "reason": null});
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), expected);
    assert!(!device.path("run/vault.key").exists());
}

#[test]
fn what_is_open_already_stays_so() {
    let device = Device::new().with_tpm().with_sealed_p3();
    device.write("persist", "");
    open(&device.paths).unwrap();
    assert_eq!(device.calls(), [""; 0]);
}

#[test]
fn secure_boot_is_what_the_firmware_says() {
    for (secure, setup, expected) in [(1, 0, true), (0, 0, false), (1, 1, false)] {
        let device = Device::new().with_plain_p3();
        for (name, value) in [(Name::SECURE_BOOT, secure), (Name::SETUP_MODE, setup)] {
            device.write(&format!("variables/{name}"), [6, 0, 0, 0, value]);
        }
        open(&device.paths).unwrap();
        assert_eq!(device.record().secure_boot, expected, "{secure} {setup}");
    }
}

#[test]
fn without_a_tpm_a_plain_p3_has_the_same_name_unless_the_owner_refuses() {
    let device = Device::new().with_plain_p3();
    open(&device.paths).unwrap();
    assert_eq!(device.calls(), ["dmsetup create persist --table 0 16 linear @/P3 0"]);
    let record = device.record();
    assert_eq!((record.state, record.opened_by, record.pcrs.len(), record.reason), (State::Plain, None, 0, None));

    let device = Device::new().with_plain_p3();
    device.write("config/vault.yml", "without_tpm: refuse\n");
    assert!(matches!(open(&device.paths), Err(Error::RefusedToOpen)));
    assert_eq!(device.calls(), [""; 0]);
}

#[test]
fn what_is_neither_is_left_alone() {
    let device = Device::new();
    device.write("P3", vec![0; 8192]);
    assert!(matches!(open(&device.paths), Err(Error::Unknown { .. })));
    assert_eq!(device.calls(), [""; 0]);
    assert!(matches!(open(&Device::new().paths), Err(Error::Io { action: "open", .. })));
}

#[test]
fn a_refusal_is_explained_by_the_registers() {
    let (seven, config) = ("the firmware's keys or Secure Boot state (PCR 7) differ", "CONFIG (PCR 14) differs");
    let (image, same) = ("the image is not signed for it (PCR 11)", "PCR 7 and PCR 14 are as they were");
    let unseal = "systemd-cryptsetup: Failed to unseal secret using TPM2: Operation not permitted";
    let cases = [
        ("00", "", true, format!("{seven}; {unseal}")),
        ("", "00", true, format!("{config}; {unseal}")),
        ("00", "00", false, format!("{seven}, {config}, {image}; {unseal}")),
        ("", "", false, format!("{image}; {unseal}")),
        ("", "", true, format!("{same}: {image}, or the TPM was cleared; {unseal}")),
    ];
    for (changed_seven, changed_fourteen, signed, expected) in cases {
        let device = Device::new().with_tpm().with_sealed_p3();
        let device = if signed { device.with_policy() } else { device };
        let (seven, fourteen) = (SEVEN.to_owned(), fourteen(&device));
        let or = |changed: &str, value: String| if changed.is_empty() { value } else { changed.repeat(32) };
        note(&device, &or(changed_seven, seven), &or(changed_fourteen, fourteen));
        device.write("tpm/seed", "two").write("slots/1", "known").insert("known");
        open(&device.paths).unwrap();
        let record = device.record();
        assert_eq!((record.state, record.opened_by), (State::Sealed, Some(Opener::Key)));
        assert_eq!(record.reason.unwrap(), expected);
    }
}

#[test]
fn registers_that_cannot_be_read_and_a_tool_that_is_not_there_leave_the_key_as_a_way() {
    let device = Device::new().with_tpm().with_sealed_p3();
    device.write("tpm/pcr-sha256/7", "none").write("slots/1", "known").insert("known");
    open(&device.paths).unwrap();
    let record = device.record();
    assert_eq!((record.opened_by, record.pcrs.len()), (Some(Opener::Key), 0));
    assert!(record.reason.unwrap().contains("pcr-sha256/7 has `none`"));

    let device = Device::new().with_tpm().with_sealed_p3();
    fs::remove_file(device.path("bin/systemd-cryptsetup")).unwrap();
    device.write("slots/1", "known").insert("known");
    open(&device.paths).unwrap();
    assert!(device.record().reason.unwrap().starts_with("`systemd-cryptsetup attach persist "));
}

#[test]
fn without_the_tpm_it_is_sealed_to_the_recovery_key_opens_it() {
    let device = Device::new().with_tpm().with_sealed_p3();
    fs::remove_dir_all(device.path("tpm")).unwrap();
    device.write("slots/1", "known").insert("known");
    open(&device.paths).unwrap();
    assert_eq!(device.calls_of("systemd-cryptsetup"), [""; 0]);
    let record = device.record();
    assert_eq!((record.state, record.opened_by, record.pcrs.len()), (State::Sealed, Some(Opener::Key), 0));
    assert!(record.reason.unwrap().contains("no TPM"));

    // the power went between the wiping of a slot and the next one
    let device = Device::new().with_tpm().with_p3_of("known");
    note(&device, SEVEN, SEVEN);
    device.insert("known");
    open(&device.paths).unwrap();
    let record = device.record();
    assert_eq!((record.state, record.opened_by), (State::Sealed, Some(Opener::Key)));
    assert!(record.reason.unwrap().contains("a sealing was cut off"));
}

#[test]
fn a_config_that_cannot_be_measured_leaves_the_key_as_a_way() {
    let device = Device::new().with_tpm().with_policy().with_sealed_p3();
    fs::remove_file(device.path("run/config-measured")).unwrap();
    device.write("slots/1", "known").insert("known");
    open(&device.paths).unwrap();
    assert_eq!(device.calls_of("systemd-cryptsetup"), [""; 0]);
    let record = device.record();
    assert_eq!(record.opened_by, Some(Opener::Key));
    assert!(record.reason.unwrap().starts_with("CONFIG is not measured in this start"));
}

/// P3 was sealed before the firmware lost its measurements.
#[test]
fn registers_that_nobody_extends_are_the_reason() {
    let device = Device::new().with_tpm().with_policy().with_sealed_p3();
    note(&device, SEVEN, &fourteen(&device));
    device.write("tpm/pcr-sha256/7", "0".repeat(64)).write("slots/1", "known").insert("known");
    open(&device.paths).unwrap();
    let reason = device.record().reason.unwrap();
    assert!(reason.contains("(PCR 7 is zero)") && reason.contains("(PCR 7) differ"), "{reason}");
}
