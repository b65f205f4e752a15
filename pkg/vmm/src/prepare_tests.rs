//! Declarations made ready on a device of temporary folders.

use super::*;
use crate::hypervisor::{NatNetwork, Starting};
use std::net::Ipv4Addr;
use store::{NewImage, Role};
use types::Bytes;

struct NoHypervisor;
impl Hypervisor for NoHypervisor {
    fn name(&self) -> &'static str {
        "none"
    }
    fn console(&self) -> &'static str {
        "hvc0"
    }
    fn uefi(&self) -> Option<&'static str> {
        None
    }
    fn nat(&self, _: &Card) -> NatNetwork {
        let host = |n| Ipv4Addr::new(10, 0, 2, n);
        NatNetwork { address: host(15), prefix: 24, gateway: host(2), dns: host(3) }
    }
    fn start<'a>(&'a self, _: &'a Guest) -> Starting<'a> {
        unreachable!("nothing is started here")
    }
}

/// A store with a service `time` of one layer.
fn device() -> (tempfile::TempDir, Places) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut layer = vec![0; 4096];
    layer[1024..1028].copy_from_slice(&0xe0f5_e1e2_u32.to_le_bytes());
    layer[1024 + 48..1024 + 64].fill(9);
    let config = |config: &str| {
        let diff = Digest::of(b"tar");
        format!(
            r#"{{"architecture": "amd64", "os": "linux", "config": {config}, "rootfs": {{"type": "layers", "diff_ids": ["{diff}"]}}}}"#
        )
    };
    let image = |name: &str, role, text: &str, service: Option<&str>| NewImage {
        name: name.parse().unwrap(),
        role,
        config: config(text).into_bytes(),
        layers: vec![(Digest::of(&layer), Bytes(4096))],
        service: service.map(|json| serde_json::from_str(json).unwrap()),
    };
    let layout = store::plan(&[
        image("evek.local/root:1", Role::Root, "{}", None),
        image(
            "evek.local/time:1",
            Role::Service,
            r#"{"Env": ["A=1", "B=2"], "User": "_chrony"}"#,
            Some(r#"{"exec": ["chronyd", "-d"]}"#),
        ),
    ])
    .unwrap();
    let blobs = at("store/blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(at("store/oci-layout"), &layout.oci_layout).unwrap();
    fs::write(at("store/index.json"), &layout.index).unwrap();
    for (digest, bytes) in &layout.documents {
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
    }
    fs::write(blobs.join(Digest::of(&layer).hex()), &layer).unwrap();
    let places = Places {
        declared: [at("config"), at("p3")],
        store: at("store"),
        state: at("state"),
        run: at("run"),
        guest: "/usr/share/guest".into(),
    };
    (dir, places)
}

fn app(text: &str) -> App {
    App::parse(&app::Source { file: "web.yml".into(), text: format!("name: web\nmemory: 64MiB\n{text}") }).unwrap()
}

fn ready(places: &Places, text: &str) -> Result<Guest, Error> {
    prepare(&app(text), places, &NoHypervisor)
}

#[test]
fn a_container_runs_from_the_blobs_of_the_store() {
    let (_dir, places) = device();
    let text = "container: {image: evek.local/time, env: {B: two}}\nnetworks: [{nat: {}}]\n";
    let guest = ready(&places, text).unwrap();
    let [spec, layer] = guest.disks.as_slice() else { panic!("{:?}", guest.disks) };
    assert!(layer.read_only && layer.file.starts_with(&places.store), "{layer:?}");
    assert_eq!((spec.file.clone(), spec.read_only), (spec_disk(&places, "web"), false));
    let Boot::Linux { kernel, cmdline, .. } = &guest.boot else { panic!("{:?}", guest.boot) };
    assert_eq!(kernel, Path::new("/usr/share/guest/vmlinuz"));
    assert!(cmdline.starts_with("console=hvc0 "), "{cmdline}");
    let spec = Spec::from_disk(&fs::read(&spec.file).unwrap()).unwrap();
    assert_eq!(spec.layers, [Uuid([9; 16])]);
    assert_eq!(spec.process.args, ["chronyd", "-d"], "what the service's specification runs");
    assert_eq!(spec.process.env[..2], ["A=1", "B=two"]);
    assert!(spec.process.env[2].starts_with("PATH="));
    assert_eq!((spec.process.user.as_str(), spec.process.cwd.as_str()), ("_chrony", "/"));
    let network = &spec.networks[0];
    assert_eq!((network.address, network.gateway), (Ipv4Addr::new(10, 0, 2, 15), Some(Ipv4Addr::new(10, 0, 2, 2))));
    assert_eq!(network.mac, guest.cards[0].mac);
    assert!(network.mac.starts_with("52:54:00:") && network.mac.len() == 17, "{}", network.mac);
}

#[test]
fn what_the_declaration_says_of_the_process_counts() {
    let (_dir, places) = device();
    let text = "container: {image: 'evek.local/time:1', command: [/bin/sh], user: '7', workdir: /tmp}\n";
    ready(&places, text).unwrap();
    let spec = Spec::from_disk(&fs::read(spec_disk(&places, "web")).unwrap()).unwrap();
    assert_eq!(
        (spec.process.args, spec.process.user, spec.process.cwd),
        (vec!["/bin/sh".into()], "7".into(), "/tmp".into())
    );
}

#[test]
fn an_image_that_is_not_there_or_runs_nothing_is_an_error_with_the_choices() {
    let (_dir, places) = device();
    let error = ready(&places, "container: {image: evek.local/tim}\n").unwrap_err().to_string();
    assert_eq!(error, "there is no image `evek.local/tim` in the store; there is evek.local/root:1, evek.local/time:1");
    let error = ready(&places, "container: {image: evek.local/root}\n").unwrap_err().to_string();
    assert!(error.contains("evek.local/root:1 names no program"), "{error}");
}

#[test]
fn a_missing_disk_is_made_only_where_its_size_is_given() {
    let (dir, places) = device();
    // the rule that disks are on P3 is the declaration's; here P3 is a temporary folder
    let disk = |size| app::Disk {
        file: Located::new(dir.path().join("disks/a.raw").display().to_string(), app::Place::file("")),
        format: DiskFormat::Raw,
        size,
        read_only: false,
    };
    let error = super::disk(&disk(None)).unwrap_err().to_string();
    assert!(error.contains("disks/a.raw: copy it there, or give its `size`"), "{error}");
    let made = super::disk(&disk(Some(Located::new(Bytes::mib(1), app::Place::file(""))))).unwrap();
    assert_eq!(fs::metadata(&made.file).unwrap().len(), 1 << 20);
    fs::write(&made.file, "kept").unwrap();
    super::disk(&disk(Some(Located::new(Bytes::mib(1), app::Place::file(""))))).unwrap();
    assert_eq!(fs::read(&made.file).unwrap(), b"kept", "what is there is never made anew");
    assert!(!places.state.join("web/tpm").exists());
}

#[test]
fn a_kernel_of_ones_own_needs_no_firmware() {
    let (_dir, places) = device();
    let text = "machine: {tpm: true, firmware: {linux: {kernel: /persist/k, cmdline: quiet}}}\n";
    let guest = ready(&places, text).unwrap();
    let kernel = Boot::Linux { kernel: "/persist/k".into(), initrd: None, cmdline: "quiet".into() };
    assert_eq!((guest.boot, guest.tpm), (kernel, Some(places.state.join("web/tpm"))));
}
