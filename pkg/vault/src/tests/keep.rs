use super::{Device, SEVEN};
use crate::{
    keep::keep,
    open::open,
    record::{Opener, Record, State},
    recovery,
    seal::{Source, seal_now},
};
use std::{fs, io, os::unix::fs::PermissionsExt as _};

/// A device that has run for a while.
fn used() -> Device {
    let device = Device::new().with_tpm().with_policy().with_sealed_p3();
    start(&device);
    device
}

/// A start, in which the TPM opens P3 if it can, and else the recovery key.
fn start(device: &Device) {
    device.restart();
    if !device.tpm_opens() {
        device.insert(&device.text("vault/recovery-key"));
    }
    open(&device.paths).unwrap();
    keep(&device.paths).unwrap();
}

#[test]
fn the_first_start_leaves_a_recovery_key_and_notes_what_p3_is_sealed_to() {
    let device = Device::new().with_tpm().with_policy().with_sealed_p3();
    open(&device.paths).unwrap();
    keep(&device.paths).unwrap();
    assert_eq!(
        device.calls_of("systemd-cryptenroll"),
        ["systemd-cryptenroll --unlock-tpm2-device=auto --recovery-key @/P3"]
    );
    assert_eq!(device.calls_of("cryptsetup token"), ["cryptsetup token import @/P3 --json-file=-"]);
    let key = recovery::kept(&device.paths).unwrap();
    assert!(device.opens(&key), "{key}");
    let mode = |name: &str| fs::metadata(device.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("vault"), mode("vault/recovery-key")), (0o700, 0o600));
    let fourteen = device.text("tpm/pcr-sha256/14").trim().to_lowercase();
    let note = serde_json::json!({"type": "evek-vault", "keyslots": [], "pcrs": {"7": SEVEN, "14": fourteen}});
    assert_eq!(device.tokens("evek-vault"), [note]);

    // the next ones change nothing
    device.restart();
    open(&device.paths).unwrap();
    keep(&device.paths).unwrap();
    assert_eq!((device.calls_of("systemd-cryptenroll"), device.calls_of("cryptsetup token")), (vec![], vec![]));
}

/// Somebody changes CONFIG on a bench, and the operator comes with the recovery key.
#[test]
fn the_recovery_key_opens_one_start_and_seals_nothing() {
    let device = used();
    let tokens = (device.tokens("systemd-tpm2"), device.tokens("evek-vault"));
    device.write("config/authorized_keys", "of a thief");
    for _ in 0..2 {
        start(&device);
        assert_eq!(device.record().opened_by, Some(Opener::Key));
        assert_eq!(device.calls_of("systemd-cryptenroll"), [""; 0]);
        assert_eq!((device.tokens("systemd-tpm2"), device.tokens("evek-vault")), tokens);
        assert!(!device.tpm_opens() && !device.path("run/vault.key").exists());
        assert_eq!(device.changes().unwrap(), "  added: authorized_keys\n");
    }
    seal_now(&device.paths, Source::Kept, io::empty()).unwrap();
    assert_eq!(device.changes().unwrap(), "");
    start(&device);
    assert_eq!(device.record().opened_by, Some(Opener::Tpm));
}

#[test]
fn the_list_of_configs_files_is_that_of_a_config_that_the_tpm_has_accepted() {
    let device = used();
    assert_eq!(device.changes().as_deref(), Some(""));
    fs::remove_file(device.path("vault/sealed-config.json")).unwrap();
    // the owner is faster than `keep`
    device.restart();
    open(&device.paths).unwrap();
    device.write("config/note", "changed");
    keep(&device.paths).unwrap();
    assert_eq!(device.changes(), None);
}

#[test]
fn a_tpm_that_was_cleared_gets_the_key_by_the_owners_act() {
    let device = used();
    device.write("tpm/seed", "two");
    assert!(!device.tpm_opens());
    start(&device);
    assert!(!device.tpm_opens());
    fs::remove_file(device.path("calls")).unwrap();
    seal_now(&device.paths, Source::Kept, io::empty()).unwrap();
    assert!(device.tpm_opens());
    let changes: Vec<_> =
        device.calls().into_iter().filter(|call| call.contains("token") || call.contains("enroll")).collect();
    let config = device.text("tpm/pcr-sha256/14").trim().to_lowercase();
    let enroll = format!(
        "systemd-cryptenroll --unlock-key-file=@/vault/recovery-key --wipe-slot=tpm2 --tpm2-device=auto \
         --tpm2-pcrs=7:sha256+14:sha256={config} --tpm2-public-key=@/policy/tpm2-pcr-public-key.pem \
         --tpm2-public-key-pcrs=11 --tpm2-pcrlock= @/P3"
    );
    let hide = "cryptsetup token remove @/P3 --token-id=0";
    assert_eq!(changes, [&enroll, hide, &enroll, "systemd-cryptenroll --wipe-slot=0 @/P3"]);
    assert_eq!(device.tokens("systemd-tpm2").len(), 1);
}

#[test]
fn the_record_has_the_policy_that_p3_is_sealed_to() {
    let device = used();
    // sealed by an image without signatures
    device.write("tokens/0", device.text("tokens/0").replace("tpm2_pubkey\"", "x\"")).write("config/note", "changed");
    start(&device);
    assert!(!device.record().image_policy);
    seal_now(&device.paths, Source::Kept, io::empty()).unwrap();
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
        Record { opened_by, ..Record::new(&device.paths, state) }.write(&device.paths).unwrap();
        keep(&device.paths).unwrap();
        assert_eq!(device.calls(), [""; 0]);
        assert!(!device.path("run/vault.key").exists());
    }
}

#[test]
fn a_recovery_key_that_is_lost_is_made_again_whichever_key_opens_p3() {
    let device = used();
    let owners = device.text("vault/recovery-key");
    fs::remove_file(device.path("vault/recovery-key")).unwrap();
    device.write("tpm/seed", "two").insert(&owners).restart();
    open(&device.paths).unwrap();
    keep(&device.paths).unwrap();
    assert_eq!(
        device.calls_of("systemd-cryptenroll"),
        ["systemd-cryptenroll --unlock-key-file=@/run/vault.key --recovery-key @/P3"]
    );
    assert!(device.opens(&recovery::kept(&device.paths).unwrap()));
}

/// The power goes after each of the tools that run; the owner's key opens P3 at the next start, and sealing succeeds then.
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
            open(&device.paths).unwrap();
            device.write("power", power.to_string());
            let done = keep(&device.paths).and_then(|()| seal_now(&device.paths, Source::Kept, io::empty()));
            assert!(device.opens(&owners), "{name}, {power}");
            let kept = device.text("vault/recovery-key");
            assert!(kept.is_empty() || device.opens(&kept), "{name}, {power}");
            device.write("vault/recovery-key", &owners);
            start(&device);
            if done.is_err() {
                seal_now(&device.paths, Source::Kept, io::empty()).unwrap();
                start(&device);
            }
            assert!(device.tpm_opens() && device.record().state == State::Sealed, "{name}, {power}");
            assert_eq!(device.tokens("evek-vault").len(), 1, "{name}, {power}");
            if done.is_ok() {
                assert!(power > 1, "{name} needs no tool");
                break;
            }
        }
    }
}
