use super::*;
use crate::{command::Verb, layers::Layers, service::Snapshots, snapshotter::Snapshotter};
use api::message::Labels;
use std::sync::Arc;
use store::{Layer, NewImage, Role, plan};
use types::{Bytes, Digest};

struct Folders(PathBuf);

impl Layers for Folders {
    fn folder(&self, layer: &Layer) -> Result<PathBuf, Error> {
        let folder = self.0.join(layer.blob.hex());
        fs::create_dir_all(&folder).map_err(io_error("create", &folder))?;
        Ok(folder)
    }
}

/// An empty database, as bbolt initialises a file.
fn database() -> Vec<u8> {
    let page = |id: u64, flags: u16, content: &[u8]| {
        let mut page = [&id.to_le_bytes()[..], &flags.to_le_bytes(), &[0; 6], content].concat();
        page.resize(4096, 0);
        page
    };
    let meta = |id: u64| {
        let mut meta = [0xED0C_DAED_u32, 2, 4096, 0].map(u32::to_le_bytes).concat();
        meta.extend([3, 0, 2, 4, id].map(u64::to_le_bytes).concat());
        meta.extend(bolt::fnv(&meta).to_le_bytes());
        page(id, 4, &meta)
    };
    [meta(0), meta(1), page(2, 0x10, b""), page(3, 2, b"")].concat()
}

struct World {
    dir: tempfile::TempDir,
    options: Options,
    index: Index,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let diff = Digest::of(b"tar");
        let config = format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{{"diff_ids":["{diff}"]}}}}"#);
        let layers = vec![(Digest::of(b"blob"), Bytes(4))];
        let name = "evek.local/root:1".parse().unwrap();
        let image = NewImage { name, role: Role::Root, config: config.into_bytes(), layers, service: None };
        let layout = plan(&[image]).unwrap();
        fs::create_dir_all(at("store/blobs/sha256")).unwrap();
        fs::write(at("store/oci-layout"), layout.oci_layout).unwrap();
        fs::write(at("store/index.json"), layout.index).unwrap();
        for (digest, bytes) in layout.documents {
            fs::write(at("store/blobs/sha256").join(digest.hex()), bytes).unwrap();
        }
        let options = Options {
            verb: Verb::Prepare,
            store: at("store"),
            layers: at("layers"),
            state: at("state"),
            socket: at("socket"),
            root: at("root"),
            failures: at("failures"),
            containerd: at("containerd"),
            slot: at("slot"),
            payload: true,
        };
        let index = Index { root: at("root") };
        Self { dir, options, index }
    }

    /// A device on which an image was pulled.
    fn used() -> Self {
        let world = Self::new();
        fs::create_dir_all(world.index.metadata().parent().unwrap()).unwrap();
        fs::write(world.index.metadata(), database()).unwrap();
        fs::create_dir_all(world.blobs()).unwrap();
        fs::write(world.blobs().join("pulled"), b"layer").unwrap();
        let mut snapshots = world.open();
        snapshots.prepare("unpacking", "", Labels::new()).unwrap();
        snapshots.commit("pulled", "unpacking", Labels::new()).unwrap();
        snapshots.prepare("pod", "pulled", Labels::new()).unwrap();
        world
    }

    fn blobs(&self) -> PathBuf {
        self.index.content().join("blobs/sha256")
    }

    fn open(&self) -> Snapshotter<Folders> {
        let store = Store::open(&self.options.store).unwrap();
        Snapshotter::open(&self.options.state, &store, Folders(self.dir.path().join("layers"))).unwrap()
    }

    /// `stored` serves, and `stored prepare` runs, as at a start of the machine.
    async fn start(&self) -> Result<(), Error> {
        let _ = fs::remove_file(&self.options.socket);
        let listener = tokio::net::UnixListener::bind(&self.options.socket).unwrap();
        let service = Arc::new(Snapshots::new(self.open()));
        let serving = tokio::spawn(api::serve(listener, service, std::future::pending::<()>()));
        let prepared = run(&self.options).await;
        serving.abort();
        prepared
    }

    fn pulled(&self) -> bool {
        let snapshot = self.open().stat("pulled").is_ok();
        let content = self.blobs().join("pulled").exists();
        assert_eq!(snapshot, content, "both or none");
        content
    }
}

#[tokio::test(flavor = "current_thread")]
async fn whole_metadata_stays_with_all_that_it_names() {
    let world = World::used();
    world.start().await.unwrap();
    world.start().await.unwrap();
    assert!(world.pulled());
    assert_eq!(fs::read(world.index.metadata()).unwrap(), database());
    assert!(!world.index.root.join("damaged").exists());
}

#[tokio::test(flavor = "current_thread")]
async fn damaged_metadata_is_kept_aside_and_begins_anew() {
    let mut bad_root = database();
    bad_root[3 * 4096] = 9;
    for bytes in [vec![0x5a; 32768], database()[..4096].to_vec(), bad_root, b"x".to_vec()] {
        let world = World::used();
        fs::write(world.index.metadata(), &bytes).unwrap();
        world.start().await.unwrap();
        assert_eq!(fs::metadata(world.index.metadata()).unwrap().len(), 0, "bbolt initialises an empty file");
        assert_eq!(fs::read(world.index.root.join("damaged/meta.db")).unwrap(), bytes);
        assert!(!world.pulled());
        // the next one takes the place of the first
        fs::write(world.index.metadata(), b"again").unwrap();
        world.start().await.unwrap();
        let kept: Vec<_> = fs::read_dir(world.index.root.join("damaged")).unwrap().collect();
        assert_eq!(kept.len(), 1);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn metadata_whose_snapshots_are_lost_begins_anew() {
    let world = World::used();
    world.start().await.unwrap();
    fs::write(world.options.state.join("snapshots.json"), b"{\"next\":").unwrap();
    world.start().await.unwrap();
    assert!(!world.pulled());
    // and only once
    fs::write(world.index.metadata(), database()).unwrap();
    world.start().await.unwrap();
    assert_eq!(fs::read(world.index.metadata()).unwrap(), database());
}

#[tokio::test(flavor = "current_thread")]
async fn content_without_metadata_is_removed() {
    let damages: [fn(&Path) -> io::Result<()>; 2] = [|path| fs::remove_file(path), |path| fs::write(path, b"")];
    for damage in damages {
        let world = World::used();
        damage(&world.index.metadata()).unwrap();
        world.start().await.unwrap();
        assert!(!world.pulled());
    }
}

#[tokio::test(flavor = "current_thread")]
async fn metadata_with_which_containerd_fails_again_and_again_begins_anew() {
    let world = World::used();
    world.start().await.unwrap();
    let failures = Failures::of(&world.options.failures);
    for n in 1..=FAILURES {
        assert!(world.pulled());
        assert_eq!(failures.add().unwrap(), n);
    }
    world.start().await.unwrap();
    assert!(!world.pulled());
    assert!(failures.read().unwrap().is_empty());
}

#[tokio::test(flavor = "current_thread")]
async fn documents_of_the_store_are_the_stores() {
    let world = World::used();
    let image = Store::open(&world.options.store).unwrap().root().clone();
    let [manifest, config] = [&image.manifest, &image.config].map(|d| world.blobs().join(d.digest.hex()));
    fs::write(&config, br#"{"config":{"Entrypoint":["/persist/evil"]}}"#).unwrap();
    world.start().await.unwrap();
    assert_eq!(Digest::of(&fs::read(&config).unwrap()), image.config.digest);
    assert!(!manifest.exists(), "what is not there is registered later");
}

#[test]
fn the_units_processes_are_those_beside_its_control_group() {
    assert_eq!(unit("0::/system.slice/containerd.service/.control\n"), Some("/system.slice/containerd.service"));
    assert_eq!(unit("0::/system.slice/containerd.service\n"), Some("/system.slice/containerd.service"));
    assert_eq!(unit("0::/user.slice/session-1.scope\n"), None);
}

#[test]
fn failures_of_long_ago_do_not_matter() {
    assert_eq!(recent([1.0, 500.0, 900.0, 2000.0].into_iter(), 1000.0), [500.0, 900.0]);
}

#[test]
fn ends_that_damaged_metadata_can_cause_are_failures() {
    for (result, code, status, expected) in [
        ("success", "exited", "0", false),
        ("success", "killed", "TERM", false),
        ("exit-code", "exited", "1", true),
        ("exit-code", "exited", "2", true),
        ("signal", "killed", "KILL", false),
        ("oom-kill", "killed", "KILL", false),
        ("signal", "killed", "BUS", true),
        ("core-dump", "dumped", "ABRT", true),
        ("timeout", "killed", "TERM", true),
        ("exit-code", "", "", false),
        ("", "", "", false),
    ] {
        assert_eq!(abnormal(result, code, status), expected, "{result} {code} {status}");
    }
}
