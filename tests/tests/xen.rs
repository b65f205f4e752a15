//! An image of the flavour xen boots to Xen's first domain, from the same kind of slot as every other, with the toolstack at
//! the operator's hand.

use boot_tests::{
    Boot, Booting, Checks, all_ready,
    apps::{self, Apps, Firmware, Hypervisor},
    boot, boot_entry, described,
    secure_boot::{arguments, enrolled, hypervisor_arguments, secured},
    system,
};
use efivars::Attributes;
use std::{collections::BTreeMap, fs, path::Path};
use types::{Arch, Bytes, Flavour};
use vm::{Guest, Until, Variables};

#[test]
#[ignore = "long: make test-all"]
fn a_xen_image_reaches_its_first_domain() {
    reaches_its_first_domain(Boot::of("xen", Flavour::Xen, Arch::Amd64), None);
}

/// Without the processor's virtualisation and XSAVE: under emulation with the first, domains have ended in triple faults with
/// Xen's own addresses in their registers; with the second, programs of the first domain have computed wrongly.
#[test]
#[ignore = "long: make test-all"]
fn a_xen_image_runs_apps_in_domains() {
    let extra = ["-cpu", "max,la57=off,rdtscp=off,xsave=off,svm=off"].map(str::to_owned).to_vec();
    let options = Boot { extra, ..Boot::of("xen-pv", Flavour::Xen, Arch::Amd64) };
    reaches_its_first_domain(options, Some(Hypervisor::Pv));
}

#[test]
#[ignore = "long: make test-all"]
fn a_xen_image_runs_apps_in_domains_that_use_virtualisation() {
    reaches_its_first_domain(Boot::of("xen-pvh", Flavour::Xen, Arch::Amd64), Some(Hypervisor::Pvh));
}

#[test]
#[ignore = "long: make test-all"]
fn a_xen_image_for_arm64_runs_apps_in_domains() {
    reaches_its_first_domain(Boot::of("xen-arm64", Flavour::Xen, Arch::Arm64), Some(Hypervisor::Pvh));
}

/// Who starts the image without systemd-boot can have the hypervisor take arguments that nobody has signed.
#[test]
#[ignore = "long: make test-all"]
fn a_hypervisor_with_other_arguments_gets_no_system() {
    let options = Boot { memory: Bytes::gib(3), ..Boot::of("xen-arguments", Flavour::Xen, Arch::Amd64) };
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("variables.fd");
    let vm::Firmware::SecureBoot(Variables::Left(enrolled)) = enrolled(&options) else { panic!("not enrolled") };
    fs::copy(&enrolled, &store).unwrap_or_else(|e| panic!("cannot copy {}: {e}", enrolled.display()));
    boot_entry::add(&store, &boot_entry::starting(&program(&options.image), TOLD));
    let booting = boot(Boot { firmware: vm::Firmware::SecureBoot(Variables::Left(store)), ..options });
    let (limit, mut guest, mut checks) = (booting.limit(60), booting.guest, Checks::default());
    guest.wait_for(Until::Serial(&refusal(&booting.image)), limit).unwrap_or_else(|e| panic!("{e}"));
    guest.wait_for(Until::Serial("evek-init: restarting in "), limit).unwrap_or_else(|e| panic!("{e}"));
    let lines = guest.serial_lines().join("\n");
    checks.that("no slot is opened", !lines.contains("evek-init: slot "), lines);
    guest.cut_power();
    checks.finish();
}

/// The same by a boot entry that was made on the device itself; the next start is the image's own.
#[test]
#[ignore = "long: make test-all"]
fn a_boot_entry_gives_a_hypervisor_other_arguments_once() {
    let name = "xen-boot-entry";
    let options = Boot { memory: Bytes::gib(3), reboots: true, ..Boot::of(name, Flavour::Xen, Arch::Amd64) };
    let booting = boot(secured(options));
    let (limit, mut guest, mut checks) = (booting.limit(120), booting.guest, Checks::default());
    guest.wait_for(Until::Ssh, limit).unwrap_or_else(|e| panic!("{e}"));
    for (name, value) in boot_entry::starting(&program(&booting.image), TOLD) {
        let file = efivars::Variables::default().path(name);
        let write = format!("dd of={} bs=1M iflag=fullblock conv=notrunc", file.display());
        let bytes = [&Attributes::KEPT.to_bytes()[..], &value].concat();
        let written = guest.ssh_within(&write, &bytes, limit).unwrap_or_else(|e| panic!("{e}"));
        assert!(written.success(), "{name}: {}", written.stderr);
    }
    guest.restart("systemctl reboot", limit).unwrap_or_else(|e| panic!("{e}"));
    let refused = refusal(&booting.image);
    checks.answer("the first stage refuses", guest.wait_for(Until::Serial(&refused), limit));
    guest.wait_for(Until::Restarts(2), limit).unwrap_or_else(|e| panic!("{e}"));
    guest.wait_for(Until::Ssh, limit).unwrap_or_else(|e| panic!("{e}"));
    checks.equal("the image's own start afterwards", guest.restarts(), 2);
    guest.cut_power();
    checks.finish();
}

/// What a boot entry says to Xen.
const TOLD: &str = " -- loglvl=none";

/// What the first stage says of it.
fn refusal(image: &Path) -> String {
    let signed = hypervisor_arguments(image);
    let line = "evek-init: hypervisor command line: it is not the one that is signed";
    format!("{line}, `{signed}`, but `{signed} loglvl=none`")
}

/// The image's program, as firmware writes its path.
fn program(image: &Path) -> String {
    format!(r"\EFI\Linux\evek-{}.efi", described(image).version)
}

/// Xen measures no kernel image: P3 is bound to the firmware's keys and to CONFIG.
#[test]
#[ignore = "long: make test-all"]
fn under_xen_the_tpm_opens_p3_too() {
    let options =
        Boot { memory: Bytes::gib(3), tpm: true, reboots: true, ..Boot::of("xen-tpm", Flavour::Xen, Arch::Amd64) };
    let booting = boot(secured(options));
    let (limit, mut guest, mut checks) = (booting.limit(120), booting.guest, Checks::default());
    for start in 0..2 {
        if start > 0 {
            guest.restart("systemctl reboot", limit).unwrap_or_else(|e| panic!("{e}"));
        }
        guest.wait_for(Until::Ssh, limit).unwrap_or_else(|e| panic!("{e}"));
        system::system_is_up(&mut guest, &mut checks, Arch::Amd64, limit);
        system::state_is_sealed(&mut guest, &mut checks, false);
        system::config_was_measured(&mut guest, &mut checks);
    }
    guest.cut_power();
    checks.finish();
}

/// And runs apps in other domains, where they are of a kind.
fn reaches_its_first_domain(options: Boot, apps_in: Option<Hypervisor>) {
    let arch = options.arch;
    let config = if apps_in.is_some() { apps::declared() } else { Vec::new() };
    let booting = boot(secured(Boot { memory: Bytes::gib(3), config, ..options }));
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
    toolstack_answers(&mut guest, &mut checks, &image);
    if let Some(hypervisor) = apps_in {
        let mut apps = Apps { guest: &mut guest, checks: &mut checks, hypervisor, limit: start };
        apps.container_starts();
        apps.console_answers();
        apps.guests_are_apart();
        apps.machine_starts(Firmware::Linux, arch);
        apps.killed_guest_runs_again();
        apps.stops_when_told();
        apps.volume_grows();
    }
    checks.answer("the power button switches it off", guest.stop(stop));
    checks.finish();
}

fn toolstack_answers(guest: &mut Guest, checks: &mut Checks, image: &Path) {
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
        checks.equal("its arguments", field("xen_commandline"), &hypervisor_arguments(image));
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
