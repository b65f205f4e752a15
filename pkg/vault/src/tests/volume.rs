//! P3 is authenticated: the TPM holds the digest of its volume, and another volume is refused.

use super::{Device, STUB_MEASURED};
use crate::{
    act,
    command::Verb,
    error::Error,
    keep::keep,
    open::open,
    record::{Opener, State},
    seal::{Source, seal_now},
    status::Report,
    volume::Volume,
};
use std::{fs, io};

/// A device that has started once, and whose TPM opens P3.
fn started() -> Device {
    let device = Device::new().with_tpm().with_policy().with_sealed_p3();
    open(&device.paths).unwrap();
    keep(&device.paths).unwrap();
    device
}

/// Somebody's own volume, sealed to this TPM by its public key, with his own recovery key.
fn exchanged(device: &Device) {
    device.write("volume", "a thief's").write("slots/1", "the thief's").insert("the thief's");
    device.restart();
}

#[test]
fn a_volume_that_was_sealed_before_is_bound_at_the_next_start() {
    let device = started();
    assert_eq!((device.record().volume, device.volume()), (Some(Volume::Bound), Some(Volume::Bound)));
    device.restart();
    open(&device.paths).unwrap();
    assert_eq!((device.record().volume, device.record().opened_by), (Some(Volume::Bound), Some(Opener::Tpm)));
}

#[test]
fn keys_may_come_and_go_and_the_volume_is_the_same() {
    let device = started();
    device.write("slots/7", "another key");
    assert_eq!(device.volume(), Some(Volume::Bound));
    // a header with another cipher, such as none
    device.write("cipher", "cipher_null-ecb");
    assert_eq!(device.volume(), Some(Volume::Another));
}

#[test]
fn another_volume_is_refused_although_tpm_and_medium_would_open_it() {
    let device = started();
    exchanged(&device);
    assert!(device.tpm_opens());
    let error = act(&Verb::Open, &device.paths).unwrap_err();
    assert!(matches!(error, Error::RefusedVolume), "{error}");
    assert_eq!(device.calls(), ["cryptsetup luksDump --dump-json-metadata @/P3"]);
    let record = device.record();
    assert_eq!((record.state, record.opened_by, &record.reason), (State::Refused, None, &Some(error.to_string())));
    let status = Report::read(&device.paths).unwrap().text(false).unwrap();
    assert!(status.starts_with("refused: P3 is not open: P3 is another volume than"), "{status}");
    // where something else is mounted in its place, nothing is kept
    keep(&device.paths).unwrap();
    assert!(device.tokens("systemd-recovery").len() == 1 && device.calls_of("systemd-cryptenroll").is_empty());
}

#[test]
fn another_volume_that_config_accepts_is_opened_and_not_sealed() {
    let device = started();
    fs::remove_file(device.path("vault/recovery-key")).unwrap();
    device.write("config/vault.yml", "other_volume: accept\n");
    exchanged(&device);
    open(&device.paths).unwrap();
    keep(&device.paths).unwrap();
    let record = device.record();
    assert_eq!((record.state, record.opened_by), (State::Sealed, Some(Opener::Key)));
    assert_eq!((record.volume, device.volume()), (Some(Volume::Another), Some(Volume::Another)));
    assert_eq!(device.calls_of("systemd-cryptenroll"), [""; 0]);
    let status = Report::read(&device.paths).unwrap().text(false).unwrap();
    assert!(status.contains("warning: P3 is another volume than the one that this TPM sealed"), "{status}");
}

#[test]
fn the_owner_takes_a_disk_to_another_machine_with_its_recovery_key() {
    let device = started();
    // P3 of another machine: this TPM opens nothing
    device.write("volume", "the other machine's").write("slots/1", "its key").write("tpm/seed", "two");
    device.restart();
    fs::remove_dir_all(device.path("vault")).unwrap();
    assert!(matches!(act(&Verb::Open, &device.paths), Err(Error::RefusedVolume)));
    let wrong = seal_now(&device.paths, Source::Input, &b"a guess\n"[..]).unwrap_err().to_string();
    assert!(wrong.contains("Unlocking via keyfile failed"), "{wrong}");
    assert!(matches!(seal_now(&device.paths, Source::Input, io::empty()), Err(Error::NoInput)));
    assert_eq!(device.volume(), Some(Volume::Another));

    seal_now(&device.paths, Source::Input, &b"its key\n"[..]).unwrap();
    assert!(!device.path("run/seal.key").exists());
    // P3 is not open: nothing is kept in its place, and the record stays
    assert!(!device.path("vault").exists() && device.record().state == State::Refused);
    device.restart();
    open(&device.paths).unwrap();
    let record = device.record();
    assert_eq!((record.opened_by, record.volume), (Some(Opener::Tpm), Some(Volume::Bound)));
}

#[test]
fn a_key_opens_a_volume_that_no_tpm_has_bound_and_binds_nothing() {
    // the mainboard is another one, or its TPM was cleared
    let device = Device::new().with_tpm().with_policy().with_sealed_p3();
    device.write("tpm/seed", "two").write("slots/1", "known").insert("known");
    open(&device.paths).unwrap();
    keep(&device.paths).unwrap();
    assert_eq!((device.record().volume, device.volume()), (Some(Volume::Unbound), Some(Volume::Unbound)));
    let status = Report::read(&device.paths).unwrap().text(false).unwrap();
    assert!(status.contains("warning: this TPM has not sealed P3"), "{status}");
    seal_now(&device.paths, Source::Kept, io::empty()).unwrap();
    assert_eq!((device.record().volume, device.volume()), (Some(Volume::Bound), Some(Volume::Bound)));
}

#[test]
fn a_p3_that_this_start_has_made_is_bound_in_place_of_the_one_before() {
    let device = started();
    device.write("volume", "new").restart();
    device.write("run/vault-made", "");
    open(&device.paths).unwrap();
    assert_eq!((device.record().volume, device.volume()), (Some(Volume::Bound), Some(Volume::Bound)));
    assert!(!device.path("run/vault-made").exists());

    // made without encryption, because nothing is measured any more
    let device = started();
    fs::remove_file(device.path(STUB_MEASURED)).unwrap();
    let device = device.with_plain_p3();
    device.restart();
    device.write("run/vault-made", "");
    open(&device.paths).unwrap();
    assert_eq!((device.record().state, device.path("tpm/nv").exists()), (State::Plain, false));
}

#[test]
fn a_plain_p3_is_refused_where_there_is_a_tpm_unless_config_accepts_it() {
    let device = started().with_plain_p3();
    device.restart();
    let error = act(&Verb::Open, &device.paths).unwrap_err();
    assert!(matches!(error, Error::RefusedPlain { .. }), "{error}");
    for said in ["P3 is not encrypted, and the TPM of this machine has sealed a volume", "`plain_with_tpm: accept`"] {
        assert!(error.to_string().contains(said), "{error}");
    }
    assert_eq!((device.record().state, device.record().reason), (State::Refused, Some(error.to_string())));
    assert_eq!(device.calls(), [""; 0]);

    device.write("config/vault.yml", "plain_with_tpm: accept\n");
    open(&device.paths).unwrap();
    assert_eq!((device.record().state, device.calls_of("dmsetup").len()), (State::Plain, 1));

    // a TPM that has bound nothing is a TPM all the same
    let device = Device::new().with_tpm().with_plain_p3();
    let error = open(&device.paths).unwrap_err().to_string();
    assert!(error.starts_with("P3 is not encrypted, and this machine has a TPM: "), "{error}");
}

#[test]
fn a_plain_p3_is_opened_where_the_tpm_could_not_protect_it() {
    let unmeasured = Device::new().with_tpm().with_plain_p3();
    unmeasured.write("tpm/pcr-sha256/7", "0".repeat(64));
    let old = Device::new().with_plain_p3();
    old.write("tpm/tpm_version_major", "1\n");
    for device in [unmeasured, old, Device::new().with_plain_p3()] {
        open(&device.paths).unwrap();
        assert_eq!(device.record().state, State::Plain);
    }
    // unless it was encrypted once
    let device = started().with_plain_p3();
    device.restart();
    device.write("tpm/pcr-sha256/7", "0".repeat(64));
    assert!(matches!(open(&device.paths), Err(Error::RefusedPlain { .. })));
}

#[test]
fn a_tpm_that_does_not_answer_opens_nothing_and_a_key_does() {
    let device = started();
    device.restart();
    device.write("tpm/broken", "921").insert(&device.text("vault/recovery-key"));
    open(&device.paths).unwrap();
    let record = device.record();
    assert_eq!((record.opened_by, record.volume), (Some(Opener::Key), Some(Volume::Unknown)));
    assert!(record.reason.unwrap().starts_with("the TPM does not answer which volume"));
    assert_eq!(device.calls_of("systemd-cryptsetup"), [""; 0]);
}

#[test]
fn a_failure_is_left_for_those_who_find_the_device_without_p3() {
    let device = Device::new();
    device.write("P3", vec![0; 8192]);
    let error = act(&Verb::Open, &device.paths).unwrap_err();
    let record = device.record();
    assert_eq!((record.state, record.reason), (State::Failed, Some(error.to_string())));
    let status = Report::read(&device.paths).unwrap().text(false).unwrap();
    assert!(status.starts_with("failed: P3 is not open: ") && status.contains("neither LUKS2 nor ext4"), "{status}");
}
