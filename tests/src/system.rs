//! What every flavour's system is, whatever runs on it.

use crate::{Checks, described};
use boot::measure::Register;
use serde_json::Value;
use std::{path::Path, time::Duration};
use types::{Arch, Digest};
use vm::Guest;

/// File systems of the kernel's own, which keep nothing on a disk.
const WITHOUT_DISK: [&str; 20] = [
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
    "selinuxfs",
    "sysfs",
    "tracefs",
    "xenfs",
];

/// It has come up, with every unit, and is what it was built for.
pub fn system_is_up(guest: &mut Guest, checks: &mut Checks, arch: Arch, limit: Duration) {
    // it waits for the end of the start, and fails when a unit has failed; which one is asked next
    let state = guest.ssh_within("systemctl is-system-running --wait", &[], limit);
    if let Some(state) = checks.answer("the start comes to an end", state) {
        checks.equal("the system is running", state.stdout.trim(), "running");
    }
    if let Some(failed) = checks.answer("failed units", guest.sh("systemctl --failed --plain --no-legend")) {
        checks.that("no unit has failed", failed.is_empty(), failed);
    }
    checks.equal("its architecture", guest.sh("uname -m").unwrap_or_else(|e| e.to_string()), arch.machine().to_owned());
}

/// The firmware starts programs of the owner only, and nothing that it has not checked has changed the kernel's arguments or
/// can change the kernel.
pub fn start_was_secure(guest: &mut Guest, checks: &mut Checks, arguments: &str) {
    // not asked of the firmware: that would enter its system management mode while guests of the guest run
    let state = guest.sh("journalctl -k -b -o cat --no-pager --grep '^secureboot: '");
    if let Some(state) = checks.answer("what the kernel says of Secure Boot", state) {
        checks.equal("Secure Boot is on", state.as_str(), "secureboot: Secure boot enabled");
    }
    if let Some(state) = checks.answer("the kernel's lockdown", guest.sh("cat /sys/kernel/security/lockdown")) {
        checks.that("the kernel is locked down", state.contains("[integrity]"), &state);
    }
    let signed = guest.sh("cat /sys/module/module/parameters/sig_enforce");
    if let Some(signed) = checks.answer("the kernel's rule for modules", signed) {
        checks.equal("modules must be signed", signed.as_str(), "Y");
    }
    if let Some(found) = checks.answer("the kernel's arguments", guest.sh("cat /proc/cmdline")) {
        // on x86, Xen puts its name of the kernel first
        let found = found.strip_prefix("kernel ").unwrap_or(&found);
        checks.equal("the kernel's arguments are those that are signed", found, arguments);
    }
}

/// The TPM's registers hold the measurements that the image's description predicts for the kernel image, and that of CONFIG.
pub fn start_was_measured(guest: &mut Guest, checks: &mut Checks, image: &Path) {
    if let Some(found) = checks.answer("register 11", register(guest, 11)) {
        let predicted = described(image).measurements.get("pcr11-ready").map(Digest::hex);
        checks.equal("register 11 is as predicted", Some(found), predicted);
    }
    config_was_measured(guest, checks);
}

/// The TPM's register 14 holds the measurement of CONFIG's files.
pub fn config_was_measured(guest: &mut Guest, checks: &mut Checks) {
    // as the documentation says that anyone can do it
    let list =
        "cd /config && LC_ALL=C find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum";
    let (list, found) = (guest.sh(list), register(guest, 14));
    if let (Some(list), Some(found)) = (checks.answer("CONFIG's files", list), checks.answer("register 14", found)) {
        let event = format!("config:{}", list.split(' ').next().unwrap_or_default());
        let expected = Register::default().extended(event.as_bytes()).value().hex();
        checks.equal("register 14 is CONFIG", found, expected);
    }
}

/// The value of a register of the TPM (SHA-256 bank).
fn register(guest: &mut Guest, number: u32) -> Result<String, vm::Error> {
    Ok(guest.sh(&format!("cat /sys/class/tpm/tpm0/pcr-sha256/{number}"))?.to_lowercase())
}

/// What `vault status` says of P3.
///
/// # Panics
/// When the guest gives no answer.
pub fn vault(guest: &mut Guest) -> Value {
    let text = guest.sh("vault status --json").unwrap_or_else(|e| panic!("{e}"));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// P3 is sealed to this machine, and to the owner's images where those are measured, and the TPM has opened it.
pub fn state_is_sealed(guest: &mut Guest, checks: &mut Checks, to_images: bool) {
    let vault = vault(guest);
    for (field, expected) in
        [("state", "sealed".into()), ("opened_by", "tpm".into()), ("image_policy", to_images.into())]
    {
        checks.equal(&format!("P3: {field}"), vault[field].clone(), expected);
    }
    let kind = guest.sh("blkid -p -s TYPE -o value /dev/disk/evek/P3");
    checks.equal("what P3 is", kind.unwrap_or_else(|e| e.to_string()), "crypto_LUKS".to_owned());
}

/// The root is the slot of `image.json`, through dm-verity, and nothing can be written to it.
pub fn slot_is_verified_and_read_only(guest: &mut Guest, checks: &mut Checks, image: &Path) {
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
    let path = image.join("image.json");
    let described = std::fs::read(&path).map_err(|e| e.to_string());
    let described =
        described.and_then(|text| serde_json::from_slice(&text).map_err(|e: serde_json::Error| e.to_string()));
    let described: Option<serde_json::Value> = checks.answer("image.json", described);
    let hash = described.and_then(|d| d["root_hash"].as_str().map(|h| h.trim_start_matches("sha256:").to_owned()));
    if let (Some(hash), Some(table)) = (hash, checks.answer("the verity table", guest.sh("dmsetup table evek-store"))) {
        checks.that("the slot is the one of image.json", table.contains(&hash), format!("{table}, expected {hash}"));
    }
}

/// Nothing but P3 keeps what is written.
pub fn state_is_on_p3_only(guest: &mut Guest, checks: &mut Checks) {
    // the vault's device, whether it encrypts or not
    let p3 = "/dev/mapper/persist";
    let on = guest.sh(
        "test $(basename $(readlink -f /dev/disk/evek/P3)) = $(dmsetup deps -o devname persist | sed 's/.*(//; s/)//')",
    );
    checks.answer("what is mounted lies on P3", on);
    let Some(mounts) = checks.answer("mounts", guest.sh("findmnt -rno TARGET,SOURCE,FSTYPE,OPTIONS")) else { return };
    let writable = mounts.lines().filter_map(|line| {
        let [target, source, kind, options] = line.split(' ').collect::<Vec<_>>()[..] else { return Some(line) };
        let volatile = WITHOUT_DISK.contains(&kind) || ["tmpfs", "ramfs"].contains(&kind);
        // a bind of a folder of P3 is shown as `/dev/mapper/persist[/log]`
        let on_p3 = source.split('[').next() == Some(p3);
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

/// Nobody gets in by a password.
pub fn ssh_takes_keys_only(guest: &mut Guest, checks: &mut Checks) {
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
