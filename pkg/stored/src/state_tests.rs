use super::*;
use std::process::Command;

fn state(root: &Path) -> State {
    State::open(root).unwrap()
}

fn active(state: &mut State, key: &str) {
    state.add(key, "", Life::Active, Labels::new(), None).unwrap();
}

#[test]
fn a_damaged_list_is_kept_aside_and_an_empty_one_takes_its_place() {
    let with = |text: &str| {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        active(&mut state(root), "a");
        assert_eq!(generation(root).unwrap(), 0);
        fs::write(root.join("snapshots.json"), text).unwrap();
        let state = state(root);
        assert_eq!(state.iter().count(), 0, "{text}");
        assert_eq!(fs::read_to_string(root.join("damaged/snapshots.json")).unwrap(), text);
        let new = generation(root).unwrap();
        assert_ne!(new, 0, "{text}");
        assert!(!root.join("0").exists(), "its folders are deleted");
        drop(state);
        assert_eq!(State::open(root).map(|_| generation(root).unwrap()).unwrap(), new, "damaged once, new once");
    };
    with("{\"next\":");
    with("");
    with("\u{0}\u{0}\u{0}");
    let record = |id: u64, parent: &str, life: &str| {
        format!(r#"{{"id":{id},"parent":"{parent}","life":"{life}","created":1,"updated":1}}"#)
    };
    let list = |next: u64, all: &[(&str, String)]| {
        let all: Vec<_> = all.iter().map(|(key, record)| format!(r#""{key}":{record}"#)).collect();
        format!(r#"{{"next":{next},"snapshots":{{{}}}}}"#, all.join(","))
    };
    // two snapshots in one folder, a folder that the next one would get, parents in a circle, a parent that is written to
    with(&list(9, &[("a", record(1, "", "committed")), ("b", record(1, "", "committed"))]));
    with(&list(1, &[("a", record(1, "", "committed"))]));
    with(&list(9, &[("a", record(1, "b", "committed")), ("b", record(2, "a", "committed"))]));
    with(&list(9, &[("a", record(1, "b", "active")), ("b", record(2, "", "active"))]));
}

#[test]
fn a_list_of_before_is_read() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("1/fs")).unwrap();
    let list = r#"{"next":2,"snapshots":{"a":{"id":1,"parent":"","life":"committed","created":1,"updated":1}}}"#;
    fs::write(dir.path().join("snapshots.json"), list).unwrap();
    let mut state = state(dir.path());
    assert_eq!((state.iter().count(), generation(dir.path()).unwrap()), (1, 0));
    assert!(dir.path().join("1").exists());
    state.remove("a").unwrap();
    assert_eq!(super::tests::state(dir.path()).iter().count(), 0);
}

#[test]
fn a_full_disk_can_be_emptied() {
    let disk = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1M", "tmpfs"]).arg(disk.path()).output();
    // mounting needs privileges that not every host of tests gives
    if !mounted.is_ok_and(|output| output.status.success()) {
        return;
    }
    let unmount = Unmount(disk.path().to_owned());
    let root = disk.path().join("stored");
    let mut it = state(&root);
    active(&mut it, "a");
    active(&mut it, "b");
    fs::write(root.join("0/fs/large"), vec![1; 256 << 10]).unwrap();
    // all that is left
    let mut fill = fs::File::create(disk.path().join("fill")).unwrap();
    let block = [1; 4096];
    let full = std::iter::repeat_with(|| std::io::Write::write_all(&mut fill, &block)).find_map(Result::err).unwrap();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    let free = || aside::free(&root).unwrap();
    assert_eq!(free(), 0);
    // a start on the full disk, then removal
    let mut it = state(&root);
    it.set_labels("b", Labels::from([("k".into(), "v".into())])).unwrap();
    it.remove("a").unwrap();
    assert_eq!(state(&root).iter().count(), 1);
    while free() < 256 << 10 {
        // the files are deleted in the background
        thread::yield_now();
    }
    active(&mut it, "c");
    drop(unmount);
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
