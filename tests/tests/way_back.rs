//! Broken state never takes a device away: each failure of docs/recovery.md leaves a way in.

use boot_tests::{Boot, Checks, boot, copy_disk, image, scratch, system};
use serde_json::Value;
use std::{fs, time::Duration};
use types::{Arch, Bytes, Flavour};
use vm::{Guest, Until};

const ARCH: Arch = Arch::Amd64;
/// The UUID of many boards of one vendor.
const SAMPLE: &str = "03000200-0400-0500-0006-000700080009";

fn up(guest: &mut Guest, limit: Duration) {
    guest.wait_for(Until::Ssh, limit).unwrap_or_else(|e| panic!("{e}"));
}

/// Waits for the end of the start, whatever has failed in it.
fn settled(guest: &mut Guest, checks: &mut Checks, limit: Duration) -> String {
    let state = guest.ssh_within("systemctl is-system-running --wait", &[], limit);
    checks.answer("the start comes to an end", state).map(|state| state.stdout.trim().to_owned()).unwrap_or_default()
}

fn answer_of(guest: &mut Guest, command: &str) -> String {
    guest.sh(command).unwrap_or_else(|e| e.to_string())
}

fn json(guest: &mut Guest, path: &str) -> Value {
    let text = answer_of(guest, &format!("cat {path}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}: {text}"))
}

/// Own services run, and the owner has the tools for a repair.
fn is_in_hand(guest: &mut Guest, checks: &mut Checks) {
    for service in ["containerd", "evek-time", "evek-ready.target"] {
        checks.equal(service, answer_of(guest, &format!("systemctl is-active {service} || true")), "active".to_owned());
    }
    checks.answer("update answers", guest.sh("update status"));
}

fn failed(guest: &mut Guest) -> String {
    answer_of(guest, "systemctl --failed --plain --no-legend | cut -d' ' -f1")
}

#[test]
fn neither_a_cut_off_host_key_nor_broken_partitions_keep_the_owner_out() {
    let extra = vec!["-uuid".to_owned(), SAMPLE.to_owned()];
    let booting = boot(Boot { reboots: true, extra, ..Boot::of("way-back", Flavour::Kvm, ARCH) });
    let limit = booting.limit(60);
    let mut guest = booting.guest;
    let mut checks = Checks::default();

    up(&mut guest, limit);
    system::system_is_up(&mut guest, &mut checks, ARCH, limit);
    let (id, name) = (answer_of(&mut guest, "cat /etc/machine-id"), answer_of(&mut guest, "uname -n"));
    checks.that("the id is not that of many boards", id.len() == 32 && id != SAMPLE.replace('-', ""), &id);
    checks.that("the name is the device's own", name.starts_with("evek-") && name.len() == 13, &name);
    checks.equal("systemd has the name", answer_of(&mut guest, "hostnamectl --transient hostname"), name.clone());
    let client = answer_of(&mut guest, "grep -h ^ClientIdentifier= /usr/lib/systemd/network/80-evek.network");
    checks.equal("DHCP servers know it by its card", client, "ClientIdentifier=mac".to_owned());

    // as a power cut in the first seconds of a device has left them
    let damage = "dd if=/dev/disk/evek/CONFIG of=/persist/config.img bs=1M && : > /persist/ssh/ssh_host_ed25519_key \
                  && dd if=/dev/zero of=/dev/disk/evek/CONFIG bs=1M count=1 conv=fsync && sync";
    checks.answer("host key and CONFIG are damaged", guest.sh(damage));
    guest.restart("systemctl reboot", limit).unwrap_or_else(|e| panic!("{e}"));
    up(&mut guest, limit);
    let state = settled(&mut guest, &mut checks, limit);
    checks.equal("how it is", state, "degraded".to_owned());
    is_in_hand(&mut guest, &mut checks);
    checks.equal("CONFIG", json(&mut guest, "/run/evek/config.json")["state"].clone(), "temporary".into());
    checks.equal("P3", json(&mut guest, "/run/evek/persist.json")["state"].clone(), "kept".into());
    checks.equal("what has failed", failed(&mut guest), "evek-state.service".to_owned());
    checks.answer("the host key is whole", guest.sh("ssh-keygen -y -f /persist/ssh/ssh_host_ed25519_key"));
    checks.equal("the machine-id is kept", answer_of(&mut guest, "cat /etc/machine-id"), id.clone());
    checks.equal("the name is kept", answer_of(&mut guest, "uname -n"), name);
    checks.equal(
        "yesterday's journal is there",
        answer_of(&mut guest, "journalctl --list-boots -q | wc -l"),
        "2".to_owned(),
    );

    // the owner writes CONFIG again, and then P3 is lost
    let repair = "dd if=/persist/config.img of=/dev/disk/evek/CONFIG bs=1M conv=fsync";
    checks.answer("CONFIG is written again", guest.sh(repair));
    checks.answer("P3 is overwritten", guest.sh("dd if=/dev/urandom of=/dev/disk/evek/P3 bs=1M count=200 conv=fsync"));
    // without unmounting, which would write a superblock
    guest.restart("systemctl reboot --force --force", limit).unwrap_or_else(|e| panic!("{e}"));
    up(&mut guest, limit);
    settled(&mut guest, &mut checks, limit);
    is_in_hand(&mut guest, &mut checks);
    let persist = json(&mut guest, "/run/evek/persist.json");
    checks.equal("P3", persist["state"].clone(), "temporary".into());
    checks.equal("its stand-in", answer_of(&mut guest, "findmnt -rno FSTYPE /persist"), "tmpfs".to_owned());
    checks.equal("CONFIG", json(&mut guest, "/run/evek/config.json")["state"].clone(), "kept".into());
    checks.equal("the machine-id outlives P3's content", answer_of(&mut guest, "cat /etc/machine-id"), id);
    let lines = guest.serial_lines_of(2).join("\n");
    checks.that("the console says it", lines.contains("P3 cannot be used"), lines);
    guest.cut_power();
    checks.finish();
}

/// The image once more, as another disk of a machine.
fn twin(name: &str, device: &[&str]) -> Vec<String> {
    let folder = scratch().join(name);
    fs::create_dir_all(&folder).expect("the machine's folder");
    let copy = copy_disk(&image(Flavour::Kvm, ARCH), &folder.join("twin.raw"));
    // QEMU's SD cards have such sizes only
    let size = copy.metadata().expect("its size").len().next_power_of_two();
    copy.set_len(size).expect("room");
    ["-drive", "if=none,id=twin,format=raw,file=/vm/machine/twin.raw"]
        .iter()
        .chain(device)
        .map(|arg| (*arg).to_owned())
        .collect()
}

#[test]
#[ignore = "long: make test-all"]
fn of_two_disks_with_one_image_the_one_is_used_that_the_firmware_has_started() {
    // by its name it comes first, and its CONFIG has no key
    let name = "way-back-two-disks";
    let extra = twin(name, &["-device", "nvme,drive=twin,serial=twin"]);
    let booting = boot(Boot { extra, ..Boot::of(name, Flavour::Kvm, ARCH) });
    let limit = booting.limit(60);
    let mut guest = booting.guest;
    let mut checks = Checks::default();
    up(&mut guest, limit);
    system::system_is_up(&mut guest, &mut checks, ARCH, limit);
    let slot = json(&mut guest, "/run/evek/slot.json");
    checks.equal("the disk of the slot", slot["disk"].clone(), "/dev/vda".into());
    checks.equal("nothing is left to chance", slot["ambiguous_with"].clone(), serde_json::json!([]));
    // systemd-repart takes the first number that is free, whatever the layout says
    for (link, expected) in [("disk", "/dev/vda"), ("CONFIG", "/dev/vda4"), ("IMGB", "/dev/vda3"), ("P3", "/dev/vda5")]
    {
        let found = answer_of(&mut guest, &format!("readlink -f /dev/disk/evek/{link}"));
        checks.equal(link, found, expected.to_owned());
    }
    let made = answer_of(&mut guest, "ls /dev/nvme0n1p9 2>/dev/null | wc -l");
    checks.equal("nothing was made on the other disk", made, "0".to_owned());
    guest.cut_power();
    checks.finish();
}

#[test]
#[ignore = "long: make test-all"]
fn a_disk_that_is_too_small_says_so_and_lets_its_owner_in() {
    let mut checks = Checks::default();
    for (name, size, is_kept, links) in [
        ("way-back-own-size", None, false, "CONFIG EFI IMGA disk"),
        ("way-back-without-imgb", Some(Bytes::mib(13 * 1024 + 512)), true, "CONFIG EFI IMGA P3 disk"),
        ("way-back-16-gb", Some(Bytes(16_000_000_000)), true, "CONFIG EFI IMGA IMGB P3 disk"),
    ] {
        let booting = boot(Boot { disk_size: size, ..Boot::of(name, Flavour::Kvm, ARCH) });
        let limit = booting.limit(60);
        let mut guest = booting.guest;
        up(&mut guest, limit);
        settled(&mut guest, &mut checks, limit);
        is_in_hand(&mut guest, &mut checks);
        checks.equal(name, answer_of(&mut guest, "ls /dev/disk/evek | xargs echo"), links.to_owned());
        let persist = json(&mut guest, "/run/evek/persist.json");
        let state = if is_kept { "kept" } else { "temporary" };
        checks.equal(&format!("{name}: P3"), persist["state"].clone(), state.into());
        if !is_kept {
            let reason = persist["reason"].as_str().unwrap_or_default().to_owned();
            checks.that("the needed size is named", reason.contains("needs 14.1 GiB or more"), &reason);
        }
        guest.cut_power();
    }
    checks.finish();
}

#[test]
#[ignore = "long: make test-all"]
fn the_first_stage_finds_its_disk_behind_every_controller_that_firmware_starts_from() {
    let mut checks = Checks::default();
    for (name, device) in [
        ("way-back-mptsas", &["-device", "mptsas1068,id=s", "-device", "scsi-hd,drive=twin,bus=s.0,bootindex=0"][..]),
        ("way-back-lsi", &["-device", "lsi53c895a,id=s", "-device", "scsi-hd,drive=twin,bus=s.0,bootindex=0"]),
        ("way-back-ehci", &["-device", "usb-ehci,id=e", "-device", "usb-storage,drive=twin,bus=e.0,bootindex=0"]),
        ("way-back-sd", &["-device", "sdhci-pci", "-device", "sd-card,drive=twin"]),
    ] {
        let booting = boot(Boot { extra: twin(name, device), ..Boot::of(name, Flavour::Kvm, ARCH) });
        let limit = booting.limit(60);
        let mut guest = booting.guest;
        let found = guest.wait_for(Until::Serial("evek-init: slot IMGA is "), limit);
        let lines = guest.serial_lines();
        let line = lines.iter().find(|line| line.contains("evek-init: slot IMGA is ")).cloned().unwrap_or_default();
        checks.answer(name, found);
        // firmware starts no SD card before another disk here: there it is enough that the kernel has found the card
        if name == "way-back-sd" {
            up(&mut guest, limit);
            let card =
                guest.sh("ls /dev/mmcblk0p2 && dmesg | grep -n 'mmcblk0\\|evek-init: slot' | head -1 | grep mmcblk0");
            checks.answer("the card was there before the slot was chosen", card);
        } else {
            checks.that(name, line.contains("/dev/sda2"), line);
        }
        guest.cut_power();
    }
    checks.finish();
}
