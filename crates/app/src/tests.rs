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
    let text = "name: web\nmemory: 64MiB\nmachine:\n  firmware:\n    linux: {kernel: /persist/k, cmdline: quiet}\n";
    let app = parse(text).unwrap();
    let Kind::Machine(Machine { firmware: Firmware::Linux(linux), .. }) = app.kind() else { panic!("{app:?}") };
    assert_eq!((linux.kernel.as_str(), linux.cmdline.as_str()), ("/persist/k", "quiet"));
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
        (MACHINE.replace("/persist/images", "/etc"), 5, "`/etc/web.qcow2` is not on P3"),
        (MACHINE.replace("images/", "../"), 5, "`/persist/../web.qcow2` is not on P3"),
        (MACHINE.replace("size: 4GiB", "size: 4GiB, read_only: true"), 5, "a disk that cannot be written to"),
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
