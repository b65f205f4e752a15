//! What users get wrong, and hosts: each mistake has its exit code and a text that says where and what to do.

use boot_tests::{Ran, World, checkout};
use std::process::Command;

/// Exit codes, as `xtask` promises them.
const USAGE: i32 = 2;
const DEFINITION: i32 = 3;
const LOCK: i32 = 4;
const INPUT: i32 = 5;
const STEP: i32 = 6;
const HOST: i32 = 7;

fn text(path: &str) -> String {
    std::fs::read_to_string(checkout().join(path)).expect("the checkout has its definitions")
}

#[test]
fn an_unknown_flavour_lists_the_choices() {
    World::new().xtask(&["image", "--hv", "hyperv"]).must(USAGE, &["hyperv", "kvm, xen, kubevirt"]);
}

#[test]
fn a_version_that_would_be_newer_than_its_release_is_refused_with_the_one_that_is_meant() {
    let run = boot_tests::Copy::new().xtask_of("0.2.0-rc1", &["plan", "--hv", "kvm"]);
    run.must(USAGE, &["`0.2.0-rc1`", "hint: VERSION=0.2.0~rc1"]);
}

#[test]
fn an_unknown_architecture_lists_the_choices() {
    World::new().xtask(&["image", "--arch", "mips"]).must(USAGE, &["mips", "amd64, arm64"]);
}

#[test]
fn an_addon_that_nothing_would_read_is_refused() {
    let addon = |flavour, to| World::new().xtask(&["debug", "addon", "--hv", flavour, "--to", to]);
    addon("xen", "/tmp/debug.addon.efi").must(USAGE, &["HV=xen takes no addons", "no EFI stub"]);
    addon("kvm", "/tmp/debug.efi").must(USAGE, &["/tmp/debug.efi", "names end in `.addon.efi`"]);
}

#[test]
fn an_unknown_key_in_a_package_is_shown_with_its_line() {
    let path = "pkg/time/pkg.yml";
    let wrong = text(path).replace("\nservice:", "\nservise:");
    let line = wrong.lines().position(|l| l == "servise:").expect("the package has a service") + 1;
    let at = format!("{path}:{line}:1: unknown field `servise`");
    let ran = World::new().with_file(path, &wrong).xtask(&["lock", "update"]);
    ran.must(DEFINITION, &[&at, "^^^^^^^", "did you mean `service`"]);
}

#[test]
fn a_flavour_with_a_package_that_does_not_exist_names_the_near_one() {
    let wrong = text("hv/kvm.yml").replace("packages: [time", "packages: [tiem");
    let ran = World::new().with_file("hv/kvm.yml", &wrong).xtask(&["lock", "update"]);
    ran.must(DEFINITION, &["hv/kvm.yml:2:", "`tiem`", "did you mean `time`"]);
}

#[test]
fn a_lock_that_does_not_cover_a_definition_names_its_line() {
    let path = "pkg/time/pkg.yml";
    let wrong = text(path).replace("debs: [chrony]", "debs: [chrony, no-such-package]");
    let line = wrong.lines().position(|l| l.contains("no-such-package")).expect("the package has debs") + 1;
    let ran = World::new().with_file(path, &wrong).xtask(&["image", "--hv", "kvm", "--offline"]);
    ran.must(LOCK, &[&format!("{path}:{line}"), "no-such-package", "lock update"]);
}

/// As much of a program as says what it is for: a 64-bit, little-endian ELF header (System V gABI, *ELF Header*).
fn program(machine: u16) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(64, 0);
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    bytes
}

/// A program for another architecture, whose number in ELF headers is `machine`, in a package of an image for `arch`.
fn foreign_program_is_named(arch: &str, other: &str, machine: u16) {
    let world = World::new().with_cache().with_folder_of("pkg/time/files", "usr/bin/probe", &program(machine));
    let ran = world.xtask(&["image", "--hv", "kvm", "--arch", arch, "--offline"]);
    let (layer, text) = (format!("top/time@{arch}"), format!("/usr/bin/probe is for {other}, not for {arch}"));
    ran.must(STEP, &[&layer, "pkg/time/pkg.yml", &text]);
}

#[test]
fn a_program_of_the_other_architecture_in_a_package_is_named_with_its_layer_and_path() {
    foreign_program_is_named("amd64", "arm64", 183);
}

#[test]
#[ignore = "long: make test-all"]
fn a_program_for_amd64_in_a_package_for_arm64_is_named_with_its_layer_and_path() {
    foreign_program_is_named("arm64", "amd64", 62);
}

#[test]
fn an_unknown_architecture_of_a_debian_package_is_shown_with_its_line() {
    let path = "pkg/time/pkg.yml";
    let wrong = text(path).replace("debs: [chrony]", "debs:\n  - chrony [arm46]");
    let line = wrong.lines().position(|l| l.contains("arm46")).expect("the package has debs") + 1;
    let ran = World::new().with_file(path, &wrong).xtask(&["lock", "check"]);
    ran.must(DEFINITION, &[&format!("{path}:{line}:5: unknown ARCH `arm46`"), "amd64, arm64"]);
}

#[test]
fn offline_with_an_empty_cache_says_what_is_missing_and_opens_no_socket() {
    // this world has no network: a socket would show as another error
    let ran = World::new().xtask(&["image", "--hv", "kvm", "--offline"]);
    ran.must(INPUT, &["--offline", "EVEK_SOURCES"]);
}

#[test]
fn a_damaged_lock_keeps_gc_from_removing_anything() {
    let world = World::new().with_file("evek.lock", "format = 1\n[[deb]\n");
    world.xtask(&["gc", "--size", "1GiB"]).must(LOCK, &["evek.lock", "2"]);
}

#[test]
fn a_list_of_mirrors_that_cannot_be_read_is_named() {
    let sources = "Types: deb\nURIs: mirror+file:///etc/apt/mirrors/debian.list\nSuites: trixie trixie-security\nComponents: main\n";
    let world = World::new().with_folder_of("/etc/apt", "sources.list.d/debian.sources", sources.as_bytes());
    world.xtask(&["lock", "update"]).must(INPUT, &["mirror+file:///etc/apt/mirrors/debian.list: cannot read"]);
}

#[test]
fn no_mirror_anywhere_says_how_to_name_one() {
    let ran = World::new().with_empty_folder("/etc/apt").xtask(&["lock", "update"]);
    ran.must(INPUT, &["no mirror", "DEBIAN_SECURITY_MIRROR", "apt configuration"]);
}

#[test]
fn a_mirror_that_is_down_is_named() {
    // nobody listens on the port for services that discard; this world's loopback has no services at all
    let (name, url) = ("DEBIAN_SECURITY_MIRROR", "http://127.0.0.1:9/debian-security");
    let world = World::new().with_variable(name, url).with_variable("DEBIAN_MIRROR", url);
    world.xtask(&["lock", "update"]).must(INPUT, &[url]);
}

#[test]
fn a_host_without_user_namespaces_is_told_what_to_change() {
    // A user namespace in which there can be no other, and in which root has no capability to go round that. Both programs
    // are util-linux's, which every Linux has.
    let cache = tempfile::tempdir().expect("there is a temporary folder");
    let line = "echo 0 > /proc/sys/user/max_user_namespaces && \
                exec setpriv --bounding-set=-all --inh-caps=-all \"$EVEK_XTASK\" doctor --cache \"$0\"";
    let ran = Ran::of(Command::new("unshare").args(["--map-root-user", "sh", "-c", line]).arg(cache.path()));
    assert!(ran.stdout.contains("user.max_user_namespaces=15000"), "{ran:?}");
    ran.must(HOST, &["cannot be built on this host"]);
}
