//! Definitions read from folders, good and bad.

use super::*;
use std::fs;

/// The smallest repository that is right.
const GOOD: [(&str, &str); 10] = [
    ("pkg/base/pkg.yml", "name: base\nsummary: Base\ndebs: [libc-bin, bash]\n"),
    ("pkg/time/pkg.yml", "name: time\nsummary: Clock\nbase: base\nservice:\n  exec: [chronyd]\n"),
    ("pkg/ssh/pkg.yml", "name: ssh\nsummary: Doors\nservice:\n  exec: [sshd]\n  after:\n    - time\n"),
    ("rootfs/rootfs.yml", "summary: Root\nbase: base\nlayout: ours\ndebs: [systemd]\nunits: {enable: [a.service]}\n"),
    ("kernel/kernel.yml", "summary: Kernel\narch:\n  amd64: {debs: [linux-image-amd64]}\n"),
    (
        "kernel/lint.yml",
        "summary: Options\nneeds: [{who: init, options: [{name: EROFS_FS, module: erofs, why: the slot}]}]\n",
    ),
    (
        "hv/kvm.yml",
        "summary: KVM\npackages: [time, ssh]\nsysctl: {net.ipv4.ip_forward: 1}\nbudgets: {store: 300MiB, root: 9MiB, uki: 9MiB, esp: 9MiB, base: 9MiB, time: 9MiB, ssh: 1MiB}\n",
    ),
    ("images/live.yml", "summary: Live\nkind: disk\nlayout: ours\ncontent: {EFI System: esp}\nformats: [raw]\n"),
    (
        "layouts/ours.yml",
        "summary: Ours\npartitions:\n\
         - {number: 1, label: EFI System, type: esp, guid: c12a7328-f81f-11d2-ba4b-00a0c93ec93b, size: 1GiB}\n\
         - {number: 9, label: P3, type: persist, guid: 5f24425a-2dfa-11e8-a270-7b663faccc2c, size: 1GiB, grow: true}\n",
    ),
    ("xtask/toolbox.yml", "sets:\n  files: {debs: [erofs-utils], links: {usr/bin/cc: gcc}}\n"),
];

/// Reads `GOOD` with one file replaced or added.
fn read_with(file: &str, text: &str) -> Result<Definitions, Vec<Error>> {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in GOOD.iter().filter(|(name, _)| *name != file).chain([&(file, text)]) {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::create_dir_all(root.path().join("pkg/base/files")).unwrap();
    Definitions::read(root.path())
}

#[test]
fn good_definitions_are_read_with_their_lines() {
    let all = read_with("README", "").unwrap();
    let base = &all.packages["base"];
    assert_eq!(base.files.as_deref().map(String::as_str), Some("files"), "found by itself");
    assert_eq!((base.debs[1].name.as_str(), base.debs[1].at.to_string()), ("bash", "pkg/base/pkg.yml:3:18".to_owned()));
    let layers: Vec<&str> = all.with_bases(&all.packages["time"]).iter().map(|p| p.name.as_str()).collect();
    assert_eq!(layers, ["base", "time"]);
    let kvm = all.flavour(Flavour::Kvm).unwrap();
    assert_eq!(kvm.sysctl["net.ipv4.ip_forward"], "1");
    assert_eq!(*kvm.budgets["store"], types::Bytes::mib(300));
    let missing = all.flavour(Flavour::Xen).unwrap_err();
    assert_eq!(missing.to_string(), "hv/xen.yml: no such file: HV can be kvm");
}

#[test]
fn programs_are_a_name_or_a_name_with_a_place() {
    let text = "name: base\nsummary: Base\nrust: [a, {bin: b, path: /usr/sbin}, {bin: c, package: time}]\n";
    let base = read_with("pkg/base/pkg.yml", text).unwrap().packages.remove("base").unwrap();
    let found: Vec<_> = base.rust.iter().map(|p| (p.bin.as_str(), p.path.as_str(), p.bin.at.line)).collect();
    assert_eq!(found, [("a", "/usr/bin", 3), ("b", "/usr/sbin", 3), ("c", "/usr/bin", 3)]);
    assert_eq!(base.rust[2].package.as_deref().map(String::as_str), Some("time"));
}

#[test]
fn a_line_moved_is_the_same_definition() {
    let moved = format!("# comment\n\n{}", GOOD[0].1);
    let (one, two) = (read_with("README", "").unwrap(), read_with("pkg/base/pkg.yml", &moved).unwrap());
    assert_eq!(one.packages, two.packages);
    let json = |all: &Definitions| serde_json::to_string(&all.packages).unwrap();
    assert_eq!(json(&one), json(&two));
}

#[test]
fn every_error_is_reported() {
    let errors = read_with("hv/kvm.yml", "summary: KVM\npackages: [tim, none, base]\n").unwrap_err();
    assert_eq!(errors.len(), 3);
}

#[test]
fn errors_say_where_what_and_what_is_right() {
    let cases = include_str!("../testdata/errors.txt");
    for case in cases.split("=== ").skip(1) {
        let (file, rest) = case.split_once('\n').unwrap();
        let (text, expected) = rest.split_once("---\n").unwrap();
        let errors = read_with(file, text).unwrap_err();
        let found: Vec<_> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(found.join("\n"), expected.trim_end(), "{file}:\n{text}");
    }
}

#[test]
fn a_privileged_service_may_see_the_whole_device() {
    let text =
        "name: ssh\nsummary: Node\nservice:\n  exec: [sshd]\n  privileged: true\n  mounts: [{source: /persist}]\n";
    read_with("pkg/ssh/pkg.yml", text).unwrap();
    assert_eq!(read_with("pkg/ssh/pkg.yml", &text.replace("true", "false")).unwrap_err().len(), 1);
}

#[test]
fn every_kind_has_a_schema_that_refuses_unknown_fields() {
    for kind in DefKind::ALL {
        let schema = schema(kind);
        assert_eq!(schema["additionalProperties"], false, "{kind:?}");
        assert!(schema["properties"].as_object().is_some_and(|fields| !fields.is_empty()), "{kind:?}");
    }
}

#[test]
fn the_reference_explains_every_field() {
    let text = reference();
    assert!(text.contains("| **`summary`** | text | One line for people. |"), "{text}");
    assert!(text.contains("| `service` | ServiceSpec |"), "{text}");
    for row in text.lines().filter(|l| l.starts_with("| `") || l.starts_with("| **`")) {
        assert!(!row.ends_with("|  |") && !row.contains("| anything"), "{row}");
    }
}

/// The repository's own definitions.
#[test]
fn the_definitions_of_this_repository_are_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if let Err(errors) = Definitions::read(&root) {
        let text: Vec<_> = errors.iter().map(ToString::to_string).collect();
        panic!("{}", text.join("\n\n"));
    }
}

/// Every size that EVE's build had, as `make-raw` of these commits has it: ESP, slots, CONFIG in MiB.
#[test]
fn every_layout_that_eve_installed_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let all = Definitions::read(&root).unwrap();
    let known = [
        ("1.0.0", "", 36, 300, 1),
        ("10.2.0", "719b4d516", 36, 512, 1),
        ("14.3.0", "bfca0fc46", 36, 1024, 1),
        ("16.3.0", "5db29bd10", 2048, 4096, 1),
        ("16.13.0", "dec685f9b", 2048, 4096, 5),
        ("17.0.0", "241bcc1ae", 2048, 10_240, 5),
        ("17.1.0", "a7b5b67ea", 2048, 10_240, 5),
    ];
    let eve: Vec<_> = all.layouts.values().filter(|layout| layout.since.is_some()).collect();
    assert_eq!(eve.len(), known.len());
    for (since, commit, esp, slot, config) in known {
        let layout = eve.iter().find(|l| l.since.map(|v| v.to_string()).as_deref() == Some(since)).unwrap();
        assert!(layout.source.as_ref().unwrap().contains(commit), "{since}");
        let sizes =
            [PartitionType::Esp, PartitionType::Slot, PartitionType::Config].map(|role| layout.size(role).unwrap());
        assert_eq!(sizes, [esp, slot, config].map(types::Bytes::mib), "{since}");
        let only_k = !layout.is_for(Flavour::Kvm) && layout.is_for(Flavour::Kubevirt);
        assert_eq!(only_k, ["14.3.0", "16.3.0"].contains(&since), "{since}");
        let numbers: Vec<u32> = layout.partitions.iter().map(|p| p.number.value).collect();
        let expected: &[u32] = if since == "17.1.0" { &[1, 2, 3, 4, 7, 9] } else { &[1, 2, 3, 4, 9] };
        assert_eq!(numbers, expected, "{since}");
    }
    let ours = &all.layouts[&all.rootfs.layout.value];
    assert!(ours.since.is_none() && ours.size(PartitionType::Slot) == Some(types::Bytes::gib(10)));
}
