//! An image of the flavour kvm reaches its services, from a slot that nothing can change.

use boot_tests::{
    Boot, Booting, Checks,
    apps::{Apps, Firmware, Hypervisor},
    boot,
    secure_boot::{arguments, secured},
    system,
};
use std::{
    io::Read as _,
    net::TcpStream,
    time::{Duration, Instant},
};
use types::{Arch, Flavour};
use vm::{Forward, Guest, Network, Until, free_port};

fn start(name: &'static str, arch: Arch, with_ssh: bool) -> (Booting, u16) {
    let port = free_port().expect("this host has free ports");
    let network = Network::User { forwards: vec![Forward { host: port, guest: 22 }] };
    // files beside the key would have CONFIG made anew where the image's own is to be seen
    let config = if with_ssh && arch == Arch::Amd64 { boot_tests::apps::declared() } else { Vec::new() };
    let options = Boot { network, config, with_ssh, ..Boot::of(name, Flavour::Kvm, arch) };
    // Debian's kernel for AArch64 has no driver for the TPM
    (boot(secured(Boot { tpm: arch == Arch::Amd64, extra: credential_by_smbios(), ..options })), port)
}

/// A credential by SMBIOS (SMBIOS 3.7 §7.12), which nothing has signed: a key for root's account.
fn credential_by_smbios() -> Vec<String> {
    ["-smbios", "type=11,value=io.systemd.credential:ssh.authorized_keys.root=ssh-ed25519 AAAA"]
        .map(str::to_owned)
        .to_vec()
}

#[test]
fn a_kvm_image_reaches_its_services() {
    reaches_its_services("kvm", Arch::Amd64);
}

#[test]
#[ignore = "long: make test-all"]
fn a_kvm_image_for_arm64_reaches_its_services() {
    reaches_its_services("kvm-arm64", Arch::Arm64);
}

fn reaches_its_services(name: &'static str, arch: Arch) {
    let (Booting { mut guest, image, .. }, port, limit) = {
        let (booting, port) = start(name, arch, true);
        let (boot, stop) = (booting.limit(60), booting.limit(30));
        (booting, port, (boot, stop))
    };
    guest.wait_for(Until::Ssh, limit.0).unwrap_or_else(|e| panic!("{e}"));
    let mut checks = Checks::default();
    system::system_is_up(&mut guest, &mut checks, arch, limit.0);
    system::start_was_secure(&mut guest, &mut checks, &arguments(&image));
    if arch == Arch::Amd64 {
        system::start_was_measured(&mut guest, &mut checks, &image);
        system::state_is_sealed(&mut guest, &mut checks, true);
    }
    let credentials = guest.sh("ls /run/credentials/@system 2>/dev/null || true");
    checks.equal("no credential came from outside", credentials.unwrap_or_else(|e| e.to_string()), String::new());
    system::slot_is_verified_and_read_only(&mut guest, &mut checks, &image);
    system::state_is_on_p3_only(&mut guest, &mut checks);
    services_run(&mut guest, &mut checks);
    system::ssh_takes_keys_only(&mut guest, &mut checks);
    if arch == Arch::Amd64 {
        apps_run(&mut guest, &mut checks, limit.0);
    }
    let banner = banner(port, limit.1);
    checks.that("ssh answers on the network too", banner.starts_with("SSH-2.0-"), banner);
    checks.answer("the power button switches it off", guest.stop(limit.1));
    checks.finish();
}

fn services_run(guest: &mut Guest, checks: &mut Checks) {
    if let Some(containers) = checks.answer("containers", guest.sh("ctr -n services c ls")) {
        checks.that("the services of hv/kvm.yml have containers", containers.contains("evek.local/time:"), &containers);
        checks.that("they use the store's snapshotter", !containers.contains("overlayfs"), &containers);
    }
    if let Some(status) = checks.answer("svc status", guest.sh("svc status --json")) {
        checks.answer("every service is ready", boot_tests::all_ready(&status, &["time", "vmm"]));
    }
    if let Some(log) = checks.answer("journal", guest.sh("journalctl -u evek-time.service -o cat --no-pager -n 20")) {
        checks.that("the service's own words are in the journal", log.contains("chronyd"), &log);
    }
}

fn apps_run(guest: &mut Guest, checks: &mut Checks, limit: Duration) {
    // the emulated processor has SVM, so guests of the guest run by KVM
    let mut apps = Apps { guest, checks, hypervisor: Hypervisor::Kvm, limit };
    apps.container_starts();
    apps.console_answers();
    apps.guests_are_apart();
    apps.machine_starts(Firmware::Linux, Arch::Amd64);
    apps.killed_guest_runs_again();
    apps.stops_when_told();
    apps.volume_grows();
}

#[test]
#[ignore = "long: make test-all"]
fn a_device_without_virtualisation_emulates_a_machine_with_uefi_and_a_tpm() {
    let arch = Arch::Amd64;
    // QEMU takes the last of several; its emulated SVM does not survive EDK II as a guest of KVM
    let extra = ["-cpu", "max,la57=off,svm=off"].map(str::to_owned).to_vec();
    let options = Boot::of("kvm-emulated", Flavour::Kvm, arch);
    let booting = boot(Boot { config: boot_tests::apps::declared(), extra, ..options });
    let limit = booting.limit(60);
    let mut guest = booting.guest;
    guest.wait_for(Until::Ssh, limit).unwrap_or_else(|e| panic!("{e}"));
    let mut checks = Checks::default();
    system::system_is_up(&mut guest, &mut checks, arch, limit);
    let mut apps = Apps { guest: &mut guest, checks: &mut checks, hypervisor: Hypervisor::Tcg, limit };
    apps.container_starts();
    apps.machine_starts(Firmware::Uefi, arch);
    checks.finish();
}

/// The first line of a server on a forwarded port; empty when it sends none.
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
    let (booting, port) = start("kvm-no-key", Arch::Amd64, false);
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
