//! An image of the flavour xen boots to Xen's first domain, from the same kind of slot as every other, with the toolstack at
//! the operator's hand.

use boot_tests::{
    Boot, Booting, Checks, all_ready,
    apps::{self, Apps, Firmware, Hypervisor},
    boot,
    secure_boot::{arguments, secured},
    system,
};
use std::{collections::BTreeMap, time::Duration};
use types::{Arch, Bytes, Flavour};
use vm::{Guest, Until};

#[test]
fn a_xen_image_reaches_its_first_domain() {
    let (guest, mut checks, stop) = reaches_its_first_domain("xen", Arch::Amd64, Vec::new());
    checks.answer("the power button switches it off", guest.stop(stop));
    checks.finish();
}

#[test]
#[ignore = "long: make test-all"]
fn a_xen_image_runs_apps_in_domains() {
    runs_apps("xen-apps", Arch::Amd64);
}

#[test]
#[ignore = "long: make test-all"]
fn a_xen_image_for_arm64_runs_apps_in_domains() {
    runs_apps("xen-arm64", Arch::Arm64);
}

fn runs_apps(name: &'static str, arch: Arch) {
    let (mut guest, mut checks, stop) = reaches_its_first_domain(name, arch, apps::declared());
    let mut apps = Apps { guest: &mut guest, checks: &mut checks, hypervisor: Hypervisor::Xen, limit: stop * 4 };
    apps.container_starts();
    apps.console_answers();
    apps.machine_starts(Firmware::Linux, arch);
    apps.killed_guest_runs_again();
    apps.stops_when_told();
    checks.answer("the power button switches it off", guest.stop(stop));
    checks.finish();
}

/// The device, what was seen of it, and how long it may take to switch itself off.
fn reaches_its_first_domain(
    name: &'static str,
    arch: Arch,
    config: Vec<(String, Vec<u8>)>,
) -> (Guest, Checks, Duration) {
    let booting = Boot { memory: Bytes::gib(3), config, ..Boot::of(name, Flavour::Xen, arch) };
    let booting = boot(secured(booting));
    let (start, stop) = (booting.limit(120), booting.limit(30));
    let Booting { mut guest, image, .. } = booting;
    guest.wait_for(Until::Ssh, start).unwrap_or_else(|e| panic!("{e}"));
    let mut checks = Checks::default();
    system::system_is_up(&mut guest, &mut checks, arch, start);
    // on AArch64 Xen does not tell its first domain of the firmware
    if arch == Arch::Amd64 {
        system::start_was_secure(&mut guest, &mut checks, &arguments(&image));
    }
    system::slot_is_verified_and_read_only(&mut guest, &mut checks, &image);
    system::state_is_on_p3_only(&mut guest, &mut checks);
    system::ssh_takes_keys_only(&mut guest, &mut checks);
    toolstack_answers(&mut guest, &mut checks);
    (guest, checks, stop)
}

fn toolstack_answers(guest: &mut Guest, checks: &mut Checks) {
    if let Some(status) = checks.answer("svc status", guest.sh("svc status --json")) {
        checks.answer("every service is ready", all_ready(&status, &["time", "vmm-xen", "xen", "xenconsoled"]));
    }
    if let Some(info) = checks.answer("xl info", guest.sh("svc exec xen xl info")) {
        let info = fields(&info);
        let field = |name: &str| info.get(name).copied().unwrap_or("absent");
        checks.that("Xen is 4.20", field("xen_version").starts_with("4.20"), field("xen_version"));
        checks.that("it can run guests", !field("virt_caps").is_empty(), field("virt_caps"));
        let free: Option<u64> = field("free_memory").parse().ok();
        checks.that("memory is left for guests", free.is_some_and(|mib| mib > 1024), field("free_memory"));
        let given = field("xen_commandline");
        checks.that("its arguments are those of hv/xen.yml", given.contains("dom0_mem=1G,max:1G"), given);
    }
    if let Some(list) = checks.answer("xl list", guest.sh("svc exec xen xl list")) {
        let domain = list.lines().nth(1).and_then(|l| l.split_whitespace().next());
        checks.equal("the first domain has its name", domain, Some("Domain-0"));
    }
}

/// Lines `name : value`.
fn fields(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|l| l.split_once(':')).map(|(name, value)| (name.trim(), value.trim())).collect()
}
