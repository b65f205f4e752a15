//! An image of the flavour kvm reaches its services, from a slot that nothing can change.

use boot_tests::{Boot, Booting, Checks, boot, image};
use std::{
    io::Read as _,
    net::TcpStream,
    time::{Duration, Instant},
};
use types::Bytes;
use vm::{Forward, Guest, Network, Until, free_port};

/// File systems of the kernel's own, which keep nothing on a disk.
const WITHOUT_DISK: [&str; 18] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "securityfs",
    "sysfs",
    "tracefs",
];

fn start(name: &'static str, with_ssh: bool) -> (Booting, u16) {
    let port = free_port().expect("this host has free ports");
    let network = Network::User { forwards: vec![Forward { host: port, guest: 22 }] };
    (boot(Boot { name, flavour: "kvm", memory: Bytes::gib(2), network, with_ssh }), port)
}

#[test]
fn a_kvm_image_reaches_its_services() {
    let (Booting { mut guest, .. }, port, limit) = {
        let (booting, port) = start("kvm", true);
        let (boot, stop) = (booting.limit(60), booting.limit(30));
        (booting, port, (boot, stop))
    };
    guest.wait_for(Until::Ssh, limit.0).unwrap_or_else(|e| panic!("{e}"));
    let mut checks = Checks::default();
    system_is_up(&mut guest, &mut checks, limit.0);
    slot_is_verified_and_read_only(&mut guest, &mut checks);
    state_is_on_p3_only(&mut guest, &mut checks);
    services_run(&mut guest, &mut checks);
    ssh_takes_keys_only(&mut guest, &mut checks);
    let banner = banner(port, limit.1);
    checks.that("ssh answers on the network too", banner.starts_with("SSH-2.0-"), banner);
    checks.answer("the power button switches it off", guest.stop(limit.1));
    checks.finish();
}

fn system_is_up(guest: &mut Guest, checks: &mut Checks, limit: Duration) {
    // it waits for the end of the start, and fails when a unit has failed; which one is asked next
    let state = guest.ssh_within("systemctl is-system-running --wait", &[], limit);
    if let Some(state) = checks.answer("the start comes to an end", state) {
        checks.equal("the system is running", state.stdout.trim(), "running");
    }
    if let Some(failed) = checks.answer("failed units", guest.sh("systemctl --failed --plain --no-legend")) {
        checks.that("no unit has failed", failed.is_empty(), failed);
    }
}

fn slot_is_verified_and_read_only(guest: &mut Guest, checks: &mut Checks) {
    let root = guest.sh("findmnt -rno FSTYPE,OPTIONS /");
    if let Some(root) = checks.answer("the root's mount", root) {
        checks.that("the root is an overlay", root.starts_with("overlay "), &root);
        checks.that("the root is read-only", root.starts_with("overlay ro"), &root);
        checks.that("its layers are in the store", root.contains("lowerdir=/run/evek/layers/"), &root);
        checks.that("nothing can be written over it", !root.contains("upperdir="), &root);
    }
    let touched = guest.ssh("touch /usr/bin/x /etc/x");
    if let Some(touched) = checks.answer("writing to the root", touched) {
        checks.that("writing to the root fails", !touched.success(), "it worked");
    }
    let device = guest.sh("readlink -f /dev/mapper/evek-store");
    let store = guest.sh("findmnt -rno SOURCE,FSTYPE,OPTIONS /run/evek/store");
    if let (Some(device), Some(store)) =
        (checks.answer("the verified device", device), checks.answer("the store's mount", store))
    {
        let expected = &format!("{device} erofs ro");
        checks.that("the store is the verified device, read-only", store.starts_with(expected), &store);
    }
    if let Some(status) = checks.answer("the verity device", guest.sh("dmsetup status evek-store")) {
        checks.that("verity has found no damage", status.ends_with("verity V"), &status);
    }
    let path = image("kvm").join("image.json");
    let described = std::fs::read(&path).map_err(|e| e.to_string());
    let described =
        described.and_then(|text| serde_json::from_slice(&text).map_err(|e: serde_json::Error| e.to_string()));
    let described: Option<serde_json::Value> = checks.answer("image.json", described);
    let hash = described.and_then(|d| d["root_hash"].as_str().map(|h| h.trim_start_matches("sha256:").to_owned()));
    if let (Some(hash), Some(table)) = (hash, checks.answer("the verity table", guest.sh("dmsetup table evek-store"))) {
        checks.that("the slot is the one of image.json", table.contains(&hash), format!("{table}, expected {hash}"));
    }
}

fn state_is_on_p3_only(guest: &mut Guest, checks: &mut Checks) {
    let Some(p3) = checks.answer("P3", guest.sh("readlink -f /dev/disk/evek/P3")) else { return };
    let Some(mounts) = checks.answer("mounts", guest.sh("findmnt -rno TARGET,SOURCE,FSTYPE,OPTIONS")) else { return };
    let writable = mounts.lines().filter_map(|line| {
        let [target, source, kind, options] = line.split(' ').collect::<Vec<_>>()[..] else { return Some(line) };
        let volatile = WITHOUT_DISK.contains(&kind) || ["tmpfs", "ramfs"].contains(&kind);
        // a bind of a folder of P3 is shown as `/dev/vda5[/log]`
        let on_p3 = source.split('[').next() == Some(p3.as_str());
        let upper = options.split(',').find_map(|o| o.strip_prefix("upperdir="));
        let upper_on_p3 =
            kind == "overlay" && upper.is_none_or(|u| u.starts_with("/persist/") || u.starts_with("/run/"));
        let read_only = options.split(',').any(|o| o == "ro");
        (!(read_only || volatile || on_p3 || upper_on_p3)).then_some(target)
    });
    let writable: Vec<_> = writable.collect();
    checks.that("nothing but P3 keeps what is written", writable.is_empty(), writable.join(", "));
    let persist = guest.sh("findmnt -rno SOURCE,FSTYPE /persist");
    if let Some(persist) = checks.answer("/persist", persist) {
        checks.equal("/persist is P3", persist, format!("{p3} ext4"));
    }
}

fn services_run(guest: &mut Guest, checks: &mut Checks) {
    if let Some(containers) = checks.answer("containers", guest.sh("ctr -n services c ls")) {
        checks.that("the services of hv/kvm.yml have containers", containers.contains("evek.local/time:"), &containers);
        checks.that("they use the store's snapshotter", !containers.contains("overlayfs"), &containers);
    }
    if let Some(status) = checks.answer("svc status", guest.sh("svc status --json")) {
        checks.answer("every service is ready", boot_tests::all_ready(&status, &["time"]));
    }
    if let Some(log) = checks.answer("journal", guest.sh("journalctl -u evek-time.service -o cat --no-pager -n 20")) {
        checks.that("the service's own words are in the journal", log.contains("chronyd"), &log);
    }
}

fn ssh_takes_keys_only(guest: &mut Guest, checks: &mut Checks) {
    if let Some(settings) = checks.answer("sshd's settings", guest.sh("sshd -T")) {
        for setting in ["passwordauthentication no", "kbdinteractiveauthentication no", "permitemptypasswords no"] {
            checks.that(setting, settings.lines().any(|l| l == setting), &settings);
        }
    }
    // field 2 of shadow(5): `*` and `!` match no password
    let open = guest.sh(r"grep -vE '^[^:]+:[*!]' /etc/shadow || true");
    if let Some(open) = checks.answer("/etc/shadow", open) {
        checks.that("no account has a password", open.is_empty(), open);
    }
}

/// What a server on a forwarded port says first; empty when it says nothing.
fn banner(port: u16, limit: Duration) -> String {
    let deadline = Instant::now() + limit;
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return String::new() };
    let mut said = Vec::new();
    let mut buffer = [0; 256];
    while !said.contains(&b'\n') {
        let left = deadline.saturating_duration_since(Instant::now());
        if left == Duration::ZERO || stream.set_read_timeout(Some(left)).is_err() {
            break;
        }
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => said.extend(&buffer[..n]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&said).trim().to_owned()
}

#[test]
fn without_a_key_in_config_nothing_lets_anyone_in() {
    let (booting, port) = start("kvm-no-key", false);
    let (boot, wait) = (booting.limit(60), booting.limit(4));
    let mut guest = booting.guest;
    // getty.target comes after all sockets; what follows it may be hidden by a login prompt on the console
    guest.wait_for(Until::Serial("Login Prompts"), boot).unwrap_or_else(|e| panic!("{e}"));
    let mut checks = Checks::default();
    let banner = banner(port, wait);
    checks.that("no ssh on the network", banner.is_empty(), banner);
    let opened = guest.events().iter().any(|e| e.name == "VSERPORT_CHANGE" && e.data["open"] == true);
    checks.that("no ssh on the virtio port", !opened, "the guest has opened the port");
    checks.finish();
}
