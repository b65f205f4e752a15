//! Declarations made ready on a device of temporary folders.

use super::*;
use crate::hypervisor::{NatNetwork, Starting};
use guest::Uuid;
use std::net::Ipv4Addr;
use store::{NewImage, Role};
use types::{Bytes, Digest};

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
fn device() -> (tempfile::TempDir, Paths) {
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
    let paths = Paths {
        declared: [at("config"), at("p3")],
        images: at("images"),
        store: at("store"),
        state: at("state"),
        run: at("run"),
        guest: "/usr/share/guest".into(),
        machine_id: at("machine-id"),
    };
    fs::create_dir(&paths.images).unwrap();
    fs::write(&paths.machine_id, "0123456789abcdef0123456789abcdef\n").unwrap();
    (dir, paths)
}

fn app(text: &str) -> App {
    App::parse(&app::Source { file: "web.yml".into(), text: format!("name: web\nmemory: 64MiB\n{text}") }).unwrap()
}

fn ready(paths: &Paths, text: &str) -> Result<Guest, Error> {
    prepare(&app(text), paths, &NoHypervisor)
}

#[test]
fn a_container_runs_from_the_blobs_of_the_store() {
    let (_dir, paths) = device();
    let text = "container: {image: evek.local/time, env: {B: two}}\nnetworks: [{nat: {}}]\n";
    let guest = ready(&paths, text).unwrap();
    let [spec, layer] = guest.disks.as_slice() else { panic!("{:?}", guest.disks) };
    assert!(layer.read_only && layer.file.starts_with(&paths.store), "{layer:?}");
    assert_eq!((spec.file.clone(), spec.read_only), (spec_disk(&paths, "web"), false));
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
fn the_declaration_wins_over_the_images_process() {
    let (_dir, paths) = device();
    let text = "container: {image: 'evek.local/time:1', command: [/bin/sh], user: '7', workdir: /tmp}\n";
    ready(&paths, text).unwrap();
    let spec = Spec::from_disk(&fs::read(spec_disk(&paths, "web")).unwrap()).unwrap();
    assert_eq!(
        (spec.process.args, spec.process.user, spec.process.cwd),
        (vec!["/bin/sh".into()], "7".into(), "/tmp".into())
    );
}

#[test]
fn an_image_that_is_not_there_or_runs_nothing_is_an_error_with_the_choices() {
    let (_dir, paths) = device();
    let error = ready(&paths, "container: {image: evek.local/tim}\n").unwrap_err().to_string();
    assert_eq!(error, "there is no image `evek.local/tim` in the store; there is evek.local/root:1, evek.local/time:1");
    let error = ready(&paths, "container: {image: evek.local/root}\n").unwrap_err().to_string();
    assert!(error.contains("evek.local/root:1 names no program"), "{error}");
}

#[test]
fn a_kernel_of_ones_own_needs_no_firmware() {
    let (_dir, paths) = device();
    let text = "machine: {tpm: true, firmware: {linux: {kernel: /persist/images/k, cmdline: quiet}}}\n";
    let missing = ready(&paths, text).unwrap_err().to_string();
    assert_eq!(missing, "web.yml:3:49: /persist/images/k: there is no such file: copy it there");
    let file = paths.images.join("k");
    fs::write(&file, "kernel").unwrap();
    let guest = ready(&paths, text).unwrap();
    let kernel = Boot::Linux { kernel: file, initrd: None, cmdline: "quiet".into() };
    assert_eq!((guest.boot, guest.tpm), (kernel, Some(paths.state.join("web/tpm"))));
}

#[test]
fn a_kernel_or_initramfs_that_is_a_link_out_of_its_folder_is_refused() {
    let (dir, paths) = device();
    fs::write(dir.path().join("key"), "secret").unwrap();
    fs::write(paths.images.join("k"), "kernel").unwrap();
    std::os::unix::fs::symlink("../key", paths.images.join("link")).unwrap();
    for files in ["kernel: /persist/images/link", "kernel: /persist/images/k, initrd: /persist/images/link"] {
        let text = format!("machine: {{firmware: {{linux: {{{files}}}}}}}\n");
        let error = ready(&paths, &text).unwrap_err().to_string();
        assert!(error.starts_with("web.yml:3:"), "{error}");
        assert!(error.ends_with("/persist/images/link: it is a link that leaves this folder"), "{error}");
    }
}

#[test]
fn a_volume_grows_is_never_made_smaller_and_keeps_its_data() {
    let (_dir, paths) = device();
    let with = |size: &str| {
        let volume = format!("{{name: notes, target: /notes, owner: 'web:web', size: {size}}}");
        ready(&paths, &format!("container:\n  image: evek.local/time\n  volumes:\n  - {volume}\n"))
    };
    let file = paths.state.join("web/notes.ext4");
    let guest = with("8MiB").unwrap();
    assert_eq!(guest.disks.last().unwrap().file, file);
    let spec = Spec::from_disk(&fs::read(spec_disk(&paths, "web")).unwrap()).unwrap();
    assert_eq!(spec.volumes[0].owner.as_deref(), Some("web:web"));
    let before = fs::read(&file).unwrap();
    assert_eq!(before.len(), 8 << 20);
    with("16MiB").unwrap();
    let after = fs::read(&file).unwrap();
    assert_eq!((after.len(), &after[..before.len()] == before.as_slice()), (16 << 20, true));
    let error = with("12MiB").unwrap_err().to_string();
    let expected =
        "the volume notes has 16MiB and is declared with 12MiB; vmm makes no volume smaller: write `size: 16MiB`";
    assert!(error.starts_with("web.yml:6:") && error.contains(expected), "{error}");
    assert_eq!(fs::metadata(&file).unwrap().len(), 16 << 20);
    with("16MiB").unwrap();
}

#[test]
fn a_file_that_is_no_volume_is_not_made_one() {
    let (_dir, paths) = device();
    fs::create_dir_all(paths.state.join("web")).unwrap();
    fs::write(paths.state.join("web/notes.ext4"), "something else").unwrap();
    let volume = "{name: notes, target: /notes, size: 8MiB}";
    let text = format!("container:\n  image: evek.local/time\n  volumes:\n  - {volume}\n");
    assert!(ready(&paths, &text).unwrap_err().to_string().contains("it is no ext4"));
}

#[test]
fn guests_of_two_devices_with_one_declaration_differ() {
    let text =
        "container:\n  image: evek.local/time\n  volumes: [{name: n, target: /n, size: 8MiB}]\nnetworks: [{nat: {}}]\n";
    let [one, other] = ["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"].map(|id| {
        let (_dir, paths) = device();
        fs::write(&paths.machine_id, id).unwrap();
        let guest = ready(&paths, text).unwrap();
        let spec = Spec::from_disk(&fs::read(spec_disk(&paths, "web")).unwrap()).unwrap();
        (guest.uuid, guest.cards[0].mac.clone(), spec.volumes[0].uuid, guest.uid)
    });
    assert!(one.0 != other.0 && one.1 != other.1 && one.2 != other.2 && one.3 != other.3, "{one:?} {other:?}");
}
