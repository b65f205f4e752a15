use super::{Device, SEVEN};
use crate::{
    error::Error,
    keep::keep,
    measure::predicted,
    open::open,
    recovery,
    seal::{Source, seal_now, show},
};
use boot::measure::Register;
use std::{fs, io};

/// A device that has started once.
fn started() -> Device {
    let device = Device::new().with_tpm().with_policy().with_sealed_p3();
    open(&device.paths).unwrap();
    keep(&device.paths).unwrap();
    fs::remove_file(device.path("calls")).unwrap();
    device
}

#[test]
fn the_owners_change_of_config_is_sealed_to_before_the_restart() {
    let device = started();
    device.write("config/note", "changed");
    seal_now(&device.paths, Source::Kept, io::empty()).unwrap();
    let value = predicted(Register::default(), &device.words()).hex();
    let enroll = format!(
        "systemd-cryptenroll --unlock-key-file=@/vault/recovery-key --wipe-slot=tpm2 --tpm2-device=auto \
         --tpm2-pcrs=7:sha256+14:sha256={value} --tpm2-public-key=@/policy/tpm2-pcr-public-key.pem \
         --tpm2-public-key-pcrs=11 --tpm2-pcrlock= @/P3"
    );
    assert_eq!(device.calls_of("systemd-cryptenroll"), [enroll]);
    assert_eq!(device.tokens("evek-vault")[0]["pcrs"], serde_json::json!({"7": SEVEN, "14": value}));
    assert_eq!(device.changes().as_deref(), Some(""));
    assert!(!device.tpm_opens());
    device.restart();
    assert!(device.tpm_opens());

    // without a change it is sealed to that already
    seal_now(&device.paths, Source::Kept, io::empty()).unwrap();
    assert_eq!(device.tokens("systemd-tpm2").len(), 1);
    assert!(device.tpm_opens());
}

#[test]
fn each_changed_file_of_config_is_shown_before_it_is_sealed() {
    let device = Device::new().with_tpm().with_policy().with_sealed_p3();
    assert!(show(&device.paths).unwrap().starts_with("no list of the sealed files"));
    device.write("config/a.yml", "a").write("config/apps/b.yml", "b").restart();
    device.insert("known").write("slots/1", "known");
    open(&device.paths).unwrap();
    keep(&device.paths).unwrap();
    assert!(show(&device.paths).unwrap().starts_with("no list of the sealed files"), "a key vouches for no CONFIG");
    seal_now(&device.paths, Source::Kept, io::empty()).unwrap();
    assert_eq!(show(&device.paths).unwrap(), "CONFIG is as it was at the last sealing\n");
    fs::remove_file(device.path("config/a.yml")).unwrap();
    device.write("config/apps/b.yml", "x").write("config/\u{1b}[2K", "a terminal's escape");
    let expected = "CONFIG since the last sealing:\n  added: \\u{1b}[2K\n  removed: a.yml\n  changed: apps/b.yml\n";
    assert_eq!(show(&device.paths).unwrap(), expected);
}

/// shim measures its list of certificates.
#[test]
fn the_prediction_has_what_others_measure_before_config() {
    let device = started();
    let before = Register::holding(SEVEN.parse().unwrap());
    let measured = device.words();
    device.write("run/config-before", SEVEN).write("tpm/pcr-sha256/14", predicted(before, &measured).hex());
    device.write("config/note", "changed");
    seal_now(&device.paths, Source::Kept, io::empty()).unwrap();
    let value = predicted(before, &device.words()).hex();
    assert_eq!(device.tokens("evek-vault")[0]["pcrs"], serde_json::json!({"7": SEVEN, "14": value}));
}

#[test]
fn what_the_owner_has_the_key_of_is_sealed_with_it() {
    let device = Device::new().with_tpm().with_p3_of("the owner's");
    device.insert("the owner's\n");
    seal_now(&device.paths, Source::Kept, io::empty()).unwrap();
    assert_eq!(device.calls_of("systemd-cryptenroll --unlock-key-file=@/run/seal.key --wipe-slot=tpm2").len(), 1);
    assert!(device.tpm_opens() && device.opens("the owner's"));
    assert!(!device.path("run/seal.key").exists());
    assert_eq!(device.tokens("evek-vault").len(), 1);

    let device = Device::new().with_tpm().with_p3_of("the owner's");
    device.insert("a thief's");
    let error = seal_now(&device.paths, Source::Kept, io::empty()).unwrap_err().to_string();
    assert!(error.ends_with("failed: Unlocking via keyfile failed: Operation not permitted"), "{error}");
    assert!(!device.path("run/seal.key").exists() && !device.tpm_opens());
}

#[test]
fn what_cannot_be_sealed_says_why() {
    let plain = Device::new().with_tpm().with_plain_p3();
    assert!(matches!(seal_now(&plain.paths, Source::Kept, io::empty()), Err(Error::Plain)));
    let without_tpm = Device::new().with_p3_of("the owner's");
    assert!(matches!(seal_now(&without_tpm.paths, Source::Kept, io::empty()), Err(Error::NoTpm { .. })));
    let without_key = Device::new().with_tpm().with_p3_of("the owner's");
    assert!(matches!(seal_now(&without_key.paths, Source::Kept, io::empty()), Err(Error::NoKey { .. })));
    let unmeasured = started();
    unmeasured.write("tpm/pcr-sha256/7", "0".repeat(64));
    assert!(matches!(seal_now(&unmeasured.paths, Source::Kept, io::empty()), Err(Error::NoTpm { .. })));
    let not_measured = started();
    fs::remove_file(not_measured.path("run/config-measured")).unwrap();
    assert!(matches!(seal_now(&not_measured.paths, Source::Kept, io::empty()), Err(Error::NotMeasured)));
    let measured_by_others = started();
    measured_by_others.write("tpm/pcr-sha256/14", SEVEN);
    assert!(matches!(seal_now(&measured_by_others.paths, Source::Kept, io::empty()), Err(Error::Foreign)));
    for device in [plain, without_tpm, without_key, unmeasured, not_measured, measured_by_others] {
        assert_eq!(device.calls_of("systemd-cryptenroll"), [""; 0]);
    }
}

#[test]
fn a_new_recovery_key_replaces_the_old_one() {
    let device = started();
    let old = recovery::kept(&device.paths).unwrap();
    let new = recovery::renew(&device.paths).unwrap();
    let calls = [
        "systemd-cryptenroll --unlock-key-file=@/vault/recovery-key --recovery-key @/P3",
        "systemd-cryptenroll --wipe-slot=1 @/P3",
    ];
    assert_eq!(device.calls_of("systemd-cryptenroll"), calls);
    assert!(device.opens(&new) && !device.opens(&old) && device.tpm_opens());
    assert_eq!(recovery::kept(&device.paths).unwrap(), new);
}

#[test]
fn the_recovery_key_that_is_kept_opens_p3_whenever_the_power_goes() {
    for power in 0.. {
        let device = started();
        let old = device.text("vault/recovery-key");
        device.write("power", power.to_string());
        let done = recovery::renew(&device.paths);
        assert!(device.opens(&device.text("vault/recovery-key")), "{power}");
        if done.is_ok() {
            assert_eq!(power, 3);
            break;
        }
        fs::remove_file(device.path("power")).unwrap();
        recovery::renew(&device.paths).unwrap();
        assert!(!device.opens(&old) && device.tokens("systemd-recovery").len() == 1, "{power}");
    }
}

#[test]
fn a_tool_that_prints_no_key_changes_nothing() {
    let device = started();
    let old = device.text("vault/recovery-key");
    device.does("systemd-cryptenroll", "");
    assert!(matches!(recovery::renew(&device.paths), Err(Error::NoKeyPrinted { .. })));
    assert_eq!(device.text("vault/recovery-key"), old);
    let empty = Device::new();
    assert!(matches!(recovery::kept(&empty.paths), Err(Error::NoneKept { .. })));
    assert!(matches!(recovery::renew(&empty.paths), Err(Error::NoneKept { .. })));
}
