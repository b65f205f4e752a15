use super::*;
use crate::{Layout, NewImage, plan};

fn config(diff_ids: &[Digest]) -> Vec<u8> {
    serde_json::to_vec(&serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": {"Env": ["PATH=/usr/bin"], "Cmd": null},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }))
    .unwrap()
}

fn new(name: &str, role: Role, layers: &[&[u8]]) -> NewImage {
    let diff_ids: Vec<_> = layers.iter().map(|l| Digest::of(&[l, &b".tar"[..]].concat())).collect();
    let service = || serde_json::from_str(r#"{"exec": ["run"]}"#).unwrap();
    NewImage {
        name: name.parse().unwrap(),
        role,
        config: config(&diff_ids),
        layers: layers.iter().map(|l| (Digest::of(l), Bytes(l.len() as u64))).collect(),
        service: (role == Role::Service).then(service),
    }
}

fn three() -> Vec<NewImage> {
    vec![
        new("evek.local/root:0.1.0", Role::Root, &[b"base", b"root"]),
        new("evek.local/time:0.1.0", Role::Service, &[b"base", b"time"]),
        new("evek.local/pause:1", Role::Payload, &[b"pause"]),
    ]
}

fn write(layout: &Layout) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let blobs = dir.path().join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(dir.path().join("oci-layout"), &layout.oci_layout).unwrap();
    fs::write(dir.path().join("index.json"), &layout.index).unwrap();
    for (digest, bytes) in &layout.documents {
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
    }
    dir
}

#[test]
fn what_is_planned_can_be_read() {
    let layout = plan(&three()).unwrap();
    assert_eq!(layout.layers.len(), 4, "the shared layer is there once");
    let dir = write(&layout);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.images().len(), 3);
    assert_eq!(store.root().name.package(), "root");
    let (time, spec) = store.service("time").unwrap();
    assert_eq!(spec.exec, ["run"]);
    assert_eq!(time.document.config.env, ["PATH=/usr/bin"]);
    assert_eq!(time.layers[0].chain_id, store.root().layers[0].chain_id, "a shared layer has one chain id");
    assert_ne!(time.top(), store.root().top());
    let text = store.service("tim").unwrap_err().to_string();
    assert_eq!(text, "no service `tim` in the store; it has: time");
}

#[test]
fn the_order_of_images_does_not_change_the_bytes() {
    let mut turned = three();
    turned.reverse();
    assert_eq!(plan(&turned).unwrap(), plan(&three()).unwrap());
    // another digest means another root hash for every image
    let digest = Digest::of(&plan(&three()).unwrap().index).to_string();
    assert_eq!(digest, "sha256:39dda0c6bb0fa8cd91b5fc91581bee54d6fe8ec0f06ac66236cdb6ce8863d207");
}

#[test]
fn what_the_device_could_not_use_is_refused_at_planning() {
    let with = |change: fn(&mut Vec<NewImage>)| {
        let mut images = three();
        change(&mut images);
        plan(&images).unwrap_err().to_string()
    };
    assert_eq!(
        with(|i| {
            i.remove(0);
        }),
        "a store has exactly one root image, this one has 0"
    );
    assert_eq!(
        with(|i| i[2].name = i[1].name.clone()),
        "two images are named evek.local/time:0.1.0: give each package one image"
    );
    assert_eq!(
        with(|i| i[1].service = None),
        "evek.local/time:0.1.0 has the role `service` but no service specification"
    );
    assert!(with(|i| i[2].layers.clear()).contains("number of rootfs.diff_ids is `1`, expected 0"));
}

#[test]
fn a_damaged_store_is_refused_with_the_place() {
    let layout = plan(&three()).unwrap();
    for digest in layout.documents.keys() {
        let dir = write(&layout);
        let path = dir.path().join("blobs/sha256").join(digest.hex());
        let mut bytes = fs::read(&path).unwrap();
        bytes[5] ^= 1;
        fs::write(&path, bytes).unwrap();
        let text = Store::open(dir.path()).unwrap_err().to_string();
        assert!(text.contains(&digest.hex()) && text.contains("content is"), "{text}");
        fs::remove_file(&path).unwrap();
        assert!(Store::open(dir.path()).unwrap_err().to_string().starts_with("cannot read"));
    }
    let dir = write(&layout);
    let index = String::from_utf8(layout.index.clone()).unwrap();
    fs::write(dir.path().join("index.json"), index.replace("\"payload\"", "\"guest\"")).unwrap();
    let text = Store::open(dir.path()).unwrap_err().to_string();
    assert!(text.contains("org.evek.role is `guest`, expected root, service or payload"), "{text}");
}
