use super::*;
use store::{NewImage, Role, Store, plan};
use types::{Bytes, Digest};

/// A store with one root image and the service `s`, whose image has a user and an environment of its own.
fn world(service: &str, check: impl FnOnce(&Image, &ServiceSpec)) {
    let dir = tempfile::tempdir().unwrap();
    let config = |run: &str| {
        let diff = Digest::of(b"tar");
        format!(r#"{{"architecture":"amd64","os":"linux","config":{run},"rootfs":{{"diff_ids":["{diff}"]}}}}"#)
    };
    let new = |name: &str, role, run: &str, service: Option<&str>| NewImage {
        name: name.parse().unwrap(),
        role,
        config: config(run).into_bytes(),
        layers: vec![(Digest::of(b"blob"), Bytes(4))],
        service: service.map(|s| serde_json::from_str(s).unwrap()),
    };
    let run = r#"{"Env":["PATH=/bin","A=image","B=image"],"User":"7:8","WorkingDir":"/w"}"#;
    let images =
        [new("evek.local/root:1", Role::Root, "{}", None), new("evek.local/s:1", Role::Service, run, Some(service))];
    let layout = plan(&images).unwrap();
    let blobs = dir.path().join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(dir.path().join("oci-layout"), layout.oci_layout).unwrap();
    fs::write(dir.path().join("index.json"), layout.index).unwrap();
    for (digest, bytes) in layout.documents {
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
    }
    let store = Store::open(dir.path()).unwrap();
    let (image, spec) = store.service("s").unwrap();
    check(image, spec);
}

const ALL: Bounding = Bounding(!0);

fn host() -> Host<'static> {
    Host { cgroup: "/evek.slice/evek-s.service/container", bounding: &ALL, resolv_conf: Path::new("/r") }
}

fn options<'a>(container: &'a Value, target: &str) -> Vec<&'a str> {
    let mounts = container["mounts"].as_array().unwrap();
    let mount = mounts.iter().find(|m| m["destination"] == target).unwrap();
    mount["options"].as_array().unwrap().iter().map(|o| o.as_str().unwrap()).collect()
}

#[test]
fn a_plain_service_gets_nothing_of_the_host() {
    world(r#"{"exec": ["prog", "-x"]}"#, |image, spec| {
        let c = container("s", image, spec, &host()).unwrap();
        assert_eq!(c["process"]["args"], json!(["prog", "-x"]));
        assert_eq!(c["process"]["user"], json!({"uid": 7, "gid": 8}));
        assert_eq!(c["process"]["cwd"], "/w");
        assert_eq!(c["process"]["capabilities"]["bounding"], json!([]));
        assert_eq!(c["process"]["noNewPrivileges"], true);
        assert_eq!(c["root"]["readonly"], true);
        assert_eq!(c["hostname"], "s");
        let namespaces: Vec<_> = c["linux"]["namespaces"].as_array().unwrap().iter().map(|n| &n["type"]).collect();
        assert_eq!(namespaces, ["mount", "pid", "ipc", "network", "uts", "cgroup"]);
        assert_eq!(c["linux"]["cgroupsPath"], "/evek.slice/evek-s.service/container");
        assert_eq!(c["linux"]["resources"], json!({"devices": [{"allow": false, "access": "rwm"}]}));
        assert!(c["linux"]["maskedPaths"].is_array());
        assert!(options(&c, "/sys").contains(&"ro") && options(&c, "/dev").contains(&"nosuid"));
    });
}

#[test]
fn a_privileged_service_gets_all_of_it() {
    let spec = r#"{"exec": ["k"], "privileged": true, "network": "host", "host_pid": true, "host_ipc": true,
        "writable_root": true, "mounts": [{"source": "/p", "writable": true, "shared": true}, {"source": "/q", "target": "/t"}]}"#;
    world(spec, |image, spec| {
        let c = container("s", image, spec, &host()).unwrap();
        assert_eq!(c["linux"]["namespaces"], json!([{"type": "mount"}]));
        assert_eq!(c["process"]["capabilities"]["effective"].as_array().unwrap().len(), 41);
        assert_eq!(c["process"]["noNewPrivileges"], false);
        assert_eq!(c["root"]["readonly"], false);
        assert_eq!(c["linux"]["rootfsPropagation"], "rshared");
        assert_eq!(c["linux"]["resources"]["devices"], json!([{"allow": true, "access": "rwm"}]));
        assert!(c["linux"].get("maskedPaths").is_none() && c.get("hostname").is_none());
        assert_eq!(options(&c, "/p"), ["rbind", "rshared", "rw"]);
        assert_eq!(options(&c, "/t"), ["rbind", "rslave", "ro"]);
        assert_eq!(options(&c, "/dev"), ["rbind", "rslave", "rw"]);
        assert_eq!(options(&c, "/etc/resolv.conf"), ["bind", "ro"]);
        assert!(options(&c, "/sys").contains(&"rw"));
    });
}

#[test]
fn the_environment_of_the_service_overrides_the_images() {
    world(r#"{"exec": ["p"], "env": {"A": "spec", "C": "spec"}}"#, |image, spec| {
        let p = process("s", image, spec, &["q".to_owned()], &ALL).unwrap();
        assert_eq!(p["env"], json!(["PATH=/bin", "B=image", "HOME=/root", "A=spec", "C=spec"]));
        assert_eq!(p["args"], json!(["q"]));
    });
}

#[test]
fn limits_and_devices_are_the_cgroups() {
    let spec = r#"{"exec": ["p"], "devices": ["/dev/null"], "capabilities": ["CAP_KILL"],
        "limits": {"memory": "64MiB", "pids": 32, "cpu_milli": 1500, "open_files": 99}}"#;
    world(spec, |image, spec| {
        let c = container("s", image, spec, &host()).unwrap();
        let r = &c["linux"]["resources"];
        assert_eq!(r["memory"]["limit"], 64 << 20);
        assert_eq!(r["pids"]["limit"], 32);
        assert_eq!(r["cpu"], json!({"quota": 150_000, "period": 100_000}));
        assert_eq!(r["devices"][1], json!({"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"}));
        assert_eq!(c["linux"]["devices"][0]["path"], "/dev/null");
        assert_eq!(c["process"]["rlimits"], json!([{"type": "RLIMIT_NOFILE", "soft": 99, "hard": 99}]));
        assert_eq!(c["process"]["capabilities"]["permitted"], json!(["CAP_KILL"]));
    });
    world(r#"{"exec": ["p"], "devices": ["/etc/passwd"]}"#, |image, spec| {
        let text = container("s", image, spec, &host()).unwrap_err().to_string();
        assert_eq!(text, "/etc/passwd: it is not a device node");
    });
}

#[test]
fn users_are_numbers() {
    assert_eq!(user("s", "").unwrap(), (0, 0));
    assert_eq!(user("s", "5").unwrap(), (5, 0));
    assert!(user("s", "www-data").unwrap_err().to_string().contains("`www-data`"));
}

#[test]
fn no_capability_is_passed_on_that_is_not_there() {
    let some = Bounding::parse("Name:\tsvc\nCapEff:\tffffffffffffffff\nCapBnd:\t0000010000000021\n").unwrap();
    assert_eq!(some.names(), ["CAP_CHOWN", "CAP_KILL", "CAP_CHECKPOINT_RESTORE"]);
    assert!(Bounding::parse("CapBnd:\tx").is_none() && Bounding::parse("").is_none());
}

#[test]
fn an_optional_mount_that_the_host_does_not_have_is_left_out() {
    let spec = r#"{"exec": ["p"], "mounts": [{"source": "/none/apps", "optional": true}, {"source": "/", "target": "/host",
        "optional": true}, {"source": "/none/needed"}]}"#;
    world(spec, |image, spec| {
        let c = container("s", image, spec, &host()).unwrap();
        let targets: Vec<_> =
            c["mounts"].as_array().unwrap().iter().map(|m| m["destination"].as_str().unwrap()).collect();
        assert!(!targets.contains(&"/none/apps"), "{targets:?}");
        assert!(targets.contains(&"/host") && targets.contains(&"/none/needed"), "{targets:?}");
    });
}
