//! Declarations, good and bad.

use super::*;

const MACHINE: &str = "\
name: web
cpus: 2
memory: 512MiB
machine:
  disks: [{file: /persist/images/web.qcow2, format: qcow2, size: 4GiB}]
  tpm: true
networks:
  - nat: {forwards: [{host: 8080, guest: 80}]}
";

const CONTAINER: &str = "\
name: web
memory: 128MiB
container:
  image: evek.local/time
  command: [/usr/bin/bash]
  volumes:
    - {name: state, target: /var/lib/web, size: 64MiB}
restart: on-failure
";

fn parse(text: &str) -> Result<App, Vec<Error>> {
    App::parse(&Source { file: "/config/apps/web.yml".into(), text: text.into() })
}

/// The first lines of all errors.
fn errors(text: &str) -> Vec<String> {
    let errors = parse(text).unwrap_err();
    errors.iter().map(|e| e.to_string().lines().next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_machine_and_a_container_are_read() {
    let machine = parse(MACHINE).unwrap();
    let Kind::Machine(it) = machine.kind() else { panic!("{machine:?}") };
    assert_eq!((it.firmware.clone(), it.tpm, it.disks[0].format), (Firmware::Uefi, true, DiskFormat::Qcow2));
    assert_eq!((machine.restart, machine.autostart, *machine.memory), (Restart::Always, true, Bytes::mib(512)));
    let container = parse(CONTAINER).unwrap();
    assert!(matches!(container.kind(), Kind::Container(c) if c.command == ["/usr/bin/bash"]));
    assert_eq!((container.restart, *container.cpus), (Restart::OnFailure, 1));
}

#[test]
fn a_kernel_can_be_started_without_firmware() {
    let text =
        "name: web\nmemory: 64MiB\nmachine:\n  firmware:\n    linux: {kernel: /persist/images/k, cmdline: quiet}\n";
    let app = parse(text).unwrap();
    let Kind::Machine(Machine { firmware: Firmware::Linux(linux), .. }) = app.kind() else { panic!("{app:?}") };
    assert_eq!((linux.kernel.as_str(), linux.cmdline.as_str()), ("/persist/images/k", "quiet"));
}

#[test]
fn an_unknown_field_is_shown_with_its_line_and_what_was_probably_meant() {
    let text = MACHINE.replace("memory:", "memroy:");
    let error = parse(&text).unwrap_err().remove(0).to_string();
    assert!(error.starts_with("/config/apps/web.yml:3:1: unknown field `memroy`\n"), "{error}");
    assert!(error.contains("3 | memroy: 512MiB") && error.ends_with("hint: did you mean `memory`?"), "{error}");
}

#[test]
fn what_types_cannot_say_is_checked() {
    let place = "/config/apps/web.yml";
    for (text, line, expected) in [
        (MACHINE.replace("name: web", "name: wob"), 1, "the name must be that of the file, `web`"),
        (MACHINE.replace("cpus: 2", "cpus: 0"), 2, "`cpus` is a number from 1 to 256"),
        (MACHINE.replace("512MiB", "5MiB"), 3, "`memory` is at least 64MiB"),
        (MACHINE.replace("/persist/images", "/etc"), 5, "`/etc/web.qcow2` is not in /persist/images"),
        (MACHINE.replace("size: 4GiB", "size: 4GiB, read_only: true"), 5, "no disk that is read-only"),
        (MACHINE.replace("host: 8080", "host: 0"), 8, "a port is a number"),
        (MACHINE.replace("[{host", "[{host: 8080, guest: 1}, {host"), 8, "port 8080 of the device is forwarded twice"),
        (
            MACHINE.replace("nat: {forwards: [{host: 8080, guest: 80}]}", "bridge: {name: br0, address: 192.0.2.7/24}"),
            8,
            "a machine sets its own address",
        ),
        ("name: web\nmemory: 64MiB\nmachine: {}\n".into(), 3, "a machine with UEFI needs a disk"),
        ("name: web\nmemory: 64MiB\n".into(), 1, "an app needs either `machine:` or `container:`"),
        (format!("{CONTAINER}machine: {{tpm: true}}\n"), 4, "an app is either a `machine` or a `container`"),
        (CONTAINER.replace("target: /var", "target: var"), 7, "the target of a volume"),
        (CONTAINER.replace("64MiB", "1MiB"), 7, "`size` is at least 8MiB"),
        (
            format!("{CONTAINER}networks:\n  - bridge: {{name: br0}}\n"),
            10,
            "a container on a bridge needs an `address`",
        ),
        (
            format!("{CONTAINER}networks:\n  - bridge: {{name: br0, address: 192.0.2.7}}\n"),
            10,
            "`192.0.2.7` is not an address",
        ),
    ] {
        let found = errors(&text);
        let right =
            found.len() == 1 && found[0].starts_with(&format!("{place}:{line}:")) && found[0].contains(expected);
        assert!(right, "expected line {line}: {expected}\nfound {found:?}\nin:\n{text}");
    }
}

/// The first lines of the errors of a machine with a disk in this file, and of one with this kernel and this initramfs.
fn errors_of_a_file(path: &str) -> [Vec<String>; 3] {
    let linux = |files: &str| format!("name: web\nmemory: 64MiB\nmachine:\n  firmware: {{linux: {{{files}}}}}\n");
    [
        MACHINE.replace("/persist/images/web.qcow2", path),
        linux(&format!("kernel: {path}")),
        linux(&format!("kernel: /persist/images/k, initrd: {path}")),
    ]
    .map(|text| parse(&text).err().map_or_else(Vec::new, |_| errors(&text)))
}

#[test]
fn files_of_machines_are_in_one_folder_of_p3() {
    for good in ["/persist/images/a.raw", "/persist/images/vendor/a.raw", "/persist//images/./a.raw"] {
        assert_eq!(errors_of_a_file(good), [const { Vec::<String>::new() }; 3], "{good}");
    }
    for bad in [
        "/persist/vault/recovery-key",
        "/persist/ssh/ssh_host_ed25519_key",
        "/persist/vmm/other/notes.ext4",
        "/persist/images/../vault/recovery-key",
        "/persist/images",
        "/persist/imagesx/a.raw",
        "persist/images/a.raw",
        "/etc/shadow",
        "/dev/sda",
    ] {
        for (what, found) in ["disk", "kernel", "initrd"].iter().zip(errors_of_a_file(bad)) {
            let right = found.len() == 1 && found[0].contains(&format!("`{bad}` is not in /persist/images"));
            assert!(right, "{what} {bad}: {found:?}");
        }
    }
}

#[test]
fn a_volume_is_nowhere_where_the_container_would_not_see_it() {
    let at = |target: &str| {
        let text = CONTAINER.replace("/var/lib/web", target);
        parse(&text).err().map(|_| errors(&text))
    };
    for good in ["/tmp", "/tmp/x", "/run/x", "/dev/shm", "/dev/shm/x", "/process", "/system", "/etc", "/etc/hosts.d"] {
        assert_eq!(at(good), None, "{good}");
    }
    for (bad, expected) in [
        ("/proc", "/proc is a file system of the kernel"),
        ("/proc/x", "/proc is a file system of the kernel"),
        ("//proc/./x/", "/proc is a file system of the kernel"),
        ("/sys/fs/cgroup", "/sys is a file system of the kernel"),
        ("/dev", "/dev is a file system of the kernel"),
        ("/dev/shmem", "/dev is a file system of the kernel"),
        ("/dev/pts", "/dev is a file system of the kernel"),
        ("/etc/hosts", "/etc/hosts is written at each start"),
        ("/etc/resolv.conf/x", "/etc/resolv.conf is written at each start"),
        ("/", "is not `/` itself"),
        ("/./", "is not `/` itself"),
        ("/a/..", "has no `..`"),
        ("x", "begins with `/`"),
    ] {
        let found = at(bad).unwrap_or_default();
        let place = "/config/apps/web.yml:7:";
        assert!(found.len() == 1 && found[0].starts_with(place) && found[0].contains(expected), "{bad}: {found:?}");
    }
}

#[test]
fn volumes_may_be_nested_and_never_be_at_one_place() {
    let with = |other: &str| {
        let more = CONTAINER.replace("volumes:\n", &format!("volumes:\n    - {other}\n"));
        parse(&more).err().map(|_| errors(&more))
    };
    assert_eq!(with("{name: inner, target: /var/lib/web/cache, size: 8MiB}"), None);
    assert_eq!(with("{name: outer, target: /var/lib, size: 8MiB, owner: 'web:web'}"), None);
    let twice = with("{name: twice, target: /var//lib/web/, size: 8MiB}").unwrap();
    assert!(twice[0].contains(":8:") && twice[0].contains("two volumes are at /var/lib/web"), "{twice:?}");
    let owner = with("{name: inner, target: /x, size: 8MiB, owner: ':web'}").unwrap();
    assert!(owner[0].contains("the owner of a volume"), "{owner:?}");
}

#[test]
fn one_file_is_one_disk_of_a_machine() {
    let second = "[{file: /persist/images//web.qcow2}, {file";
    let found = errors(&MACHINE.replace("[{file", second));
    assert!(found.len() == 1 && found[0].contains("is a disk of this machine already"), "{found:?}");
}
