use super::{Device, SEVEN};
use crate::{
    error::Error,
    keep::keep,
    measure::{foretold, words},
    open::open,
    recovery,
    seal::seal_now,
};
use boot::measure::Register;
use std::fs;

/// A device that has started once.
fn started() -> Device {
    let device = Device::new().with_tpm().with_policy().with_sealed_p3();
    open(&device.places).unwrap();
    keep(&device.places).unwrap();
    fs::remove_file(device.path("calls")).unwrap();
    device
}

#[test]
fn the_owners_change_of_config_is_sealed_to_before_the_restart() {
    let device = started();
    device.write("config/note", "changed");
    seal_now(&device.places).unwrap();
    let value = foretold(Register::default(), &words(&device.places).unwrap()).hex();
    let enroll = format!(
        "systemd-cryptenroll --unlock-key-file=@/vault/recovery-key --wipe-slot=tpm2 --tpm2-device=auto \
         --tpm2-pcrs=7:sha256+14:sha256={value} --tpm2-public-key=@/policy/tpm2-pcr-public-key.pem \
         --tpm2-public-key-pcrs=11 --tpm2-pcrlock= @/P3"
    );
    assert_eq!(device.calls_of("systemd-cryptenroll"), [enroll]);
    assert_eq!(device.tokens("evek-vault")[0]["pcrs"], serde_json::json!({"7": SEVEN, "14": value}));
    assert!(!device.tpm_opens());
    device.restart();
    assert!(device.tpm_opens());

    // without a change it is sealed to that already
    seal_now(&device.places).unwrap();
    assert_eq!(device.tokens("systemd-tpm2").len(), 1);
    assert!(device.tpm_opens());
}

/// shim measures its list of certificates.
#[test]
fn what_others_measure_before_config_counts_too() {
    let device = started();
    let before = Register::holding(SEVEN.parse().unwrap());
    let measured = words(&device.places).unwrap();
    device.write("run/config-before", SEVEN).write("tpm/pcr-sha256/14", foretold(before, &measured).hex());
    device.write("config/note", "changed");
    seal_now(&device.places).unwrap();
    let value = foretold(before, &words(&device.places).unwrap()).hex();
    assert_eq!(device.tokens("evek-vault")[0]["pcrs"], serde_json::json!({"7": SEVEN, "14": value}));
}

#[test]
fn what_the_owner_has_the_key_of_is_sealed_with_it() {
    let device = Device::new().with_tpm().with_p3_of("the owner's");
    device.insert("the owner's\n");
    seal_now(&device.places).unwrap();
    assert_eq!(device.calls_of("systemd-cryptenroll --unlock-key-file=@/run/seal.key --wipe-slot=tpm2").len(), 1);
    assert!(device.tpm_opens() && device.opens("the owner's"));
    assert!(!device.path("run/seal.key").exists());
    assert_eq!(device.tokens("evek-vault").len(), 1);

    let device = Device::new().with_tpm().with_p3_of("the owner's");
    device.insert("a thief's");
    let error = seal_now(&device.places).unwrap_err().to_string();
    assert!(error.ends_with("failed: Unlocking via keyfile failed: Operation not permitted"), "{error}");
    assert!(!device.path("run/seal.key").exists() && !device.tpm_opens());
}

#[test]
fn what_cannot_be_sealed_says_why() {
    let plain = Device::new().with_tpm().with_plain_p3();
    assert!(matches!(seal_now(&plain.places), Err(Error::Plain)));
    let without_tpm = Device::new().with_p3_of("the owner's");
    assert!(matches!(seal_now(&without_tpm.places), Err(Error::NoTpm)));
    let without_key = Device::new().with_tpm().with_p3_of("the owner's");
    assert!(matches!(seal_now(&without_key.places), Err(Error::NoKey { .. })));
    let not_measured = started();
    fs::remove_file(not_measured.path("run/config-measured")).unwrap();
    assert!(matches!(seal_now(&not_measured.places), Err(Error::NotMeasured)));
    let measured_by_others = started();
    measured_by_others.write("tpm/pcr-sha256/14", SEVEN);
    assert!(matches!(seal_now(&measured_by_others.places), Err(Error::Foreign)));
    for device in [plain, without_tpm, without_key, not_measured, measured_by_others] {
        assert_eq!(device.calls_of("systemd-cryptenroll"), [""; 0]);
    }
}

#[test]
fn a_new_recovery_key_takes_the_place_of_the_old_one() {
    let device = started();
    let old = recovery::kept(&device.places).unwrap();
    let new = recovery::renew(&device.places).unwrap();
    let calls = [
        "systemd-cryptenroll --unlock-key-file=@/vault/recovery-key --recovery-key @/P3",
        "systemd-cryptenroll --wipe-slot=1 @/P3",
    ];
    assert_eq!(device.calls_of("systemd-cryptenroll"), calls);
    assert!(device.opens(&new) && !device.opens(&old) && device.tpm_opens());
    assert_eq!(recovery::kept(&device.places).unwrap(), new);
}

#[test]
fn the_recovery_key_that_is_kept_opens_p3_whenever_the_power_goes() {
    for power in 0.. {
        let device = started();
        let old = device.text("vault/recovery-key");
        device.write("power", power.to_string());
        let done = recovery::renew(&device.places);
        assert!(device.opens(&device.text("vault/recovery-key")), "{power}");
        if done.is_ok() {
            assert_eq!(power, 3);
            break;
        }
        fs::remove_file(device.path("power")).unwrap();
        recovery::renew(&device.places).unwrap();
        assert!(!device.opens(&old) && device.tokens("systemd-recovery").len() == 1, "{power}");
    }
}

#[test]
fn a_tool_that_prints_no_key_changes_nothing() {
    let device = started();
    let old = device.text("vault/recovery-key");
    device.does("systemd-cryptenroll", "");
    assert!(matches!(recovery::renew(&device.places), Err(Error::NoKeyPrinted { .. })));
    assert_eq!(device.text("vault/recovery-key"), old);
    let empty = Device::new();
    assert!(matches!(recovery::kept(&empty.places), Err(Error::NoneKept { .. })));
    assert!(matches!(recovery::renew(&empty.places), Err(Error::NoneKept { .. })));
}
