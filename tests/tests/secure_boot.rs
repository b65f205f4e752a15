//! Nothing starts that is not signed, and nothing that is signed starts with anything else.

use boot_tests::{
    Boot, Checks, boot, described,
    secure_boot::{Programs, addon, arguments, enrolled, keys, secured, signed},
};
use efivars::{Name, Variables};
use sign::{Keys, Purpose};
use types::{Arch, Bytes, Flavour};
use vm::{Change, Guest, Until};

/// What the firmware and the loader say of a program that they do not start.
const BY_FIRMWARE: &str = "failed to load Boot";
const BY_LOADER: &str = "Access denied";
/// The kernel's first line.
const KERNEL: &str = "Linux version";

/// A machine that is not as it should be.
struct Case {
    name: &'static str,
    changes: Vec<Change>,
    extra: Vec<String>,
    /// What the serial console must say.
    said: &'static str,
    /// Whether the kernel starts before that.
    kernel: bool,
}

fn options() -> Boot {
    Boot { with_ssh: false, ..Boot::of("secure-boot", Flavour::Kvm, Arch::Amd64) }
}

fn judge(cases: Vec<Case>) {
    let firmware = enrolled(&options());
    let mut checks = Checks::default();
    for Case { name, changes, extra, said, kernel } in cases {
        let booting = boot(Boot { firmware: firmware.clone(), changes, extra, ..options() });
        let limit = booting.limit(20);
        let mut guest = booting.guest;
        checks.answer(name, guest.wait_for(Until::Serial(said), limit));
        let started = guest.serial_lines().iter().any(|line| line.contains(KERNEL));
        checks.equal(&format!("{name}: whether the kernel starts"), started, kernel);
        guest.cut_power();
    }
    checks.finish();
}

#[test]
fn programs_without_the_owners_signature_are_refused() {
    let programs = Programs::of(&options());
    let folder = tempfile::tempdir().expect("a folder");
    let foreign = Keys::generate(&folder.path().join("foreign"), Purpose::Production, "someone else");
    let foreign = foreign.expect("keys of someone else");
    let (loader, uki) = (signed(&programs.loader, &keys()), signed(&programs.uki, &keys()));
    let ours = Programs { loader, uki, shim: None };
    let mut changed = ours.uki.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    let case = |name, programs: Programs, said, kernel| {
        let changes = vec![programs.on_disk(Arch::Amd64, &folder.path().join(name))];
        Case { name, changes, extra: Vec::new(), said, kernel }
    };
    let with_uki = |uki: &[u8]| Programs { uki: uki.to_vec(), ..ours.clone() };
    let with_loader = |loader: &[u8]| Programs { loader: loader.to_vec(), ..ours.clone() };
    judge(vec![
        case("our signatures", ours.clone(), "secureboot: Secure boot enabled", true),
        case("no signature", with_uki(&programs.uki), BY_LOADER, false),
        case("a signature of someone else", with_uki(&signed(&programs.uki, &foreign)), BY_LOADER, false),
        case("one byte changed", with_uki(&changed), BY_LOADER, false),
        case("an unsigned loader", with_loader(&programs.loader), BY_FIRMWARE, false),
        case("a loader of someone else", with_loader(&signed(&programs.loader, &foreign)), BY_FIRMWARE, false),
    ]);
}

#[test]
fn nothing_outside_of_what_is_signed_changes_the_start() {
    let image = described(&options().image);
    let block = |n: u64| Bytes(n * 4096);
    let damaged = |name, at, said| {
        let changes = vec![Change::Damage { label: "IMGA".to_owned(), at }];
        Case { name, changes, extra: Vec::new(), said, kernel: true }
    };
    let smbios = "type=11,value=io.systemd.stub.kernel-cmdline-extra=systemd.debug_shell";
    let (store, tree) = (Bytes(1024), image.data_blocks + 1);
    judge(vec![
        Case {
            name: "arguments by SMBIOS",
            changes: Vec::new(),
            extra: vec!["-smbios".to_owned(), smbios.to_owned()],
            said: "evek-init: kernel command line: it is not the one that is signed",
            kernel: true,
        },
        damaged("a byte of the store", store, "evek-init: cannot mount /dev/"),
        damaged("a byte of the verity tree", block(tree), "evek-init: cannot mount /dev/"),
        damaged("a byte of the verity superblock", block(tree - 1), "evek-init: /dev/"),
    ]);
}

#[test]
#[ignore = "long: make test-all"]
fn an_addon_counts_while_the_owner_has_the_firmware_know_who_has_signed_it() {
    let options = Boot { reboots: true, ..Boot::of("secure-boot-addon", Flavour::Kvm, Arch::Amd64) };
    let (programs, keys) = (Programs::of(&options), keys());
    let (loader, uki) = (signed(&programs.loader, &keys), signed(&programs.uki, &keys));
    let programs = Programs { loader, uki, shim: None };
    let (text, usual) = ("evek.debug systemd.debug_shell=ttyS0", arguments(&options.image));
    let addon = addon(&options, text, &keys);
    let folder = tempfile::tempdir().expect("a folder");
    let esp = programs.on_disk_with(Arch::Amd64, folder.path(), &[("loader/addons/debug.addon.efi", &addon)]);
    let booting = boot(secured(Boot { changes: vec![esp], ..options }));
    let limit = booting.limit(60);
    let mut guest = booting.guest;
    let mut checks = Checks::default();

    guest.wait_for(Until::Ssh, limit).unwrap_or_else(|e| panic!("{e}"));
    is_told(&mut guest, &mut checks, "before", &usual, "inactive");
    let said = guest.serial_lines_of(0).iter().any(|line| line.contains("debug addon"));
    checks.that("before: nothing is said of an addon", !said, "there is");

    // what `debug allow` and `debug forbid` say is to be done
    let write = |guest: &mut Guest, checks: &mut Checks, name: Name<'_>, write: Result<Vec<u8>, steps::Error>| {
        let write = write.unwrap_or_else(|e| panic!("{e}"));
        let variable = Variables::default().path(name);
        let variable = variable.display();
        let command = format!(
            "cat >/run/debug.auth; chattr -i {variable}; \
             {{ printf '\\147\\0\\0\\0'; cat /run/debug.auth; }} | dd of={variable} bs=1M iflag=fullblock conv=notrunc"
        );
        let written = guest.ssh_within(&command, &write, limit).unwrap_or_else(|e| panic!("{e}"));
        checks.that("the firmware takes the write", written.success(), &written.stderr);
    };
    write(&mut guest, &mut checks, Name::DB, steps::allowance(&keys));
    guest.restart("systemctl reboot", limit).unwrap_or_else(|e| panic!("{e}"));
    let line = "evek-init: debug addon debug.addon.efi, signed by CN=";
    checks.answer("the first stage says whose arguments it takes", guest.wait_for(Until::Serial(line), limit));
    guest.wait_for(Until::Ssh, limit).unwrap_or_else(|e| panic!("{e}"));
    is_told(&mut guest, &mut checks, "afterwards", &format!("{usual} {text}"), "active");
    let terminal = guest.sh("systemctl show -P TTYPath debug-shell.service");
    checks.equal("its terminal", terminal.unwrap_or_else(|e| e.to_string()), "/dev/ttyS0".to_owned());
    let others = guest.sh("findmnt -rno OPTIONS /sys/firmware/efi/efivars").unwrap_or_else(|e| e.to_string());
    checks.that("the firmware's variables can be written", others.starts_with("rw"), others);

    write(&mut guest, &mut checks, Name::DBX, steps::prohibition(&keys));
    guest.restart("systemctl reboot", limit).unwrap_or_else(|e| panic!("{e}"));
    guest.wait_for(Until::Ssh, limit).unwrap_or_else(|e| panic!("{e}"));
    is_told(&mut guest, &mut checks, "forbidden", &usual, "inactive");
    guest.cut_power();
    checks.finish();
}

/// The kernel's arguments, and whether there is a shell without a password.
fn is_told(guest: &mut Guest, checks: &mut Checks, when: &str, arguments: &str, shell: &str) {
    let found = guest.sh("cat /proc/cmdline").unwrap_or_else(|e| e.to_string());
    checks.equal(&format!("{when}: the kernel's arguments"), found.as_str(), arguments);
    if let Some(state) = checks.answer("the shell's state", guest.ssh("systemctl is-active debug-shell.service")) {
        checks.equal(&format!("{when}: the shell"), state.stdout.trim(), shell);
    }
}
