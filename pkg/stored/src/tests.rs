use super::*;
use std::fs;
use store::{NewImage, Role, plan};
use types::{Bytes, Digest};

/// Layers as plain folders: mounting needs privileges and a kernel that tests do not have everywhere.
struct Folders(PathBuf);

impl Layers for Folders {
    fn folder(&self, layer: &Layer) -> Result<PathBuf, Error> {
        let folder = self.0.join(layer.blob.hex());
        fs::create_dir_all(&folder).map_err(|source| Error::Io { action: "create", path: folder.clone(), source })?;
        Ok(folder)
    }
}

struct World {
    dir: tempfile::TempDir,
    chain: Vec<String>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layers: Vec<_> = [&b"base"[..], b"top"].iter().map(|b| (Digest::of(b), Bytes(4))).collect();
        let diff_ids: Vec<_> = [&b"base.tar"[..], b"top.tar"].iter().map(|b| Digest::of(b)).collect();
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}","{}"]}}}}"#,
            diff_ids[0], diff_ids[1]
        );
        let name = "evek.local/root:1".parse().unwrap();
        let image = NewImage { name, role: Role::Root, config: config.into_bytes(), layers, service: None };
        let layout = plan(&[image]).unwrap();
        let blobs = dir.path().join("store/blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        fs::write(dir.path().join("store/oci-layout"), layout.oci_layout).unwrap();
        fs::write(dir.path().join("store/index.json"), layout.index).unwrap();
        for (digest, bytes) in layout.documents {
            fs::write(blobs.join(digest.hex()), bytes).unwrap();
        }
        Self { dir, chain: store::chain_ids(&diff_ids).iter().map(ToString::to_string).collect() }
    }

    fn open(&self) -> Snapshotter<Folders> {
        let store = Store::open(&self.dir.path().join("store")).unwrap();
        Snapshotter::open(&self.dir.path().join("state"), &store, Folders(self.dir.path().join("layers"))).unwrap()
    }

    fn key(&self, n: usize) -> String {
        store_key(&self.chain[n])
    }
}

fn asks_for(chain: &str) -> Labels {
    Labels::from([(REF.to_owned(), chain.to_owned())])
}

fn code<T: std::fmt::Debug>(result: Result<T, Status>) -> Code {
    result.unwrap_err().code
}

#[test]
fn a_layer_of_the_store_exists_without_being_made() {
    let world = World::new();
    let mut s = world.open();
    let answer = s.prepare("services/1/extract", "", asks_for(&world.chain[0]));
    assert_eq!(code(answer), Code::AlreadyExists);
    // as containerd's metadata looks for it: by label, kind and parent
    let target = |s: &Snapshotter<_>, n: usize| {
        let infos = s.list();
        infos.into_iter().find(|i| i.labels.get(REF) == Some(&world.chain[n])).unwrap()
    };
    let base = target(&s, 0);
    assert_eq!((base.kind(), base.parent.as_str()), (Kind::Committed, ""));
    let top = target(&s, 1);
    assert_eq!((top.kind(), top.parent), (Kind::Committed, base.name.clone()));
    assert_eq!(code(s.prepare("services/2/extract", &base.name, asks_for(&world.chain[1]))), Code::AlreadyExists);
    assert_eq!(s.usage(&base.name).unwrap(), Usage::default());
    s.remove(&base.name).unwrap();
    assert_eq!(s.stat(&base.name).unwrap(), base, "it cannot be removed");
    let list = fs::read_to_string(world.dir.path().join("state/snapshots.json")).unwrap();
    assert_eq!(list.trim_end(), r#"{"next":0,"generation":0,"snapshots":{}}"#, "nothing was written about it");
}

#[test]
fn a_layer_on_another_parent_is_unpacked_as_usual() {
    let world = World::new();
    let mut s = world.open();
    s.prepare("a", "", Labels::new()).unwrap();
    s.commit("other", "a", Labels::new()).unwrap();
    let mounts = s.prepare("b", "other", asks_for(&world.chain[1])).unwrap();
    assert_eq!(mounts[0].r#type, "overlay");
}

#[test]
fn mounts_are_one_overlay_with_the_top_layer_first() {
    let world = World::new();
    let mut s = world.open();
    let layers = world.dir.path().join("layers");
    let [base, top] = [&b"base"[..], b"top"].map(|b| layers.join(Digest::of(b).hex()).display().to_string());
    let state = world.dir.path().join("state").display().to_string();
    let active = s.prepare("c", &world.key(1), Labels::new()).unwrap();
    assert_eq!(
        active,
        [Mount {
            r#type: "overlay".into(),
            source: "overlay".into(),
            target: String::new(),
            options: vec![
                "index=off".into(),
                format!("workdir={state}/0/work"),
                format!("upperdir={state}/0/fs"),
                format!("lowerdir={top}:{base}"),
            ],
        }]
    );
    assert_eq!(s.mounts("c").unwrap(), active);
    let view = s.view("v", &world.key(1), Labels::new()).unwrap();
    assert_eq!(view[0].options, ["index=off".to_owned(), format!("lowerdir={top}:{base}")]);
    let single = s.view("w", &world.key(0), Labels::new()).unwrap();
    assert_eq!((single[0].r#type.as_str(), &single[0].source), ("bind", &base));
    assert_eq!(single[0].options, ["ro", "rbind"]);
}

#[test]
fn a_pulled_image_may_stand_on_the_store() {
    let world = World::new();
    let mut s = world.open();
    s.prepare("x", &world.key(0), Labels::new()).unwrap();
    fs::write(world.dir.path().join("state/0/fs/file"), vec![1; 5000]).unwrap();
    s.commit("pulled", "x", Labels::from([("a".into(), "b".into())])).unwrap();
    assert_eq!(s.usage("pulled").unwrap().inodes, 1);
    assert_eq!(s.stat("pulled").unwrap().labels["a"], "b");
    assert_eq!(code(s.stat("x")), Code::NotFound);
    let mounts = s.prepare("y", "pulled", Labels::new()).unwrap();
    assert!(mounts[0].options[3].starts_with(&format!("lowerdir={}/state/0/fs:", world.dir.path().display())));
    assert_eq!(code(s.remove("pulled")), Code::FailedPrecondition);
    s.remove("y").unwrap();
    s.remove("pulled").unwrap();
    assert_eq!(code(s.remove("pulled")), Code::NotFound);
}

#[test]
fn what_must_not_be_is_refused() {
    let world = World::new();
    let mut s = world.open();
    s.prepare("a", "", Labels::new()).unwrap();
    assert_eq!(code(s.prepare("a", "", Labels::new())), Code::AlreadyExists);
    assert_eq!(code(s.prepare("b", "a", Labels::new())), Code::InvalidArgument);
    assert_eq!(code(s.prepare("b", "none", Labels::new())), Code::NotFound);
    assert_eq!(code(s.commit("c", "none", Labels::new())), Code::NotFound);
    assert_eq!(code(s.commit(&world.key(0), "a", Labels::new())), Code::AlreadyExists);
    s.view("v", &world.key(0), Labels::new()).unwrap();
    assert_eq!(code(s.commit("c", "v", Labels::new())), Code::FailedPrecondition);
    assert_eq!(code(s.mounts(&world.key(0))), Code::FailedPrecondition);
    let info = Info { name: "a".into(), ..Info::default() };
    assert_eq!(code(s.update(info, &["parent".into()])), Code::InvalidArgument);
}

#[test]
fn labels_change_one_by_one_or_all_together() {
    let world = World::new();
    let mut s = world.open();
    s.prepare("a", "", Labels::from([("k".into(), "1".into()), ("l".into(), "1".into())])).unwrap();
    let new = |labels: &[(&str, &str)]| Info {
        name: "a".into(),
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        ..Info::default()
    };
    let one = s.update(new(&[("k", "2"), ("m", "2")]), &["labels.k".into()]).unwrap();
    assert_eq!(one.labels, new(&[("k", "2"), ("l", "1")]).labels);
    let all = s.update(new(&[("m", "3")]), &[]).unwrap();
    assert_eq!(all.labels, new(&[("m", "3")]).labels);
    let store = Info { name: world.key(0), labels: new(&[("m", "3")]).labels, ..Info::default() };
    assert_eq!(s.update(store, &["labels.m".into()]).unwrap().labels["m"], "3");
}

#[test]
fn snapshots_outlive_a_restart_and_left_overs_do_not() {
    let world = World::new();
    let mut s = world.open();
    s.prepare("a", &world.key(1), Labels::new()).unwrap();
    let before = s.list();
    let state = world.dir.path().join("state");
    // as after a crash between making the folder and writing the list, and in the middle of writing the list
    fs::create_dir_all(state.join("7/fs")).unwrap();
    fs::write(state.join("snapshots.json.spare"), b"{\"next\":").unwrap();
    drop(s);
    let s = world.open();
    assert_eq!(s.list(), before);
    assert!(!state.join("7").exists() && state.join("0").exists());
    drop(s);
    fs::write(state.join("snapshots.json"), b"{\"next\":").unwrap();
    assert_eq!(world.open().list().len(), 2, "those of the store");
    assert!(!state.join("0").exists());
}

#[test]
fn a_planted_snapshot_does_not_replace_a_layer_of_the_store() {
    let world = World::new();
    drop(world.open());
    let state = world.dir.path().join("state");
    fs::create_dir_all(state.join("1/fs")).unwrap();
    let record = r#"{"id":1,"parent":"","life":"committed","created":1,"updated":1,"labels":{}}"#;
    let list = format!(r#"{{"next":2,"snapshots":{{"{}":{record},"{}":{record}}}}}"#, world.key(0), world.key(1));
    fs::write(state.join("snapshots.json"), list.replacen(r#""id":1"#, r#""id":0"#, 1)).unwrap();
    let mut s = world.open();
    let view = s.view("v", &world.key(1), Labels::new()).unwrap();
    let layers = world.dir.path().join("layers");
    let [base, top] = [&b"base"[..], b"top"].map(|b| layers.join(Digest::of(b).hex()).display().to_string());
    assert_eq!(view[0].options, ["index=off".to_owned(), format!("lowerdir={top}:{base}")]);
    assert!(!state.join("2").exists(), "a view of layers has no files of its own");
    assert_eq!(s.list().iter().filter(|i| i.name == world.key(0)).count(), 1);
}
