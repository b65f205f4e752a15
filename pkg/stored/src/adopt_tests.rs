use super::*;
use api::{
    Reply, Service, decode,
    message::{
        Empty, Mount, StatSnapshotRequest,
        snapshot::{ListSnapshotsResponse, MountsResponse, SERVICE},
    },
};
use std::sync::{Arc, Mutex};
use store::{NewImage, Role, plan};
use types::{Bytes, Digest};

/// containerd's metadata of snapshots: chain ids, what is behind them, and a store that has every layer.
#[derive(Default)]
struct Fake {
    /// Name → parent, folder.
    snapshots: BTreeMap<String, (String, String)>,
    store: BTreeMap<String, String>,
    removed: Vec<String>,
    stubborn: bool,
}

struct Containers(Arc<Mutex<Fake>>);

impl Fake {
    fn folders(&self, key: &str) -> Vec<String> {
        let mut folders = Vec::new();
        let mut at = key.to_owned();
        while let Some((parent, folder)) = self.snapshots.get(&at) {
            folders.push(folder.clone());
            at.clone_from(parent);
        }
        folders
    }

    fn prepare(&mut self, r: PrepareSnapshotRequest) -> Result<Reply, Status> {
        let target = &r.labels[REF];
        if !self.snapshots.contains_key(target) {
            // the snapshotter has the layer where its parent is the store's
            let below_is_the_stores = r.parent.is_empty() || self.snapshots[&r.parent].1.starts_with("/layers/");
            if !below_is_the_stores {
                self.snapshots.insert(r.key, (r.parent, "/pulled/new".into()));
                return Ok(Reply::one(&MountsResponse { mounts: Vec::new() }));
            }
            let folder = self.store[target].clone();
            self.snapshots.insert(target.clone(), (r.parent, folder));
        }
        Err(Status::new(Code::AlreadyExists, "there"))
    }

    fn view(&self, parent: &str) -> Reply {
        let folders = self.folders(parent);
        let mount = |kind: &str, source: &str, options: Vec<String>| Mount {
            r#type: kind.into(),
            source: source.into(),
            target: String::new(),
            options,
        };
        let mounts = match folders.as_slice() {
            [only] => mount("bind", only, vec!["ro".into(), "rbind".into()]),
            many => mount("overlay", "overlay", vec!["index=off".into(), format!("lowerdir={}", many.join(":"))]),
        };
        Reply::one(&MountsResponse { mounts: vec![mounts] })
    }
}

impl Service for Containers {
    fn call(&self, method: &str, request: bytes::Bytes) -> Result<Reply, Status> {
        let mut fake = self.0.lock().unwrap();
        match method.strip_prefix(SERVICE).unwrap() {
            "Prepare" => fake.prepare(decode(&request)?),
            "View" => {
                let r: PrepareSnapshotRequest = decode(&request)?;
                Ok(fake.view(&r.parent))
            }
            "List" => {
                let info = |(name, (parent, _)): (&String, &(String, String))| Info {
                    name: name.clone(),
                    parent: parent.clone(),
                    ..Info::default()
                };
                Ok(Reply::stream(&[ListSnapshotsResponse { info: fake.snapshots.iter().map(info).collect() }]))
            }
            "Remove" => {
                let key = decode::<StatSnapshotRequest>(&request)?.key;
                if fake.snapshots.values().any(|(parent, _)| *parent == key) {
                    return Err(Status::new(Code::FailedPrecondition, "has children"));
                }
                if fake.stubborn && !key.starts_with("stored-register") {
                    return Err(Status::new(Code::Internal, "no"));
                }
                let there = fake.snapshots.remove(&key).is_some();
                fake.removed.push(key);
                if there { Ok(Reply::one(&Empty {})) } else { Err(Status::new(Code::NotFound, "gone")) }
            }
            other => panic!("{other}"),
        }
    }
}

struct World {
    dir: tempfile::TempDir,
    store: Store,
    fake: Arc<Mutex<Fake>>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let blobs = [&b"base"[..], b"top"].map(Digest::of);
        let diff_ids = [&b"base.tar"[..], b"top.tar"].map(Digest::of);
        let config = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}","{}"]}}}}"#,
            diff_ids[0], diff_ids[1]
        );
        let name = "evek.local/root:1".parse().unwrap();
        let layers = blobs.iter().map(|b| (*b, Bytes(4))).collect();
        let image = NewImage { name, role: Role::Root, config: config.into_bytes(), layers, service: None };
        let layout = plan(&[image]).unwrap();
        let folder = dir.path().join("blobs/sha256");
        fs::create_dir_all(&folder).unwrap();
        fs::write(dir.path().join("oci-layout"), layout.oci_layout).unwrap();
        fs::write(dir.path().join("index.json"), layout.index).unwrap();
        for (digest, bytes) in layout.documents {
            fs::write(folder.join(digest.hex()), bytes).unwrap();
        }
        let store = Store::open(dir.path()).unwrap();
        let image = store.root();
        let line = |l: &Layer| {
            let (hex, blob) = (l.blob.hex(), store.blob(&l.blob));
            format!("40 25 0:40 / /layers/{hex} ro,nodev - erofs {} ro\n", blob.display())
        };
        fs::write(dir.path().join("mountinfo"), image.layers.iter().map(line).collect::<String>()).unwrap();
        let known = image.layers.iter().map(|l| (l.chain_id.to_string(), format!("/layers/{}", l.blob.hex())));
        let fake = Arc::new(Mutex::new(Fake { store: known.collect(), ..Fake::default() }));
        Self { dir, store, fake }
    }

    fn chain(&self, n: usize) -> String {
        self.store.root().layers[n].chain_id.to_string()
    }

    fn plant(&self, key: &str, parent: &str, folder: &str) {
        self.fake.lock().unwrap().snapshots.insert(key.into(), (parent.into(), folder.into()));
    }

    async fn adopt(&self) -> Result<(), Error> {
        let path = self.dir.path().join("socket");
        let _ = fs::remove_file(&path);
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let service = Arc::new(Containers(Arc::clone(&self.fake)));
        let serving = tokio::spawn(api::serve(listener, service, std::future::pending::<()>()));
        let containerd = Containerd::connect(&path, "k8s.io").await.unwrap();
        let mountinfo = self.dir.path().join("mountinfo");
        let adopter = Adopter { store: &self.store, layers: Path::new("/layers"), mountinfo };
        let adopted = adopter.adopt(&containerd, self.store.root()).await;
        serving.abort();
        adopted
    }

    fn roots(&self) -> Vec<String> {
        self.fake.lock().unwrap().folders(&self.chain(1))
    }

    fn expected(&self) -> Vec<String> {
        self.store.root().layers.iter().rev().map(|l| format!("/layers/{}", l.blob.hex())).collect()
    }
}

#[tokio::test(flavor = "current_thread")]
async fn layers_of_the_store_are_adopted_and_nothing_is_left_of_the_proof() {
    let world = World::new();
    world.adopt().await.unwrap();
    world.adopt().await.unwrap();
    assert_eq!(world.roots(), world.expected());
    assert_eq!(world.fake.lock().unwrap().snapshots.len(), 2);
}

#[tokio::test(flavor = "current_thread")]
async fn a_layer_that_was_pulled_before_gives_way_to_the_stores() {
    for foreign in [0, 1] {
        let world = World::new();
        world.adopt().await.unwrap();
        let parent = if foreign == 0 { String::new() } else { world.chain(0) };
        world.plant(&world.chain(foreign), &parent, "/persist/stored/7/fs");
        // what a pod has on top, and an image of its own
        world.plant("pod", &world.chain(1), "/persist/stored/8/fs");
        world.plant("other", "", "/persist/stored/9/fs");
        world.adopt().await.unwrap();
        assert_eq!(world.roots(), world.expected(), "layer {foreign}");
        let fake = world.fake.lock().unwrap();
        assert!(!fake.snapshots.contains_key("pod") && fake.snapshots.contains_key("other"));
        assert!(!fake.removed.contains(&"other".to_owned()));
    }
}

#[tokio::test(flavor = "current_thread")]
async fn an_upper_layer_on_a_foreign_one_is_not_accepted() {
    let world = World::new();
    world.plant(&world.chain(0), "", "/persist/stored/7/fs");
    world.adopt().await.unwrap();
    assert_eq!(world.roots(), world.expected());
}

#[tokio::test(flavor = "current_thread")]
async fn a_foreign_layer_that_stays_is_refused() {
    let world = World::new();
    world.plant(&world.chain(0), "", "/persist/stored/7/fs");
    world.plant(&world.chain(1), &world.chain(0), "/persist/stored/8/fs");
    world.fake.lock().unwrap().stubborn = true;
    let text = world.adopt().await.unwrap_err().to_string();
    assert!(
        text.starts_with("evek.local/root:1: its root consists of /persist/stored/8/fs:/persist/stored/7/fs"),
        "{text}"
    );
    assert!(text.contains("cannot be removed") && text.contains("ctr images rm"), "{text}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_layer_that_is_not_mounted_from_the_store_is_refused() {
    let world = World::new();
    fs::write(world.dir.path().join("mountinfo"), "").unwrap();
    let text = world.adopt().await.unwrap_err().to_string();
    assert!(text.contains("shows nothing, expected the read-only EROFS image"), "{text}");
}

#[test]
fn children_come_before_their_parents() {
    let info = |name: &str, parent: &str| Info { name: name.into(), parent: parent.into(), ..Info::default() };
    let listed = [info("a", ""), info("b", "a"), info("c", "b"), info("x", ""), info("y", "lost"), info("z", "y")];
    assert_eq!(children_first(&listed, Some("b")), ["c", "b"]);
    assert_eq!(children_first(&listed, Some("lost")), ["z", "y", "lost"]);
    let all = children_first(&listed, None);
    assert_eq!(all.len(), 6);
    let at = |key: &str| all.iter().position(|k| k == key).unwrap();
    assert!(at("c") < at("b") && at("b") < at("a") && at("z") < at("y"));
    let circle = [info("a", "b"), info("b", "a")];
    assert_eq!(children_first(&circle, None).len(), 2);
}
