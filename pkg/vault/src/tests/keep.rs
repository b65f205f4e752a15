use super::{Device, SEVEN};
use crate::{
    keep::keep,
    open::open,
    record::{Opener, Record, State},
    recovery,
};
use std::{fs, os::unix::fs::PermissionsExt as _};

const ENROLL: &str = "systemd-cryptenroll --unlock-key-file=@/run/vault.key --wipe-slot=tpm2 --tpm2-device=auto \
                      --tpm2-pcrs=7:sha256+14:sha256 --tpm2-public-key=@/policy/tpm2-pcr-public-key.pem \
                      --tpm2-public-key-pcrs=11 --tpm2-pcrlock= --tpm2-signature=@/policy/tpm2-pcr-signature.json @/P3";

/// A device that has run for a while.
fn used() -> Device {
    let device = Device::new().with_tpm().with_policy().with_sealed_p3();
    start(&device);
    device
}

/// A start, in which the TPM gives the key if it can.
fn start(device: &Device) {
    device.restart();
    if !device.tpm_opens() {
        device.insert(&device.text("vault/recovery-key"));
    }
    open(&device.places).unwrap();
    keep(&device.places).unwrap();
}

#[test]
fn the_first_start_leaves_a_recovery_key_and_notes_what_p3_is_sealed_to() {
    let device = Device::new().with_tpm().with_policy().with_sealed_p3();
    open(&device.places).unwrap();
    keep(&device.places).unwrap();
    assert_eq!(
        device.calls_of("systemd-cryptenroll"),
        ["systemd-cryptenroll --unlock-tpm2-device=auto --recovery-key @/P3"]
    );
    assert_eq!(device.calls_of("cryptsetup token"), ["cryptsetup token import @/P3 --json-file=-"]);
    let key = recovery::kept(&device.places).unwrap();
    assert!(device.opens(&key), "{key}");
    let mode = |name: &str| fs::metadata(device.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("vault"), mode("vault/recovery-key")), (0o700, 0o600));
    let fourteen = device.text("tpm/pcr-sha256/14").trim().to_lowercase();
    let note = serde_json::json!({"type": "evek-vault", "keyslots": [], "pcrs": {"7": SEVEN, "14": fourteen}});
    assert_eq!(device.tokens("evek-vault"), [note]);

    // the next ones change nothing
    device.restart();
    open(&device.places).unwrap();
    keep(&device.places).unwrap();
    assert_eq!((device.calls_of("systemd-cryptenroll"), device.calls_of("cryptsetup token")), (vec![], vec![]));
}

#[test]
fn a_key_that_was_needed_is_not_needed_again() {
    let device = used();
    device.write("config/note", "changed").restart();
    device.insert(&device.text("vault/recovery-key"));
    open(&device.places).unwrap();
    assert!(!device.tpm_opens() && device.path("run/vault.key").exists());
    keep(&device.places).unwrap();
    assert_eq!(device.calls_of("systemd-cryptenroll"), [ENROLL]);
    assert!(device.tpm_opens() && !device.path("run/vault.key").exists());
    assert_eq!(device.tokens("systemd-tpm2").len(), 1);
    let replaced = "cryptsetup token import @/P3 --token-id=9 --token-replace --json-file=-";
    assert_eq!(device.calls_of("cryptsetup token"), [replaced]);
    // once more, without the key
    keep(&device.places).unwrap();
    assert_eq!(device.calls_of("systemd-cryptenroll").len(), 1);
}

#[test]
fn a_tpm_that_was_cleared_gets_the_key_although_its_registers_are_the_same() {
    let device = used();
    device.write("tpm/seed", "two");
    assert!(!device.tpm_opens());
    start(&device);
    assert!(device.tpm_opens());
    let changes: Vec<_> =
        device.calls().into_iter().filter(|call| call.contains("token") || call.contains("enroll")).collect();
    let hide = "cryptsetup token remove @/P3 --token-id=0";
    assert_eq!(changes, [ENROLL, hide, ENROLL, "systemd-cryptenroll --wipe-slot=0 @/P3"]);
    assert_eq!(device.tokens("systemd-tpm2").len(), 1);
}

#[test]
fn an_image_that_is_not_signed_spoils_nothing_for_those_that_are() {
    let device = used();
    device.write("unsigned", "").insert(&device.text("vault/recovery-key")).restart();
    let tokens = device.tokens("systemd-tpm2");
    open(&device.places).unwrap();
    let error = keep(&device.places).unwrap_err().to_string();
    assert!(error.ends_with("failed: Failed to unseal secret using TPM2"), "{error}");
    assert_eq!(device.tokens("systemd-tpm2"), tokens);
    fs::remove_file(device.path("unsigned")).unwrap();
    device.restart();
    open(&device.places).unwrap();
    assert_eq!(device.record().opened_by, Some(Opener::Tpm));
}

#[test]
fn what_is_known_of_p3_is_what_it_is_sealed_to_then() {
    let device = used();
    // sealed by an image without signatures
    device.write("tokens/0", device.text("tokens/0").replace("tpm2_pubkey\"", "x\"")).write("config/note", "changed");
    device.insert(&device.text("vault/recovery-key")).restart();
    open(&device.places).unwrap();
    assert!(!device.record().image_policy);
    keep(&device.places).unwrap();
    assert!(device.record().image_policy);
}

#[test]
fn of_our_notes_there_is_never_a_second() {
    let device = used();
    device.write("tokens/12", device.text("tokens/9")).write("tokens/13", device.text("tokens/9"));
    start(&device);
    let removed = ["12", "13"].map(|number| format!("cryptsetup token remove @/P3 --token-id={number}"));
    assert_eq!(device.calls_of("cryptsetup token"), removed);
    assert_eq!(device.tokens("evek-vault").len(), 1);
}

#[test]
fn what_is_not_sealed_is_left_alone() {
    for (state, opened_by) in [(State::Key, Some(Opener::Key)), (State::Plain, None)] {
        let device = Device::new().with_tpm().with_p3_of("the owner's");
        device.write("run/vault.key", "the owner's");
        Record { opened_by, ..Record::new(&device.places, state) }.write(&device.places).unwrap();
        keep(&device.places).unwrap();
        assert_eq!(device.calls(), [""; 0]);
        assert!(!device.path("run/vault.key").exists());
    }
}

#[test]
fn a_recovery_key_is_made_even_if_sealing_fails_and_the_failure_is_told() {
    let device = Device::new().with_tpm().with_policy().with_sealed_p3();
    device.write("slots/1", "known").insert("known").write("tpm/seed", "two");
    let enroll = include_str!("cryptenroll.sh");
    device.does(
        "systemd-cryptenroll",
        &format!("case \"$*\" in *--tpm2-device*) echo full >&2; exit 1;; esac\n{enroll}"),
    );
    open(&device.places).unwrap();
    let error = keep(&device.places).unwrap_err().to_string();
    assert!(error.ends_with("failed: full"), "{error}");
    assert!(device.opens(&recovery::kept(&device.places).unwrap()));
    // nothing is noted that is not so
    assert_eq!(device.tokens("evek-vault").len(), 0);
    assert!(!device.path("run/vault.key").exists());
}

/// The power goes after each of the tools that run; whatever was opened, by whatever key, can be opened at the next start.
#[test]
fn the_power_may_go_at_any_time() {
    let cases = [("config/note", "changed"), ("tpm/seed", "two"), ("vault/recovery-key", "")];
    for (name, text) in cases {
        for power in 0.. {
            let device = used();
            let owners = device.text("vault/recovery-key");
            // CONFIG has changed, the TPM was cleared, or the key that was kept is lost
            match text {
                "" => fs::remove_file(device.path(name)).unwrap(),
                text => _ = device.write(name, text),
            }
            device.restart();
            if !device.tpm_opens() {
                device.insert(&owners);
            }
            open(&device.places).unwrap();
            device.write("power", power.to_string());
            let done = keep(&device.places);
            assert!(device.opens(&owners), "{name}, {power}");
            let kept = device.text("vault/recovery-key");
            assert!(kept.is_empty() || device.opens(&kept), "{name}, {power}");
            device.write("vault/recovery-key", &owners);
            start(&device);
            assert!(device.tpm_opens() && device.record().state == State::Sealed, "{name}, {power}");
            assert_eq!(device.tokens("evek-vault").len(), 1, "{name}, {power}");
            if done.is_ok() {
                assert!(power > 1, "{name} needs no tool");
                break;
            }
        }
    }
}
