//! An image that begins with shim starts on firmware as it is sold, once somebody has enrolled the owner's certificate.

use boot_tests::{
    Boot, Checks, Copy, boot,
    secure_boot::{Programs, arguments, keys, signed},
    system,
    updates::{Loader, Variant},
    web::Web,
};
use serde_json::Value;
use std::{fs, path::PathBuf, time::Duration};
use types::{Arch, Flavour};
use vm::{Firmware, Guest, Network, Until, Variables};

const ARCH: Arch = Arch::Amd64;
/// Keys of a terminal.
const DOWN: &str = "\x1b[B";
const ENTER: &str = "\r";

/// A checkout whose image begins with shim.
struct Shimmed {
    copy: Copy,
    image: PathBuf,
}

impl Shimmed {
    fn new() -> Self {
        let copy = Copy::new();
        copy.change("images/live.yml", "enroll_keys: if-safe\n", "enroll_keys: off\nshim: true\n");
        copy.xtask(&["image", "--hv", "kvm"]).must(0, &[]);
        let image = copy.path().join("dist").join(ARCH.as_str()).join("current");
        Self { copy, image }
    }

    /// A machine as it is sold.
    fn machine(&self, name: &'static str) -> Boot {
        let firmware = Firmware::SecureBoot(Variables::Microsoft);
        let image = self.image.clone();
        Boot { image, firmware, tpm: true, reboots: true, ..Boot::of(name, Flavour::Kvm, ARCH) }
    }
}

fn waits(guest: &mut Guest, until: Until<'_>, limit: Duration) {
    guest.wait_for(until, limit).unwrap_or_else(|e| panic!("{e}"));
}

/// What docs/secure-boot.md says is to be done at the machine, until it restarts.
fn enroll(guest: &mut Guest, limit: Duration) {
    for (text, keys) in [
        ("Security Violation", ENTER.to_owned()),
        ("Press any key to perform MOK management", ENTER.to_owned()),
        ("Enroll hash from disk", [DOWN, ENTER].concat()),
        // the volumes, the one of the programs first
        (" EFI ", ENTER.to_owned()),
        // behind one folder, and before another
        ("loader/", [DOWN, ENTER].concat()),
        ("View key 0", [DOWN, ENTER].concat()),
        ("Enroll the key(s)?", [DOWN, ENTER].concat()),
        ("Reboot", ENTER.to_owned()),
    ] {
        waits(guest, Until::Serial(text), limit);
        guest.presses(&keys).unwrap_or_else(|e| panic!("{e}"));
    }
    waits(guest, Until::Restarts(1), limit);
}

fn up(guest: &mut Guest, checks: &mut Checks, limit: Duration) {
    waits(guest, Until::Ssh, limit);
    system::system_is_up(guest, checks, ARCH, limit);
    system::state_is_sealed(guest, checks, true);
}

#[test]
#[ignore = "long: make test-all"]
fn an_image_starts_behind_shim_once_the_owners_certificate_is_enrolled() {
    let shimmed = Shimmed::new();
    let image = shimmed.image.display().to_string();
    let mut checks = Checks::default();
    let verified = shimmed.copy.xtask(&["verify", &image]);
    checks.equal("it is whole and signed", verified.code, 0);
    for said in ["shim: for amd64, signed by CN=Microsoft Windows UEFI Driver Publisher", "owner's certificate: CN="] {
        checks.that(said, verified.stdout.contains(&format!("✓ {said}")), &verified.stdout);
    }

    let booting = boot(shimmed.machine("shim"));
    let limit = booting.limit(60);
    let mut guest = booting.guest;
    enroll(&mut guest, limit);
    up(&mut guest, &mut checks, limit);
    system::start_was_secure(&mut guest, &mut checks, &arguments(&shimmed.image));
    // shim's list of certificates is in the register of CONFIG, too
    let change =
        "mount -o remount,rw /config && echo changed > /config/note && mount -o remount,ro /config && vault seal";
    checks.answer("P3 is sealed to another CONFIG", guest.sh(change));
    guest.restart("systemctl reboot", limit).unwrap_or_else(|e| panic!("{e}"));
    up(&mut guest, &mut checks, limit);
    let variables = guest.dir().join("variables.fd");
    guest.cut_power();
    let enrolled = tempfile::NamedTempFile::new().expect("a file");
    fs::copy(variables, enrolled.path()).expect("the firmware's variables");

    let options = shimmed.machine("shim-refuses");
    let programs = Programs::of(&options);
    let mut changed = signed(&programs.uki, &keys());
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Programs { loader: signed(&programs.loader, &keys()), uki: changed, ..programs };
    let firmware = Firmware::SecureBoot(Variables::Left(enrolled.path().to_owned()));
    let changes = vec![disk.on_disk(ARCH, folder.path())];
    let mut guest = boot(Boot { firmware, changes, with_ssh: false, reboots: false, ..options }).guest;
    checks.answer("one byte changed", guest.wait_for(Until::Serial("Security Violation"), limit));
    let started = guest.serial_lines().iter().any(|line| line.contains("Linux version"));
    checks.that("the kernel does not start", !started, "it does");
    guest.cut_power();
    checks.finish();
}

/// The boot loader's trial, and the digests of the programs that the firmware starts, that shim does, and of the second.
fn loaders(guest: &mut Guest) -> (Value, Vec<String>) {
    let look = "mkdir -p /run/esp && mount -o ro /dev/disk/evek/EFI /run/esp && cd /run/esp/EFI \
        && sha256sum BOOT/BOOTX64.EFI BOOT/grubx64.efi evek/BOOTX64.EFI; cd / && umount /run/esp";
    let found = guest.sh(look).unwrap_or_else(|e| panic!("{e}"));
    let digests = found.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned()));
    let status = guest.sh("update status --json").unwrap_or_else(|e| panic!("{e}"));
    let status: Value = serde_json::from_str(&status).unwrap_or_else(|e| panic!("{e}: {status}"));
    (status["loader"].clone(), digests.collect())
}

#[test]
#[ignore = "long: make test-all"]
fn a_new_boot_loader_has_its_trial_behind_shim() {
    let shimmed = Shimmed::new();
    let folder = tempfile::tempdir().expect("a folder");
    Variant { loader: Loader::Other, ..Variant::of("0.2.0") }.publish_ours(&shimmed.image, folder.path());
    let web = Web::serve(folder.path());
    let network = Network::User { forwards: Vec::new() };
    let booting = boot(Boot { network, ..shimmed.machine("shim-update") });
    let limit = booting.limit(60);
    let mut guest = booting.guest;
    let mut checks = Checks::default();
    enroll(&mut guest, limit);
    up(&mut guest, &mut checks, limit);
    let apply = format!("update apply {}", web.address(""));
    let applied = guest.ssh_within(&apply, &[], limit).unwrap_or_else(|e| panic!("{e}"));
    assert!(applied.success(), "{}", applied.stderr);
    let restart = |guest: &mut Guest, checks: &mut Checks| {
        guest.restart("systemctl reboot", limit).unwrap_or_else(|e| panic!("{e}"));
        up(guest, checks, limit);
        loaders(guest)
    };
    let (trial, before) = restart(&mut guest, &mut checks);
    checks.equal("a new one is on trial", trial["state"].clone(), "trial".into());
    let (trial, after) = restart(&mut guest, &mut checks);
    checks.equal("the trial is over", trial, Value::Null);
    checks.equal("shim stays", &after[0], &before[0]);
    checks.equal("shim starts the new one", &after[1], &before[2]);
    checks.equal("its predecessor is the second", &after[2], &before[1]);
    guest.cut_power();
    checks.finish();
}
