//! A machine that was saved and restored is the one that was booted, and each restored one is a machine of its own.

use boot_tests::{Booting, Checks, Facts, all_ready, device, restored, web::Web};
use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};
use types::Arch;
use vm::Guest;

/// Seconds by which the clocks of a guest and of its host may differ, on an emulated processor.
const SKEW: u64 = 20;

fn start(name: &'static str) -> Booting {
    restored(device(name, Arch::Amd64))
}

#[test]
fn a_restored_machine_is_the_booted_one_with_the_clock_of_now() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("word"), "from the host").expect("a file");
    let web = Web::serve(folder.path());
    let mut checks = Checks::default();
    let mut one = start("saved");
    let noted = Facts::noted(&one);
    let now = Facts::of(&mut one.guest);
    if let Some(now) = checks.answer("what it is now", now) {
        checks.equal("the boot", &now.boot_id, &noted.boot_id);
        checks.equal("the TPM's registers", &now.registers, &noted.registers);
        checks.that("there are registers", noted.registers.lines().count() >= 24, &noted.registers);
        checks.equal("what runs, and since when", &now.services, &noted.services);
        checks.that("something runs", noted.services.contains("containerd.service"), &noted.services);
    }
    clock_is_right(&mut one, &mut checks);
    if let Some(status) = checks.answer("svc status", one.guest.sh("svc status --json")) {
        checks.answer("every service is ready", all_ready(&status, &["time", "vmm"]));
    }
    // the device has no other program that fetches something
    let address = web.address("");
    let port = address.rsplit(':').next().unwrap_or_default().trim_end_matches('/').to_owned();
    let fetch = format!(
        "bash -c 'exec 3<>/dev/tcp/10.0.2.2/{port}; printf \"GET /word HTTP/1.0\\r\\n\\r\\n\" >&3; tail -n 1 <&3'"
    );
    let fetched = one.guest.sh(&fetch).unwrap_or_else(|e| e.to_string());
    checks.equal("the network", fetched, "from the host".to_owned());
    let vault = one.guest.sh("dd if=/dev/disk/evek/P3 bs=4k count=1 status=none | wc -c && cryptsetup status persist");
    checks.answer("P3 is open, and its disk reads", vault);
    each_is_its_own(&mut one, &mut checks);
    checks.finish();
}

fn clock_is_right(booting: &mut Booting, checks: &mut Checks) {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let before = now();
    let Some(clock) = checks.answer("the clock", booting.guest.sh("date +%s")) else { return };
    let clock = clock.parse().unwrap_or(0);
    let right = (before.saturating_sub(SKEW)..=now() + SKEW).contains(&clock);
    checks.that("the clock is the host's", right, format!("{clock}, on the host it was {before} before"));
}

/// A variable of the firmware, which the kernel lets a device write.
const VARIABLE: &str = "/sys/firmware/efi/efivars/EvekTest-0c9f4f6a-6f0e-4a5c-9f6e-5d1c2b3a4e5f";

/// What one writes to disk, memory and firmware, another does not have; both run at the same time.
fn each_is_its_own(one: &mut Booting, checks: &mut Checks) {
    let mut other = start("saved-other");
    let write = format!(
        "echo disk >/persist/mark && echo memory >/run/mark && sync && printf '\\007\\0\\0\\0firmware' >{VARIABLE}"
    );
    checks.answer("one writes", one.guest.sh(&write));
    let look = format!("cat /persist/mark /run/mark {VARIABLE} 2>/dev/null | tr -d '\\000\\007'; true");
    let look = |guest: &mut Guest| guest.sh(&look).unwrap_or_else(|e| e.to_string());
    checks.equal("one has it", look(&mut one.guest), "disk\nmemory\nfirmware".to_owned());
    checks.equal("the other has nothing of it", look(&mut other.guest), String::new());
    let facts = (Facts::of(&mut one.guest), Facts::of(&mut other.guest));
    if let (Some(one), Some(other)) = (checks.answer("one", facts.0), checks.answer("other", facts.1)) {
        checks.equal("both are of one boot", one.boot_id, other.boot_id);
    }
    drop(other);
    let third = look(&mut start("saved-third").guest);
    checks.equal("nor does one that is restored later", third, String::new());
}
