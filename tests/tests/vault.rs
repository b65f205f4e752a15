//! The TPM opens P3 on the owner's device, with the owner's images and CONFIG. Otherwise the recovery key opens it for one start,
//! and a P3 that is not the owner's is refused.

use boot_tests::{Boot, Checks, boot, device, restored, scratch, system};
use disk::fat;
use std::{fs, path::Path, time::Duration};
use tree::{Entry, Tree, TreePath};
use types::{Arch, Bytes};
use vm::{Guest, State, Until};

const ARCH: Arch = Arch::Amd64;

/// With a port for a stick of one file. The stick is not plugged in.
fn with_stick(device: Boot) -> Boot {
    let drive = ["-drive", "if=none,id=stick,format=raw,file=/vm/machine/stick.img"].map(str::to_owned);
    let folder = scratch().join(device.name);
    fs::create_dir_all(&folder).expect("the machine's folder");
    write_stick(&folder.join("stick.img"), "");
    Boot { extra: [device.extra, drive.to_vec()].concat(), ..device }
}

fn write_stick(to: &Path, key: &str) {
    let mut tree = Tree::default();
    tree.insert(TreePath::new("recovery.key").expect("a path"), Entry::file(0o644, key.as_bytes().to_vec()))
        .expect("the only file");
    let volume = fat::Volume { size: Bytes::mib(64), label: "EVEKEY".to_owned(), id: 7 };
    fat::write(&fs::File::create(to).expect("a file"), &volume, &tree).unwrap_or_else(|e| panic!("{e}"));
}

fn up(guest: &mut Guest, checks: &mut Checks, limit: Duration) {
    guest.wait_for(Until::Ssh, limit).unwrap_or_else(|e| panic!("{e}"));
    system::system_is_up(guest, checks, ARCH, limit);
}

/// The mark that is on P3.
fn mark_is_there(guest: &mut Guest, checks: &mut Checks) {
    checks.equal("what is on P3", guest.sh("cat /persist/mark").unwrap_or_else(|e| e.to_string()), "kept".to_owned());
}

fn change_config(guest: &mut Guest, content: &str) {
    let command = format!(
        "mount -o remount,rw /config && echo '{content}' > /config/note && sync && mount -o remount,ro /config"
    );
    guest.sh(&command).unwrap_or_else(|e| panic!("{e}"));
}

/// A device with a mark on P3, and its recovery key.
fn provisioned(device: Boot, checks: &mut Checks) -> (Guest, Duration, String) {
    let booting = restored(device);
    let limit = booting.limit(60);
    let mut guest = booting.guest;
    up(&mut guest, checks, limit);
    system::state_is_sealed(&mut guest, checks, true);
    guest.sh("echo kept > /persist/mark && sync").unwrap_or_else(|e| panic!("{e}"));
    let key = guest.sh("vault recovery-key").unwrap_or_else(|e| panic!("{e}"));
    (guest, limit, key)
}

fn restarts(guest: &mut Guest, limit: Duration) {
    guest.restart("systemctl reboot", limit).unwrap_or_else(|e| panic!("{e}"));
}

/// The line on the console while the device waits for a key.
const CONFIG_DIFFERS: Until = Until::Serial("CONFIG (PCR 14) differs");

#[test]
#[ignore = "long: make test-all"]
fn p3_stays_closed_when_someone_has_changed_config_until_the_owner_seals_it() {
    let mut checks = Checks::default();
    let (mut guest, limit, key) = provisioned(with_stick(device("vault", ARCH)), &mut checks);
    checks.equal("the TPM has bound the volume", system::vault(&mut guest)["volume"].clone(), "bound".into());
    let again = guest.ssh("systemd-cryptsetup attach again /dev/disk/evek/P3 - tpm2-device=auto,headless=1");
    if let Some(again) = checks.answer("asking the TPM once more", again) {
        checks.that("the TPM releases the key to nobody any more", !again.success(), "it released it");
    }
    change_config(&mut guest, "of a thief");
    restarts(&mut guest, limit);
    guest.wait_for(CONFIG_DIFFERS, limit).unwrap_or_else(|e| panic!("{e}"));
    write_stick(&guest.dir().join("stick.img"), &key);
    guest.plug("usb-storage", &[("drive", "stick")]).unwrap_or_else(|e| panic!("{e}"));
    up(&mut guest, &mut checks, limit);
    is_open_for_this_start(&mut guest, &mut checks);
    // the key has sealed nothing: it is needed again
    restarts(&mut guest, limit);
    guest.wait_for(CONFIG_DIFFERS, limit).unwrap_or_else(|e| panic!("{e}"));
    up(&mut guest, &mut checks, limit);
    is_open_for_this_start(&mut guest, &mut checks);
    if let Some(shown) = checks.answer("the owner's act", guest.sh("vault seal 2>&1")) {
        checks.that("`vault seal` shows what has changed", shown.contains("added: note"), &shown);
    }
    restarts(&mut guest, limit);
    up(&mut guest, &mut checks, limit);
    system::state_is_sealed(&mut guest, &mut checks, true);
    mark_is_there(&mut guest, &mut checks);
    // someone puts his own P3 into its place; the header of the old one is gone with it
    let put = "mkfs.ext4 -q -F /run/plain 32M && dd if=/run/plain of=/dev/disk/evek/P3 bs=1M conv=fsync";
    checks.answer("a plain P3", guest.sh(put));
    restarts(&mut guest, limit);
    let refused = "P3 is not encrypted, and the TPM of this machine has sealed a volume";
    guest.wait_for(Until::Serial(refused), limit).unwrap_or_else(|e| panic!("{e}"));
    guest.cut_power();
    checks.finish();
}

/// By the recovery key, with the reason and the change.
fn is_open_for_this_start(guest: &mut Guest, checks: &mut Checks) {
    mark_is_there(guest, checks);
    let vault = system::vault(guest);
    checks.equal("which key has opened P3", vault["opened_by"].clone(), "key".into());
    checks.equal("the changed files of CONFIG", vault["config"]["added"].clone(), ["note"].into_iter().collect());
}

#[test]
#[ignore = "long: make test-all"]
fn the_owner_may_change_config_and_take_the_disk_to_another_machine() {
    let (name, mut checks) = ("vault-moved", Checks::default());
    let (mut guest, limit, key) = provisioned(Boot { keeps: true, ..device(name, ARCH) }, &mut checks);
    change_config(&mut guest, "of the owner");
    guest.sh("vault seal").unwrap_or_else(|e| panic!("{e}"));
    restarts(&mut guest, limit);
    up(&mut guest, &mut checks, limit);
    system::state_is_sealed(&mut guest, &mut checks, true);
    checks.answer("the power button switches it off", guest.stop(limit));

    let mut guest = boot(Boot { tpm: false, state: State::Kept, ..device(name, ARCH) }).guest;
    for text in ["no TPM", "Recovery key of P3"] {
        guest.wait_for(Until::Serial(text), limit).unwrap_or_else(|e| panic!("{e}"));
    }
    guest.types(&key).unwrap_or_else(|e| panic!("{e}"));
    up(&mut guest, &mut checks, limit);
    mark_is_there(&mut guest, &mut checks);
    guest.cut_power();
    checks.finish();
}
