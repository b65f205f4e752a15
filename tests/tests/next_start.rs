//! The next start of a device on which something was damaged or used up: it is up again, with all that its owner needs.
//!
//! Each case restores the same saved machine, so none of them suffers from another.

use boot_tests::{Booting, Checks, all_ready, device, restored, system};
use serde_json::Value;
use types::Arch;
use vm::Until;

const ARCH: Arch = Arch::Amd64;
/// Where a containerd with its state on P3 keeps its index: the one of Kubernetes, and that of services in earlier images.
const METADATA: &str = "/persist/containerd/io.containerd.metadata.v1.bolt/meta.db";
/// Where the snapshotter of such a containerd keeps its list.
const SNAPSHOTS: &str = "/persist/stored/snapshots.json";
/// Takes every byte of P3. Some file systems give the last blocks only in small pieces.
const FILL: &str = "fallocate -l $(df --output=avail -B1 /persist | tail -n 1) /persist/fill; \
                    dd if=/dev/zero of=/persist/rest bs=4k status=none; sync; test $(df --output=avail -B1 /persist | tail -n 1) -lt 65536";

/// Something that happens to a device.
struct Case {
    /// What happens.
    what: &'static str,
    /// How; the device is restarted after that.
    damage: String,
    /// What must hold afterwards beside that it is up.
    afterwards: fn(&mut Booting, &mut Checks),
    /// Whether P3 keeps the journal of this start.
    keeps_journal: bool,
}

fn cases() -> Vec<Case> {
    let nothing = |_: &mut Booting, _: &mut Checks| {};
    let case = |what, damage: &str| Case { what, damage: damage.to_owned(), afterwards: nothing, keeps_journal: true };
    vec![
        Case {
            afterwards: host_key_is_whole,
            ..case("the host key of ssh is empty", ": > /persist/ssh/ssh_host_ed25519_key; sync")
        },
        Case { afterwards: room_can_be_made, keeps_journal: false, ..case("P3 is full", FILL) },
        case("containerd's metadata is overwritten", &overwrite(METADATA)),
        case("the list of snapshots is overwritten", &overwrite(SNAPSHOTS)),
        // the firmware of these machines has no UUID to make one of
        case("nothing", "true"),
    ]
}

/// Random bytes in a file. `indexes.rs` does the same to the files that services use, which are not on P3.
fn overwrite(file: &str) -> String {
    format!(
        "mkdir -p $(dirname {file}) && dd if=/dev/urandom of={file} bs=4096 count=8 conv=notrunc status=none && sync"
    )
}

#[test]
#[ignore = "long: make test-all"]
fn a_device_is_up_again_after_each_kind_of_damage_to_p3() {
    let mut checks = Checks::default();
    for case in cases() {
        let what = case.what;
        let mut booting = restored(device("next-start", ARCH));
        let limit = booting.limit(60);
        let before = identity(&mut booting);
        let damaged = booting.guest.ssh_within(&case.damage, &[], limit);
        let damaged = checks.answer(&format!("{what}: the damage"), damaged);
        checks.that(&format!("{what}: the damage is done"), damaged.is_some_and(|d| d.success()), "it is not");
        // as after a power cut: a clean end could repair what is in memory
        let restarted = booting.guest.restart("systemctl reboot --force --force", limit);
        checks.answer(&format!("{what}: it restarts"), restarted);
        if checks.answer(&format!("{what}: ssh answers"), booting.guest.wait_for(Until::Ssh, limit)).is_none() {
            continue;
        }
        system::system_is_up(&mut booting.guest, &mut checks, ARCH, limit);
        let status = booting.guest.sh("svc status --json");
        if let Some(status) = checks.answer(&format!("{what}: svc status"), status) {
            checks.answer(&format!("{what}: services"), all_ready(&status, &["time", "vmm"]));
        }
        let update = booting.guest.sh("update status --json").unwrap_or_else(|e| e.to_string());
        let update: Value = serde_json::from_str(&update).unwrap_or(Value::String(update));
        checks.that(&format!("{what}: update status"), update["slots"].is_array(), &update);
        checks.equal(&format!("{what}: its machine-id"), identity(&mut booting), before);
        if case.keeps_journal {
            let boots = booting.guest.sh("journalctl --list-boots --no-pager -q | wc -l");
            checks.equal(
                &format!("{what}: starts in the journal"),
                boots.unwrap_or_else(|e| e.to_string()),
                "2".into(),
            );
        }
        (case.afterwards)(&mut booting, &mut checks);
        booting.guest.cut_power();
    }
    checks.finish();
}

fn identity(booting: &mut Booting) -> String {
    booting.guest.sh("cat /etc/machine-id").unwrap_or_else(|e| e.to_string())
}

fn host_key_is_whole(booting: &mut Booting, checks: &mut Checks) {
    let fingerprint = booting.guest.sh("ssh-keygen -l -f /persist/ssh/ssh_host_ed25519_key");
    let fingerprint = fingerprint.unwrap_or_else(|e| e.to_string());
    checks.that("there is a host key again", fingerprint.contains("ED25519"), fingerprint);
}

fn room_can_be_made(booting: &mut Booting, checks: &mut Checks) {
    checks.answer("what fills P3 can be removed", booting.guest.sh("rm /persist/fill /persist/rest && sync"));
    checks.answer("and P3 is written again", booting.guest.sh("echo kept >/persist/mark && sync"));
}
