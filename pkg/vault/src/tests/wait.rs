use super::Device;
use crate::{
    error::Error,
    open::open,
    record::{Opener, State},
};
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

const ON_TRIAL: &str = "variables/LoaderBootCountPath-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// A variable with attributes and a text.
const TRIES: [u8; 6] = [6, 0, 0, 0, 65, 0];
const OPEN: &str = "cryptsetup open --type luks2 --allow-discards --key-file=- @/P3 persist";
/// Somebody is asked, and does not answer.
const SILENCE: &str = "echo $$ > \"$here/asking\"; exec tail -f /dev/null";

#[test]
fn the_key_on_the_medium_opens_what_the_owner_has_the_key_of() {
    let device = Device::new().with_p3_of("the owner's");
    device.insert("the owner's\n").does("systemd-ask-password", SILENCE);
    open(&device.paths).unwrap();
    let record = device.record();
    assert_eq!((record.state, record.opened_by, record.reason), (State::Key, Some(Opener::Key), None));
    let calls = [
        "cryptsetup luksDump --dump-json-metadata @/P3",
        "mount -t vfat -o ro,nosuid,nodev,noexec @/EVEKEY @/run/medium",
        "umount @/run/medium",
        OPEN,
    ];
    assert_eq!(device.calls(), calls);
    // for `keep`
    assert_eq!(device.text("run/vault.key"), "the owner's");
    assert_eq!(fs::metadata(device.path("run/vault.key")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_wrong_key_is_tried_once_and_the_next_medium_opens_it() {
    let device = Device::new().with_p3_of("the owner's");
    device.insert("a thief's");
    // some looks later there is another medium
    device.does(
        "systemd-ask-password",
        "echo >> \"$here/asked\"
        if [ \"$(wc -l < \"$here/asked\")\" = 3 ]; then
            printf \"the owner's\" > \"$here/stick/recovery.key\"; touch \"$here/m\"; mv \"$here/m\" \"$here/EVEKEY\"
        fi
        exit 1",
    );
    open(&device.paths).unwrap();
    assert_eq!(
        (device.calls_of("mount").len(), device.calls_of("umount").len(), device.calls_of("cryptsetup open").len()),
        (2, 2, 2)
    );
    assert_eq!(device.text("run/vault.key"), "the owner's");
}

#[test]
fn a_key_can_be_typed_and_a_wrong_one_is_asked_for_again() {
    let device = Device::new().with_p3_of("typed");
    device.does(
        "systemd-ask-password",
        "if [ -e \"$here/asked\" ]; then echo typed; else touch \"$here/asked\"; echo wrong; fi",
    );
    open(&device.paths).unwrap();
    let ask = "systemd-ask-password --timeout=0 --no-tty --id=evek-vault --icon=drive-harddisk Recovery key of P3, or insert the \
               medium EVEKEY:";
    assert_eq!(device.calls_of("systemd-ask-password"), [ask, ask]);
    assert_eq!(device.calls_of("cryptsetup open"), [OPEN, OPEN]);
    assert_eq!((device.text("tried"), device.text("run/vault.key")), ("typed".to_owned(), "typed".to_owned()));
}

#[test]
fn nobody_is_asked_any_more_once_a_medium_has_opened_it() {
    let device = Device::new().with_p3_of("the owner's");
    device.insert("wrong").does("systemd-ask-password", SILENCE);
    // the right medium comes while somebody is being asked
    device.does(
        "wrong-key",
        "printf \"the owner's\" > \"$here/stick/recovery.key\"
        mkfifo \"$here/begun\" 2>&-; touch \"$here/m\"; mv \"$here/m\" \"$here/EVEKEY\"",
    );
    device.does(
        "mount",
        "for last; do :; done; cp -r \"$here/stick/.\" \"$last\"
        if [ -e \"$here/begun\" ]; then until [ -s \"$here/asking\" ]; do :; done; fi",
    );
    open(&device.paths).unwrap();
    let asking = device.text("asking");
    assert!(!asking.is_empty() && !Path::new("/proc").join(asking.trim()).exists());
}

#[test]
fn the_key_that_p3_was_just_made_with_is_not_asked_for() {
    let device = Device::new().with_p3_of("the owner's");
    device.write("run/vault.key", "the owner's");
    open(&device.paths).unwrap();
    assert_eq!(device.calls(), ["cryptsetup luksDump --dump-json-metadata @/P3", OPEN]);
    assert_eq!(device.record().opened_by, Some(Opener::Key));
}

#[test]
fn an_image_on_trial_gives_up_so_that_the_other_one_runs_again() {
    let device = Device::new().with_tpm().with_sealed_p3();
    device.write(ON_TRIAL, TRIES).write("tpm/seed", "two").does("systemd-ask-password", SILENCE);
    let error = open(&device.paths).unwrap_err();
    assert!(matches!(error, Error::Trial { seconds: 0 }), "{error}");
    assert_eq!(device.calls_of("systemctl"), ["systemctl --no-block reboot"]);
    assert!(!device.path("run/vault.json").exists());

    // a key that is there is used all the same
    let device = Device::new().with_p3_of("the owner's");
    device.write(ON_TRIAL, TRIES).insert("the owner's");
    open(&device.paths).unwrap();
    assert_eq!(device.calls_of("systemctl"), [""; 0]);
}

#[test]
fn a_medium_that_cannot_be_read_is_no_end() {
    for (what, key) in
        [("no file", None), ("an empty one", Some(String::new())), ("a long one", Some("x".repeat(70_000)))]
    {
        let device = Device::new().with_p3_of("typed");
        device.write("EVEKEY", "").does("systemd-ask-password", "echo typed");
        if let Some(key) = &key {
            device.insert(key);
        }
        open(&device.paths).unwrap();
        assert_eq!((device.calls_of("mount").len(), device.calls_of("umount").len()), (1, 1), "{what}");
        assert_eq!(device.calls_of("cryptsetup open").len(), 1, "{what}");
    }
    let device = Device::new().with_p3_of("typed");
    device.insert("typed").does("mount", "exit 32").does("systemd-ask-password", "echo typed");
    open(&device.paths).unwrap();
    assert_eq!(device.calls_of("umount"), [""; 0]);
}
