//! What is a mere index is made anew, and what runs is the image's: containerd's metadata, the snapshotter's list, foreign
//! layers, a state partition without room.

use boot_tests::{Booting, Checks, device, restored};
use std::time::Duration;
use types::Arch;
use vm::{Guest, Until};

/// The metadata of the services' containerd.
const METADATA: &str = "/run/evek/containerd/io.containerd.metadata.v1.bolt/meta.db";
/// Snapshots by containerd's names.
const SNAPSHOTS: &str = "ctr -n services snapshots --snapshotter stored";

#[test]
fn services_come_back_after_damage_of_every_index_and_never_run_from_a_foreign_layer() {
    let booting = restored(device("indexes", Arch::Amd64));
    let limit = booting.limit(60);
    let Booting { mut guest, .. } = booting;
    let mut checks = Checks::default();
    services_are_ready(&mut guest, &mut checks, "after the start", limit);
    damaged_metadata_begins_anew(&mut guest, &mut checks, limit);
    damaged_list_begins_anew(&mut guest, &mut checks, limit);
    foreign_layer_is_refused(&mut guest, &mut checks, limit);
    full_partition_with_damaged_indexes(&mut guest, &mut checks, limit);
    checks.finish();
}

/// A command that may take long; its output.
fn long(guest: &mut Guest, checks: &mut Checks, what: &str, command: &str, limit: Duration) -> Option<String> {
    let output = checks.answer(what, guest.ssh_within(command, &[], limit))?;
    checks.that(what, output.success(), format!("{}\n{}", output.stdout, output.stderr));
    Some(output.stdout)
}

/// Does something after which services start anew, and waits until they have.
fn services_start_anew(guest: &mut Guest, checks: &mut Checks, what: &str, action: &str, limit: Duration) {
    let seconds = limit.as_secs();
    let command = format!(
        "c=$(journalctl -n 0 --show-cursor -q | sed 's/^-- cursor: //') && {action} && for s in time vmm; do \
         timeout {seconds} journalctl -f -n all --after-cursor=\"$c\" -o cat -u evek-$s | \
         grep -m 1 -F 'started as process' || exit 1; done"
    );
    long(guest, checks, what, &command, limit * 2);
    services_are_ready(guest, checks, &format!("after this: {what}"), limit);
}

fn services_are_ready(guest: &mut Guest, checks: &mut Checks, when: &str, limit: Duration) {
    let what = format!("services start {when}");
    long(guest, checks, &what, "systemctl start evek-ready.target evek-time.service evek-vmm.service", limit);
    if let Some(status) = checks.answer("svc status", guest.sh("svc status --json")) {
        checks.answer(&format!("services are ready {when}"), boot_tests::all_ready(&status, &["time", "vmm"]));
    }
}

fn said(guest: &mut Guest, checks: &mut Checks, unit: &str, words: &str) {
    let log = guest.sh(&format!("journalctl -b -u {unit} -o cat --no-pager"));
    if let Some(log) = checks.answer("journal", log) {
        checks.that(&format!("{unit} says: {words}"), log.contains(words), &log);
    }
}

fn damaged_metadata_begins_anew(guest: &mut Guest, checks: &mut Checks, limit: Duration) {
    let damage = format!(
        "systemctl stop containerd && dd if=/dev/urandom of={METADATA} bs=4096 count=8 conv=notrunc && \
         systemctl start containerd"
    );
    services_start_anew(guest, checks, "containerd starts with damaged metadata", &damage, limit);
    said(guest, checks, "containerd", "meta.db is damaged: no meta page is valid; it is made anew");
    said(guest, checks, "containerd", "kept as /run/evek/containerd/damaged/meta.db");
}

fn damaged_list_begins_anew(guest: &mut Guest, checks: &mut Checks, limit: Duration) {
    let damage = "systemctl stop containerd stored && echo '{\"next\":' > /run/evek/snapshots/snapshots.json && \
                  systemctl start containerd";
    services_start_anew(guest, checks, "containerd starts with a damaged list of snapshots", damage, limit);
    said(guest, checks, "stored", "snapshots.json is damaged");
    said(guest, checks, "containerd", "the list of snapshots that it names was lost");
}

fn foreign_layer_is_refused(guest: &mut Guest, checks: &mut Checks, limit: Duration) {
    let parent = |guest: &mut Guest, key: &str| {
        guest.sh(&format!("{SNAPSHOTS} info {key} | sed -n 's/.*\"Parent\": \"\\(.*\\)\".*/\\1/p'"))
    };
    let Some(top) = checks.answer("the top layer", parent(guest, "time")) else { return };
    let Some(below) = checks.answer("the layer below", parent(guest, &top)) else { return };
    checks.that("the service has two layers at least", below.starts_with("sha256:"), &below);
    let plant = format!(
        "systemctl stop evek-time && {SNAPSHOTS} rm {top} && {SNAPSHOTS} prepare foreign {below} && \
         {SNAPSHOTS} commit {top} foreign && systemctl start --no-block evek-time"
    );
    long(guest, checks, "planting a layer", &plant, limit);
    let words = "time: its root consists of /run/evek/snapshots/";
    let seconds = limit.as_secs();
    let seen = format!("timeout {seconds} journalctl -f -n 50 -o cat -u evek-time | grep -m 1 -F '{words}'");
    long(guest, checks, "the service is refused", &seen, limit + Duration::from_secs(10));
    let running = guest.sh("svc status --json");
    if let Some(status) = checks.answer("svc status", running) {
        let refused = boot_tests::all_ready(&status, &["time"]).is_err_and(|e| e.contains("time"));
        checks.that("it does not run", refused, &status);
    }
    long(guest, checks, "registering again", "systemctl restart stored-register", limit);
    said(guest, checks, "stored-register", "the foreign snapshots are removed");
    services_are_ready(guest, checks, "after registering again", limit);
}

fn full_partition_with_damaged_indexes(guest: &mut Guest, checks: &mut Checks, limit: Duration) {
    // what an image with its state on P3 leaves behind, damaged; and no room, not even for the clock's folder
    let fill = "mkdir -p /persist/containerd/io.containerd.metadata.v1.bolt /persist/stored && \
                head -c 65536 /dev/urandom > /persist/containerd/io.containerd.metadata.v1.bolt/meta.db && \
                echo damaged > /persist/stored/snapshots.json && \
                systemctl stop evek-time && rm -r /persist/time && \
                fallocate -l $(df --output=avail -B1 /persist | tail -n 1) /persist/fill; \
                dd if=/dev/zero of=/persist/rest bs=4k; sync; mkdir /persist/time";
    if let Some(filled) = checks.answer("filling P3", guest.ssh_within(fill, &[], limit)) {
        checks.that("P3 is full", filled.stderr.contains("mkdir: cannot create directory"), &filled.stderr);
    }
    if checks.answer("restarting", guest.restart("systemctl reboot", limit)).is_none() {
        return;
    }
    if checks.answer("ssh after the restart", guest.wait_for(Until::Ssh, limit)).is_none() {
        return;
    }
    services_are_ready(guest, checks, "on a full P3", limit);
    if let Some(status) = checks.answer("svc status", guest.sh("svc status")) {
        checks.that("the status says what is not kept", status.contains("in memory only, see its log"), &status);
    }
}
