//! A device takes an update, tries it, keeps it or goes back; and is asked why.

#![allow(clippy::print_stderr, reason = "figures, for who runs it with --nocapture")]

use artefact::{
    Update,
    oci::{Index, Manifest},
};
use boot_tests::{
    Boot, Booting, Checks, Copy, boot, device, restored, scratch,
    secure_boot::keys,
    system,
    updates::{Loader, Variant},
    web::Web,
};
use disk::fat;
use serde_json::Value;
use sign::{Keys, Purpose};
use std::{fs, path::Path, time::Duration};
use tree::{Entry, Tree, TreePath};
use types::{Arch, Bytes, Digest, Flavour};
use vm::{Guest, Network, Until};

/// More than the documents of an update and the pieces of a kernel image in which a root hash differs.
const ALLOWANCE: u64 = 1_000_000;

/// Seconds that a new image has where it is not to be found good.
const LITTLE_PATIENCE: u32 = 75;

struct Device<'a> {
    arch: Arch,
    guest: Guest,
    checks: &'a mut Checks,
    limit: Duration,
}

impl Device<'_> {
    fn status(&mut self) -> Value {
        let text = self.guest.sh("update status --json").unwrap_or_else(|e| panic!("{e}"));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
    }

    /// Applies an update, which must work.
    fn apply(&mut self, address: &str) {
        let answer = self.guest.ssh_within(&format!("update apply {address}"), &[], self.limit);
        let answer = answer.unwrap_or_else(|e| panic!("{e}"));
        assert!(answer.success(), "update apply {address}: {}", answer.stderr);
    }

    /// An update that must be refused, with these words, and nothing else happens.
    fn refuses(&mut self, what: &str, command: &str, words: &str) {
        let before = self.status();
        if let Some(answer) = self.checks.answer(what, self.guest.ssh_within(command, &[], self.limit)) {
            self.checks.that(what, !answer.success(), "it was taken");
            self.checks.that(&format!("{what}: it says why"), answer.stderr.contains(words), &answer.stderr);
        }
        let after = self.status();
        let states = |status: &Value| (status["slots"][0].clone(), status["next"].clone());
        self.checks.equal(&format!("{what}: what runs is untouched"), states(&after), states(&before));
    }

    /// Restarts, so often, and waits until it is up.
    fn restarts(&mut self, times: usize) {
        let before = self.guest.restarts();
        self.guest.restart("systemctl reboot", self.limit).unwrap_or_else(|e| panic!("{e}"));
        self.guest.wait_for(Until::Restarts(before + times), self.limit).unwrap_or_else(|e| panic!("{e}"));
        self.up();
    }

    fn up(&mut self) {
        self.guest.wait_for(Until::Ssh, self.limit).unwrap_or_else(|e| panic!("{e}"));
        system::system_is_up(&mut self.guest, self.checks, self.arch, self.limit);
    }

    /// An update that is tried and fails: the device returns to the image before and reports the reason.
    fn is_given_up(&mut self, web: &Web, name: &str, (version, label): (&str, &str), reason: &str) {
        self.apply(&web.address(name));
        self.restarts(2);
        self.is(name, version, label, "fell-back", reason);
    }

    /// What runs, in which state, and what became of the last update.
    fn is(&mut self, what: &str, version: &str, label: &str, result: &str, reason: &str) {
        let (status, image) = (self.status(), format!("{version}-kvm-{}", self.arch));
        let slots = status["slots"].as_array().cloned().unwrap_or_default();
        let running = slots.iter().find(|slot| slot["running"] == true).cloned().unwrap_or_default();
        // os-release of these updates is that of the image that they are made of
        self.checks.equal(&format!("{what}: what runs"), running["image"].clone(), image.into());
        self.checks.equal(&format!("{what}: its slot"), running["label"].clone(), label.into());
        self.checks.equal(&format!("{what}: its slot's state"), running["state"].clone(), "good".into());
        self.checks.equal(&format!("{what}: the last update"), status["last"]["result"].clone(), result.into());
        let found = status["last"]["reason"].as_str().unwrap_or_default();
        self.checks.that(&format!("{what}: the reason"), found.contains(reason), found);
        let vault = if self.arch == Arch::Amd64 { "sealed" } else { "plain" };
        self.checks.equal(&format!("{what}: P3"), status["vault"]["state"].clone(), vault.into());
    }
}

/// A device that is up.
fn start<'a>(name: &'static str, arch: Arch, checks: &'a mut Checks) -> Device<'a> {
    of(restored(device(name, arch)), arch, checks)
}

fn of(booting: Booting, arch: Arch, checks: &mut Checks) -> Device<'_> {
    let limit = booting.limit(60);
    let mut device = Device { arch, guest: booting.guest, checks, limit };
    device.up();
    device
}

#[test]
fn an_update_is_tried_and_kept_and_one_that_panics_is_given_up() {
    is_updated("update", Arch::Amd64);
}

#[test]
#[ignore = "long: make test-all"]
fn an_update_for_arm64_is_tried_and_kept_and_one_that_panics_is_given_up() {
    is_updated("update-arm64", Arch::Arm64);
}

fn is_updated(name: &'static str, arch: Arch) {
    let image = boot_tests::image(Flavour::Kvm, arch);
    let folder = tempfile::tempdir().expect("a folder");
    offer(&image, folder.path());
    let web = Web::serve(folder.path());
    let mut checks = Checks::default();
    let mut device = start(name, arch, &mut checks);
    refuses_what_is_not_for_it(&mut device, &web);
    goes_on_where_it_was(&mut device, &web);
    takes_one_though_p3_is_full(&mut device, &web);
    device.restarts(1);
    device.is("a good one", "0.2.0", "IMGB", "good", "");
    device.is_given_up(&web, "panics", ("0.2.0", "IMGB"), "Kernel panic - not syncing: Attempted to kill init");
    device.guest.cut_power();
    checks.finish();
}

/// Updates of every kind.
fn offer(image: &Path, folder: &Path) {
    let ours = |name: &str, variant: Variant<'_>| variant.publish_ours(image, &folder.join(name));
    ours("good", Variant::of("0.2.0"));
    ours("too-old", Variant::of("0.0.9"));
    ours("truncated", Variant::of("0.2.1"));
    let foreign = Keys::generate(&folder.join("keys"), Purpose::Production, "someone else");
    Variant::of("0.2.0").publish(image, &foreign.expect("keys of someone else"), &folder.join("foreign"));
    ours("panics", Variant { init: Some("/usr/bin/false"), ..Variant::of("0.3.0") });
    ours("hangs", Variant { init: Some("/usr/bin/sleep 1h"), ..Variant::of("0.3.1") });
    let never = vec![("\"activity\"", "\"nonsense\"")];
    // a mount that local-fs.target requires, and that cannot be: systemd ends in emergency mode
    ours("emergency", Variant { argument: Some("systemd.mount-extra=a:/mnt:zz"), ..Variant::of("0.3.4") });
    ours("no-policy", Variant { policy: false, ..Variant::of("0.3.3") });
    ours("never-ready", Variant { store: never, ..Variant::of("0.3.2") });

    let digest = own_part(&folder.join("truncated"), image);
    let blob = folder.join("truncated/blobs/sha256").join(digest.hex());
    let bytes = fs::read(&blob).expect("a manifest");
    fs::write(&blob, &bytes[..bytes.len() / 2]).expect("half of it");
}

fn refuses_what_is_not_for_it(device: &mut Device<'_>, web: &Web) {
    let apply = |name: &str| format!("update apply {}", web.address(name));
    device.refuses("someone else's", &apply("foreign"), "not signed by who may sign updates of this device");
    device.refuses("one that is too old", &apply("too-old"), "nothing older than 0.1.0 may run here any more");
    device.refuses("none at all", &apply("nothing"), "404");
    device.refuses("a truncated one", &apply("truncated"), "it ends after");
}

/// Has no byte left where the device keeps the records of an update.
const FILL: &str = "mount -t tmpfs -o size=4k full /persist/update && echo >/persist/update/full";

/// A full P3 stops no update: its records are kept in memory, and so is what `update status` shows.
fn takes_one_though_p3_is_full(device: &mut Device<'_>, web: &Web) {
    device.guest.sh(FILL).expect("a full P3");
    device.apply(&web.address("good"));
    let status = device.status();
    device.checks.equal("P3 is full: it is ready", status["last"]["result"].clone(), "ready".into());
    device.checks.equal("P3 is full: it starts next", status["next"].clone(), "IMGB".into());
    device.guest.sh("umount /persist/update && rm -rf /run/evek/update").expect("room again");
}

fn goes_on_where_it_was(device: &mut Device<'_>, web: &Web) {
    let before = web.sent();
    web.fail_after(30_000);
    device.refuses("a source that goes away", &format!("update apply {}", web.address("good")), "goes on from there");
    web.recover();
    device.apply(&web.address("good"));
    let sent = web.sent() - before;
    let status = device.status();
    device.checks.equal("it is ready", status["last"]["result"].clone(), "ready".into());
    device.checks.equal("it starts next", status["next"].clone(), "IMGB".into());
    device.checks.that("what is fetched", sent <= ALLOWANCE, format!("{sent} bytes"));
    eprintln!("fetched {sent} bytes of {}", status["last"]["reused"]);
}

/// The image of another version, with another line in the configuration of a service.
fn build_anew(folder: &Path) {
    let copy = Copy::new();
    let file = "pkg/time/files/etc/chrony/evek.conf";
    let text = fs::read_to_string(copy.path().join(file)).expect("the service has its configuration");
    copy.change(file, &text, &format!("{text}# another line\n"));
    let to = folder.display().to_string();
    copy.xtask_of("0.2.0", &["publish", "--hv", "kvm", "--to", &to, "--offline"]).must(0, &["0.2.0-kvm-amd64"]);
}

/// Bytes of an update's layers and documents that the image does not have.
fn changed(folder: &Path, image: &Path) -> u64 {
    let (update, store) = (update(folder), boot_tests::updates::store(image));
    let documents = store.documents.iter().map(|text| Digest::of(text.as_bytes()));
    let known: Vec<_> = documents.chain(store.layers.iter().map(|(digest, _)| *digest)).collect();
    let parts = update.documents.iter().chain(&update.layers);
    parts.filter(|blob| !known.contains(&blob.digest)).map(|blob| blob.size.0).sum()
}

/// A document of an update that the image does not have.
fn own_part(folder: &Path, image: &Path) -> Digest {
    let (update, store) = (update(folder), boot_tests::updates::store(image));
    let known: Vec<_> = store.documents.iter().map(|text| Digest::of(text.as_bytes())).collect();
    update.documents.iter().find(|blob| !known.contains(&blob.digest)).expect("a document of its own").digest
}

/// What is in a folder with one update.
fn update(folder: &Path) -> Update {
    let read = |name: &str| fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let index = Index::read(&read("index.json")).expect("an index");
    let blob = |digest: &Digest| read(&format!("blobs/sha256/{}", digest.hex()));
    let manifest = Manifest::read(&blob(&index.manifests[0].digest)).expect("a manifest");
    Update::read(&blob(&manifest.update().digest)).expect("an update")
}

/// A stick as the host writes one: a FAT volume with the folder that devices look for.
fn stick(folder: &Path, to: &Path) {
    let mut tree = Tree::default();
    for name in ["oci-layout", "index.json"].map(str::to_owned).into_iter().chain(blobs(folder)) {
        let file = folder.join(&name);
        let len = fs::metadata(&file).expect("a part of the update").len();
        let path = TreePath::new(&format!("evek-updates/{name}")).expect("a path");
        tree.insert(path, Entry::file_from(0o644, file, len)).expect("a file of its own");
    }
    let volume = fat::Volume { size: Bytes::mib(400), label: "UPDATES".to_owned(), id: 7 };
    fat::write(&fs::File::create(to).expect("a file"), &volume, &tree).unwrap_or_else(|e| panic!("{e}"));
}

fn blobs(folder: &Path) -> Vec<String> {
    let items = fs::read_dir(folder.join("blobs/sha256")).expect("a layout");
    items.map(|item| format!("blobs/sha256/{}", item.expect("a blob").file_name().to_string_lossy())).collect()
}

#[test]
#[ignore = "long: make test-all"]
fn an_update_comes_by_usb_without_any_network() {
    let name = "update-usb";
    let image = boot_tests::image(Flavour::Kvm, Arch::Amd64);
    let folder = tempfile::tempdir().expect("a folder");
    Variant::of("0.2.0").publish_ours(&image, folder.path());
    let machine = scratch().join(name);
    fs::create_dir_all(&machine).expect("the machine's folder");
    stick(folder.path(), &machine.join("stick.img"));
    let stick = "if=none,id=stick,format=raw,file=/vm/machine/stick.img";
    let extra = ["-drive", stick, "-device", "qemu-xhci", "-device", "usb-storage,drive=stick,removable=on"];
    let mut checks = Checks::default();
    let booting =
        boot(Boot { network: Network::None, extra: extra.map(str::to_owned).to_vec(), ..device(name, Arch::Amd64) });
    let mut device = of(booting, Arch::Amd64, &mut checks);
    device.apply("usb");
    device.restarts(1);
    device.is("an update by USB", "0.2.0", "IMGB", "good", "");
    let mounts = device.guest.sh("findmnt -rno TARGET /run/evek/media || true");
    device.checks.equal("the stick may be pulled out", mounts.unwrap_or_else(|e| e.to_string()), String::new());
    device.guest.cut_power();
    checks.finish();
}

#[test]
#[ignore = "long: make test-all"]
fn updates_that_hang_or_are_never_ready_are_given_up() {
    let image = boot_tests::image(Flavour::Kvm, Arch::Amd64);
    let folder = tempfile::tempdir().expect("a folder");
    offer(&image, folder.path());
    let web = Web::serve(folder.path());
    let mut checks = Checks::default();
    let booting = boot(device::impatient("update-fails", Arch::Amd64, LITTLE_PATIENCE));
    let mut device = of(booting, Arch::Amd64, &mut checks);
    let old = ("0.1.0", "IMGA");
    device.is_given_up(&web, "never-ready", old, "still starting");
    device.is_given_up(&web, "hangs", old, "never came as far as /persist");
    device.is_given_up(&web, "emergency", old, "started 1 times: ");
    // the TPM does not open P3 for it
    device.is_given_up(&web, "no-policy", old, "P3 does not open for it");
    device.guest.cut_power();
    checks.finish();
}

/// The boot loader's trial, and the digests of both on the EFI system partition.
fn loaders(device: &mut Device<'_>) -> (Value, String) {
    let look = "mkdir -p /run/esp && mount -o ro /dev/disk/evek/EFI /run/esp \
        && sha256sum < /run/esp/EFI/BOOT/BOOTX64.EFI && sha256sum < /run/esp/EFI/evek/BOOTX64.EFI; umount /run/esp";
    let found = device.guest.sh(look).unwrap_or_else(|e| panic!("{e}"));
    (device.status()["loader"].clone(), found)
}

#[test]
#[ignore = "long: make test-all"]
fn a_new_boot_loader_is_tried_and_one_that_does_not_work_is_given_up() {
    let image = boot_tests::image(Flavour::Kvm, Arch::Amd64);
    let folder = tempfile::tempdir().expect("a folder");
    for (name, version, loader) in [("other", "0.2.0", Loader::Other), ("broken", "0.3.0", Loader::Broken)] {
        Variant { loader, ..Variant::of(version) }.publish_ours(&image, &folder.path().join(name));
    }
    let digest = |name: &str| update(&folder.path().join(name)).loader.digest.hex();
    let (other, broken) = (digest("other"), digest("broken"));
    let web = Web::serve(folder.path());
    let mut checks = Checks::default();
    let mut device = start("update-loader", Arch::Amd64, &mut checks);
    device.apply(&web.address("other"));
    device.restarts(1);
    device.is("with another loader", "0.2.0", "IMGB", "good", "");
    let (trial, found) = loaders(&mut device);
    device.checks.equal("it is on trial", trial["state"].clone(), "trial".into());
    device.checks.that("it is the second", found.lines().nth(1).is_some_and(|l| l.starts_with(&other)), &found);
    device.restarts(1);
    let (trial, found) = loaders(&mut device);
    device.checks.equal("the trial is over", trial, Value::Null);
    device.checks.that("it is the first", found.starts_with(&other), &found);
    device.apply(&web.address("broken"));
    device.restarts(1);
    device.is("with a loader that does not work", "0.3.0", "IMGA", "good", "");
    device.restarts(1);
    let (trial, found) = loaders(&mut device);
    device.checks.equal("it has failed", trial["state"].clone(), "failed".into());
    device.checks.that("it is nowhere", !found.contains(&broken) && found.starts_with(&other), &found);
    device.is("the image", "0.3.0", "IMGA", "good", "");
    device.guest.cut_power();
    checks.finish();
}

#[test]
#[ignore = "long: make test-all"]
fn of_an_image_that_is_built_anew_only_what_changed_is_fetched_and_one_can_go_back() {
    let image = boot_tests::image(Flavour::Kvm, Arch::Amd64);
    let folder = tempfile::tempdir().expect("a folder");
    let web = Web::serve(folder.path());
    let mut checks = Checks::default();
    let mut device = start("update-back", Arch::Amd64, &mut checks);
    build_anew(&folder.path().join("built"));
    device.apply(&web.address("built"));
    let changed = changed(&folder.path().join("built"), &image);
    let sent = web.sent();
    device.checks.that("what is fetched", sent <= changed + ALLOWANCE, format!("{sent} bytes, {changed} changed"));
    eprintln!("fetched {sent} bytes; layers and documents that changed have {changed}");
    device.restarts(1);
    device.is("a good one", "0.2.0", "IMGB", "good", "");
    let running = device.status()["running"].clone();
    device.checks.equal("what it says of itself", running, "0.2.0-kvm-amd64".into());
    device.guest.sh("update rollback").unwrap_or_else(|e| panic!("{e}"));
    device.restarts(1);
    device.is("back", "0.1.0", "IMGA", "good", "");
    device.guest.sh("update rollback").unwrap_or_else(|e| panic!("{e}"));
    device.restarts(1);
    device.is("and forth", "0.2.0", "IMGB", "good", "");
    device.guest.cut_power();
    checks.finish();
}

/// A copy of keys.
fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for item in fs::read_dir(from).expect("the keys") {
        let item = item.expect("a file");
        fs::copy(item.path(), to.join(item.file_name())).expect("a copy");
    }
}

#[test]
#[ignore = "long: make test-all"]
fn the_key_of_what_the_tpm_gives_away_is_exchanged_by_updates() {
    let image = boot_tests::image(Flavour::Kvm, Arch::Amd64);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys");
    copied(keys().folder(), &path);
    let both = Keys::rotate(&path, "EVE-k development").unwrap_or_else(|e| panic!("{e}"));
    Variant::of("0.2.0").publish(&image, &both, &folder.path().join("both"));
    for name in ["pcr-before.crt", "pcr-before.key"] {
        fs::remove_file(path.join(name)).expect("the key before");
    }
    let new = Keys::open(&path).unwrap_or_else(|e| panic!("{e}"));
    Variant::of("0.3.0").publish(&image, &new, &folder.path().join("only-new"));
    let web = Web::serve(folder.path());
    let mut checks = Checks::default();
    let mut device = start("update-pcr-key", Arch::Amd64, &mut checks);
    device.apply(&web.address("both"));
    device.restarts(1);
    device.is("signed by both keys", "0.2.0", "IMGB", "good", "");
    device.guest.sh("vault seal").unwrap_or_else(|e| panic!("{e}"));
    device.apply(&web.address("only-new"));
    device.restarts(1);
    device.is("signed by the new key", "0.3.0", "IMGA", "good", "");
    device.guest.cut_power();
    checks.finish();
}
