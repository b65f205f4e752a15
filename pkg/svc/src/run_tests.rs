use super::*;
use api::{
    Bytes, Reply, Service, decode,
    message::{snapshot::MountsResponse, task},
};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};
use store::{NewImage, Role, plan};
use types::Digest;

#[test]
fn the_container_is_in_the_units_cgroup() {
    assert_eq!(cgroup("0::/evek.slice/evek-a.service/svc\n", "a"), "/evek.slice/evek-a.service/container");
    assert_eq!(cgroup("0::/user.slice/session-1.scope\n", "a"), "/evek/a");
    assert_eq!(cgroup("12:pids:/\n", "a"), "/evek/a");
}

/// A containerd that answers these mounts as the container's root.
struct Fake {
    root: Mount,
    calls: Mutex<Vec<String>>,
}

impl Service for Fake {
    fn call(&self, method: &str, request: Bytes) -> Result<Reply, Status> {
        let name = method.rsplit('.').next().unwrap().to_owned();
        self.calls.lock().unwrap().push(name.clone());
        match name.as_str() {
            "Containers/Create" => Ok(Reply::one(&decode::<task::ContainerMessage>(&request)?)),
            "Snapshots/Prepare" => Ok(Reply::one(&MountsResponse { mounts: vec![self.root.clone()] })),
            _ => Err(Status::new(Code::Unimplemented, name)),
        }
    }
}

fn store(dir: &Path) -> Store {
    let diff = Digest::of(b"tar");
    let config = format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{{"diff_ids":["{diff}"]}}}}"#);
    let new = |name: &str, role, service: Option<&str>| NewImage {
        name: name.parse().unwrap(),
        role,
        config: config.clone().into_bytes(),
        layers: vec![(Digest::of(b"blob"), types::Bytes(4))],
        service: service.map(|s| serde_json::from_str(s).unwrap()),
    };
    let images = [
        new("evek.local/root:1", Role::Root, None),
        new("evek.local/s:1", Role::Service, Some(r#"{"exec": ["prog"]}"#)),
    ];
    let layout = plan(&images).unwrap();
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(dir.join("oci-layout"), layout.oci_layout).unwrap();
    fs::write(dir.join("index.json"), layout.index).unwrap();
    for (digest, bytes) in layout.documents {
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
    }
    Store::open(dir).unwrap()
}

/// The error of a start with that root, and what containerd was asked for.
async fn refused(lower: impl Fn(&Options, &Image) -> PathBuf) -> (Error, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let (_, mut options) = crate::command::parse(["status".to_owned()].into_iter()).unwrap();
    let store = store(&dir.path().join("store"));
    options.run = dir.path().join("run");
    let (image, service) = store.service("s").unwrap();
    let root = Mount {
        r#type: "overlay".into(),
        source: "overlay".into(),
        target: String::new(),
        options: vec![
            "index=off".into(),
            "workdir=/run/evek/snapshots/0/work".into(),
            "upperdir=/run/evek/snapshots/0/fs".into(),
            format!("lowerdir={}", lower(&options, image).display()),
        ],
    };
    let fake = Arc::new(Fake { root, calls: Mutex::default() });
    let socket = dir.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let serving = tokio::spawn(api::serve(listener, Arc::clone(&fake), std::future::pending::<()>()));
    let containerd = Containerd::connect(&socket, NAMESPACE).await.unwrap();
    let pipes = Pipes::open(options.run.join("s")).unwrap();
    let error = start(&containerd, &store, image, service, &pipes, &options).await.unwrap_err();
    serving.abort();
    (error, fake.calls.lock().unwrap().clone())
}

#[tokio::test(flavor = "current_thread")]
async fn a_service_is_not_started_from_a_foreign_layer() {
    let (error, calls) = refused(|_, _| "/persist/stored/7/fs".into()).await;
    assert_eq!(calls, ["Containers/Create", "Snapshots/Prepare"], "no process is made");
    let text = error.to_string();
    assert!(
        text.starts_with("s: its root consists of /persist/stored/7/fs, but the image's layers in the store are"),
        "{text}"
    );
    assert!(text.contains("systemctl restart stored-register"), "{text}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_service_is_not_started_where_the_store_does_not_show_its_layer() {
    // the right folder, and nothing is mounted there
    let (error, calls) = refused(|options, image| options.layers.join(image.layers[0].blob.hex())).await;
    assert_eq!(calls.len(), 2);
    assert!(error.to_string().contains("shows nothing, expected the read-only EROFS image"), "{error}");
}
