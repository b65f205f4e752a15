#![allow(clippy::unwrap_used)]

use super::*;
use crate::{Root, Vendor, VendorKind, WantedVendor};
use std::path::Path;
use types::Digest;

fn index(suite: &str, packages: &[(&str, &str, &str)]) -> Index {
    let stanza = |(name, version, depends): &(&str, &str, &str)| {
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nDepends: {depends}\n\
             Filename: pool/main/{name}_{version}_amd64.deb\nSize: 7\nSHA256: {}\n\n",
            Digest::of(format!("{name}{version}").as_bytes()).hex()
        )
    };
    Index { suite: suite.to_owned(), arch: Arch::Amd64, text: packages.iter().map(stanza).collect() }
}

fn set(name: &str, base: Option<&str>, roots: &[&str]) -> WantedSet {
    let roots = roots.iter().zip(3..);
    WantedSet {
        name: name.to_owned(),
        arch: Arch::Amd64,
        base: base.map(str::to_owned),
        roots: roots.map(|(r, line)| Root { name: (*r).to_owned(), file: "rootfs/debian.yml".into(), line }).collect(),
        backports: vec![],
        without: vec![],
    }
}

fn wanted() -> Wanted {
    let sets = vec![set("base", None, &["systemd"]), set("kube", Some("base"), &["iptables", "systemd"])];
    Wanted { sets, vendors: vec![] }
}

fn archive() -> Vec<Index> {
    let packages =
        [("systemd", "257", "libc6"), ("libc6", "2.41", ""), ("iptables", "1.8", "libc6, libnft"), ("libnft", "1", "")];
    vec![index("trixie", &packages)]
}

fn updated() -> Lock {
    let mut lock = Lock::default();
    update(&mut lock, &wanted(), None, &archive()).unwrap();
    lock
}

#[test]
fn a_set_on_a_base_holds_only_what_the_base_lacks() {
    let lock = updated();
    let members = |name| -> Vec<String> {
        lock.set(name, Arch::Amd64).unwrap().packages.iter().map(ToString::to_string).collect()
    };
    assert_eq!(members("base"), ["libc6:amd64=2.41 < systemd:amd64", "systemd:amd64=257"]);
    assert_eq!(members("kube"), ["iptables:amd64=1.8", "libnft:amd64=1 < iptables:amd64"]);
    assert_eq!(lock.why(lock.set("kube", Arch::Amd64).unwrap(), "libnft"), ["iptables:amd64", "libnft:amd64"]);
    let files: Vec<&str> = lock.debs_of(lock.set("kube", Arch::Amd64).unwrap()).map(|d| d.file.as_str()).collect();
    assert_eq!(files, ["pool/main/iptables_1.8_amd64.deb", "pool/main/libnft_1_amd64.deb"]);
}

#[test]
fn what_is_written_is_what_is_read() {
    let mut lock = updated();
    let digest = Digest::of(b"tar");
    let vendor =
        Vendor { name: "cargo/pkg".into(), kind: VendorKind::Cargo, manifest: digest, sha256: digest, size: Bytes(9) };
    lock.set_vendor(vendor);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(crate::FILE_NAME);
    lock.write(&path).unwrap();
    assert_eq!(Lock::read(&path).unwrap(), lock);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, Lock::read(&path).unwrap().to_text());
    // The form of the file is part of the contract with those who read its diffs.
    let start = r#"# Every input of every build, by digest. Written by `cargo xtask lock update`; not meant to be edited.
format = 1

[[set]]
name = "base"
arch = "amd64"
roots = ["systemd"]
packages = [
    "libc6:amd64=2.41 < systemd:amd64",
    "systemd:amd64=257",
]

[[set]]
name = "kube"
arch = "amd64"
base = "base"
roots = [
    "iptables",
    "systemd",
]
"#;
    assert!(text.starts_with(start), "{text}");
    let deb = format!(
        "[[deb]]\nname = \"iptables\"\nversion = \"1.8\"\narch = \"amd64\"\nsuite = \"trixie\"\n\
         file = \"pool/main/iptables_1.8_amd64.deb\"\nsize = 7\nsha256 = \"{}\"\n",
        Digest::of(b"iptables1.8").hex()
    );
    assert!(text.contains(&deb), "{text}");
}

#[test]
fn a_malformed_lock_says_where() {
    let text = "format = 1\n[[deb]]\nname = \"x\"\nsize = \"many\"\n";
    let error = Lock::parse(Path::new("evek.lock"), text).unwrap_err().to_string();
    assert!(error.starts_with("evek.lock: ") && error.contains("line 4"), "{error}");
    let error = Lock::parse(Path::new("evek.lock"), "format = 2\n").unwrap_err().to_string();
    assert_eq!(error, "evek.lock has format 2; this program reads format 1");
    let dangling = "format = 1\n[[set]]\nname = \"s\"\narch = \"amd64\"\nroots = []\npackages = [\"x:all=1\"]\n";
    assert!(matches!(Lock::parse(Path::new("evek.lock"), dangling), Err(crate::Error::Dangling { .. })));
    assert!(matches!(Lock::read(Path::new("no/evek.lock")), Err(crate::Error::Absent(_))));
    // a merge of two branches' locks can be updated all the same
    let merged = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(merged.path(), dangling).unwrap();
    assert_eq!(Lock::read_sound(merged.path()).unwrap(), Lock::default());
}

#[test]
fn a_changed_definition_makes_the_lock_stale_and_is_named() {
    let lock = updated();
    lock.check(&wanted()).unwrap();

    let mut changed = wanted();
    changed.sets[1].roots[0].name = "conntrack".to_owned();
    changed.sets[0].backports = vec!["systemd".to_owned()];
    let manifest = Digest::of(b"go.sum");
    let vendor =
        WantedVendor { name: "go/kube/k3s".into(), kind: VendorKind::Go, manifest, file: "pkg/kube/k3s/go.sum".into() };
    changed.vendors.push(vendor);
    assert_eq!(
        lock.check(&changed).unwrap_err().to_string(),
        "evek.lock is older than the definitions: run `cargo xtask lock update`\n  \
         rootfs/debian.yml: set base for amd64 is locked with another base, other backports or others left out\n  \
         rootfs/debian.yml:3: `conntrack` is not locked in set kube for amd64\n  \
         rootfs/debian.yml: `iptables`, locked in set kube for amd64, is no longer named\n  \
         pkg/kube/k3s/go.sum: sources go/kube/k3s are not locked for it"
    );
}

#[test]
fn only_the_sets_named_and_those_on_them_are_resolved_anew() {
    let mut lock = updated();
    let mut newer = archive();
    newer.push(index("trixie-security", &[("libnft", "2", ""), ("libc6", "2.42", "")]));
    let report = outdated(&lock, &wanted(), &newer).unwrap();
    let shown: Vec<String> =
        report.iter().map(|o| format!("{} {} {} {} {:?}", o.package, o.locked, o.available, o.suite, o.sets)).collect();
    assert_eq!(
        shown,
        [
            "libc6:amd64 2.41 2.42 trixie-security [\"base for amd64\"]",
            "libnft:amd64 1 2 trixie-security [\"kube for amd64\"]"
        ]
    );
    update(&mut lock, &wanted(), Some(&["kube".to_owned()].into()), &newer).unwrap();
    let versions = |lock: &Lock| lock.debs().map(|d| format!("{} {}", d.name, d.version)).collect::<Vec<_>>();
    assert_eq!(versions(&lock), ["iptables 1.8", "libc6 2.41", "libnft 2", "systemd 257"]);
    update(&mut lock, &wanted(), Some(&["base".to_owned()].into()), &newer).unwrap();
    assert_eq!(versions(&lock), ["iptables 1.8", "libc6 2.42", "libnft 2", "systemd 257"]);
}

#[test]
fn a_failed_update_names_the_definition_and_changes_nothing() {
    let mut lock = updated();
    let mut changed = wanted();
    changed.sets[1].roots[0].name = "iptable".to_owned();
    let error = update(&mut lock, &changed, None, &archive()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "rootfs/debian.yml:3: set kube for amd64: no package `iptable` for amd64; is `iptables` meant?"
    );
    assert_eq!(lock, updated());
    let error = update(&mut lock, &wanted(), Some(&["kub".to_owned()].into()), &archive()).unwrap_err();
    assert_eq!(error.to_string(), "no definition makes a set `kub`: base, kube");
}

#[test]
fn sets_that_nothing_asks_for_leave_with_their_packages() {
    let mut lock = updated();
    let mut fewer = wanted();
    fewer.sets.pop();
    update(&mut lock, &fewer, None, &archive()).unwrap();
    assert!(lock.set("kube", Arch::Amd64).is_none());
    assert_eq!(lock.debs().count(), 2);
}

#[test]
fn what_is_left_out_stays_out_of_every_set_on_top_and_is_written_down() {
    let mut wanted = wanted();
    let left_out = |name: &str| Root { name: name.to_owned(), file: "rootfs/debian.yml".into(), line: 9 };
    wanted.sets[0].without = vec![left_out("libc6")];
    let mut lock = Lock::default();
    update(&mut lock, &wanted, None, &archive()).unwrap();
    let base = lock.set("base", Arch::Amd64).unwrap();
    assert_eq!(base.without, ["libc6 < systemd:amd64"]);
    assert!(lock.debs().all(|deb| deb.name != "libc6"), "nor is it in the set on top");
    assert_eq!(lock.check(&wanted), Ok(()));
    wanted.sets[0].without.clear();
    let text = lock.check(&wanted).unwrap_err().to_string();
    assert!(text.contains("set base for amd64 is locked with another base"), "{text}");

    wanted.sets[1].without = vec![left_out("perl")];
    let text = update(&mut lock, &wanted, None, &archive()).unwrap_err().to_string();
    let expected = "rootfs/debian.yml:9: nothing in set kube depends on `perl`, so that it need not be left out";
    assert_eq!(text, expected);
    wanted.sets[1].without = vec![left_out("libc6")];
    let text = update(&mut lock, &wanted, None, &archive()).unwrap_err().to_string();
    let expected = "rootfs/debian.yml:9: set kube for amd64: `libc6` is to be left out, and is in the base set";
    assert!(text.starts_with(expected), "{text}");
}
