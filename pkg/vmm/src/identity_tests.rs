//! Identities of guests on a device of temporary folders.

use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef";

fn device() -> (tempfile::TempDir, Paths) {
    let dir = tempfile::tempdir().unwrap();
    let paths =
        Paths { state: dir.path().join("state"), machine_id: dir.path().join("machine-id"), ..Paths::default() };
    fs::write(&paths.machine_id, format!("{ID}\n")).unwrap();
    (dir, paths)
}

fn identity(paths: &Paths, cards: usize) -> Identity {
    of("web", cards, paths, &Key::read(&paths.machine_id).unwrap()).unwrap()
}

#[test]
fn an_identity_is_of_its_device_and_stays_when_the_device_changes() {
    let (_dir, paths) = device();
    let first = identity(&paths, 1);
    assert_eq!(first, identity(&paths, 1));
    assert!(first.macs[0].starts_with("52:54:00:") && first.macs[0].len() == 17, "{first:?}");
    assert_eq!((first.uuid.len(), first.uuid.as_bytes()[14]), (36, b'8'), "{first:?}");
    // P3 moves to another device
    fs::write(&paths.machine_id, "ffffffffffffffffffffffffffffffff").unwrap();
    assert_eq!(first, identity(&paths, 1));
    let (_dir, other) = device();
    fs::write(&other.machine_id, "ffffffffffffffffffffffffffffffff").unwrap();
    let second = identity(&other, 1);
    assert!(first.uuid != second.uuid && first.macs != second.macs && first.uid != second.uid);
}

#[test]
fn an_identity_does_not_show_the_machine_id() {
    let (_dir, paths) = device();
    let text = serde_json::to_string(&identity(&paths, 2)).unwrap().replace([':', '-'], "");
    assert!(!text.contains(&ID[..8]), "{text}");
}

#[test]
fn apps_and_cards_of_one_device_differ() {
    let (_dir, paths) = device();
    let key = Key::read(&paths.machine_id).unwrap();
    let [web, data] = ["web", "data"].map(|app| of(app, 2, &paths, &key).unwrap());
    assert!(web.macs[0] != web.macs[1] && web.macs[0] != data.macs[0]);
    assert!(web.uuid != data.uuid && web.uid != data.uid);
}

#[test]
fn further_cards_get_addresses_and_the_others_keep_theirs() {
    let (_dir, paths) = device();
    let one = identity(&paths, 1);
    let two = identity(&paths, 2);
    assert_eq!((&one.macs[0], two.macs.len()), (&two.macs[0], 2));
    assert_eq!(identity(&paths, 1), two, "a card that comes back has its address again");
}

#[test]
fn guests_of_an_earlier_version_keep_their_addresses() {
    let (_dir, paths) = device();
    fs::create_dir_all(paths.state.join("web")).unwrap();
    let kept = identity(&paths, 1);
    let old = Digest::of(b"card web 0");
    let [a, b, c] = [0, 1, 2].map(|n| old.as_bytes()[n]);
    assert_eq!(kept.macs, [format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")]);
    let more = identity(&paths, 2);
    assert_eq!(more.macs[0], kept.macs[0]);
    assert_eq!(more.macs[1], Key::read(&paths.machine_id).unwrap().mac("web", 1), "a new card is of this device");
}

#[test]
fn a_damaged_file_is_made_anew_with_the_values_of_the_device() {
    let (_dir, paths) = device();
    let first = identity(&paths, 1);
    let file = paths.state.join("web").join(FILE);
    let of = |uuid: &str, mac: &str, uid: u32| format!(r#"{{"uuid": "{uuid}", "macs": ["{mac}"], "uid": {uid}}}"#);
    for damaged in [
        String::new(),
        "{".into(),
        of("x", &first.macs[0], first.uid),
        of(&first.uuid, "52:54:00:00:00:01,romfile=/x", first.uid),
        of(&first.uuid, &first.macs[0], 0),
    ] {
        fs::write(&file, &damaged).unwrap();
        assert_eq!(identity(&paths, 1), first, "{damaged}");
    }
}

#[test]
fn without_a_machine_id_an_identity_is_random_and_stays() {
    let (_dir, paths) = device();
    for missing in ["", "uninitialized", "00000000000000000000000000000000", "0123"] {
        fs::write(&paths.machine_id, missing).unwrap();
        let [a, b] = [0, 1].map(|_| Key::read(&paths.machine_id).unwrap().derive("x"));
        assert_ne!(a, b, "{missing}");
    }
    fs::remove_file(&paths.machine_id).unwrap();
    assert_eq!(identity(&paths, 1), identity(&paths, 1));
}
