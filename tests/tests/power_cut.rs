//! The power goes while a device updates itself: it starts what it was, or what it becomes.
//!
//! QEMU records the writes of a guest to its disk during an update. The code by which devices choose and check their slots then
//! judges the disks that a cut may leave, and a test boots some of them.

#![allow(clippy::print_stderr, reason = "figures, for who runs it with --nocapture")]

use boot_tests::{Boot, Booting, Checks, boot, device, restored, secure_boot::keys, updates::Variant, web::Web};
use disk::{
    Blocks, copy_sparse, gpt,
    power::{Event, Options, Point, State as Disk, points_at, states},
};
use sign::{Certificate, Role, efi};
use slots::{Device, Status};
use std::{
    fs::{self, File},
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};
use types::{Arch, Bytes, Digest, Flavour, Slot};
use vm::{Left, State, Until};

/// A file with a word from before the update.
const MARK: &str = "/persist/mark";

fn up(booting: &mut Booting) -> Duration {
    let limit = booting.limit(60);
    booting.guest.wait_for(Until::Ssh, limit).unwrap_or_else(|e| panic!("{e}"));
    let settled = booting.guest.ssh_within("systemctl is-system-running --wait", &[], limit);
    let state = settled.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(state.stdout.trim(), "running", "the machine has come up");
    limit
}

/// A whole update of a device that has been in use: until the new image was found good.
fn recorded(name: &'static str) -> Left {
    let image = boot_tests::image(Flavour::Kvm, Arch::Amd64);
    let folder = tempfile::tempdir().expect("a folder");
    Variant::of("0.2.0").publish_ours(&image, folder.path());
    let web = Web::serve(folder.path());
    // the first start, which makes P3, is not of interest and writes much
    let mut device = restored(Boot { keeps: true, records: true, ..device(name, Arch::Amd64) });
    let limit = device.limit(60);
    device.guest.sh(&format!("echo before >{MARK} && sync")).unwrap_or_else(|e| panic!("{e}"));
    let applied = device.guest.ssh_within(&format!("update apply {}", web.address("")), &[], limit);
    let applied = applied.unwrap_or_else(|e| panic!("{e}"));
    assert!(applied.success(), "{}", applied.stderr);
    device.guest.restart("systemctl reboot", limit).unwrap_or_else(|e| panic!("{e}"));
    up(&mut device);
    device.guest.cut_power()
}

/// An update as it was recorded.
struct Update {
    base: File,
    events: Vec<Event>,
    /// The old image and the new one.
    images: [Digest; 2],
    /// Where partition table and ESP are on the disk.
    watched: Vec<Range<u64>>,
    /// Where slots are.
    slots: [Range<u64>; 2],
    db: Certificate,
}

impl Update {
    fn of(left: &Left) -> Self {
        let base = left.disk_before().unwrap_or_else(|e| panic!("{e}"));
        let base = File::open(base).expect("the disk before the update");
        let events = left.writes().unwrap_or_else(|e| panic!("{e}"));
        let end = File::open(left.disk().unwrap_or_else(|e| panic!("{e}"))).expect("the disk after the update");
        let root = |disk: &File, slot| {
            let status = Device::new(disk).status().unwrap_or_else(|e| panic!("{e}"));
            status.slot(slot).root_hash().unwrap_or_else(|| panic!("{slot:?} starts: {status:?}"))
        };
        let images = [root(&base, Slot::A), root(&end, Slot::B)];
        let status = Device::new(&base).status().unwrap_or_else(|e| panic!("{e}"));
        let place = |slot| status.slot(slot).start.0..status.slot(slot).start.0 + status.slot(slot).size.0;
        let table = gpt::read(&base).unwrap_or_else(|e| panic!("{e}"));
        let esp = table.by_label("EFI System").expect("an ESP");
        let len = Blocks::len(&base).expect("a length");
        let ends = [0..34 * 512, len - 33 * 512..len];
        Self {
            watched: ends.into_iter().chain(std::iter::once(esp.start.0..esp.start.0 + esp.partition.size.0)).collect(),
            slots: [place(Slot::A), place(Slot::B)],
            base,
            events,
            images,
            db: keys().certificate(Role::Db).clone(),
        }
    }

    fn touches(&self, event: &Event, range: &Range<u64>) -> bool {
        matches!(event, Event::Write { at, bytes } if *at < range.end && at + bytes.len() as u64 > range.start)
    }

    /// The point from which on the new slot's bytes are on the disk for sure, and nothing writes them again.
    fn written(&self) -> usize {
        let last = self.events.iter().rposition(|event| self.touches(event, &self.slots[1])).expect("a written slot");
        let flush = self.events[last..].iter().position(|event| *event == Event::Flush);
        last + flush.expect("a flush after the slot was written") + 1
    }

    /// What starts, if it is the old image or the new one as a whole.
    fn judge(&self, point: usize, disk: &Disk<'_, &File>) -> Result<Digest, String> {
        let device = Device::new(disk);
        let status: Status = device.status().map_err(|e| e.to_string())?;
        let (entry, slot) = status.next().ok_or("nothing starts")?;
        let slot = slot.ok_or_else(|| format!("{} starts a slot that is not there", entry.file))?;
        let program = device.read(&format!("EFI/Linux/{}", entry.file)).map_err(|e| e.to_string())?;
        efi::verify(&program.unwrap_or_default(), &self.db).map_err(|e| e.to_string())?;
        let loader = device.loader(Arch::Amd64).map_err(|e| e.to_string())?;
        efi::verify(&loader.unwrap_or_default(), &self.db).map_err(|e| e.to_string())?;
        match (entry.image.root_hash, slot) {
            (hash, Slot::A) if hash == self.images[0] => Ok(hash),
            (hash, Slot::B) if hash == self.images[1] && point >= self.written() => Ok(hash),
            (hash, Slot::B) => Err(format!("{hash} in IMGB starts before it is written")),
            (hash, slot) => Err(format!("{hash} in {slot:?} is neither the old nor the new")),
        }
    }

    /// The disk after some events, as a file.
    fn disk_at(&self, point: usize, path: &Path) -> PathBuf {
        let to = File::options().read(true).write(true).create(true).truncate(true).open(path).expect("a file");
        to.set_len(Blocks::len(&self.base).expect("a length")).expect("a file as long");
        copy_sparse(&self.base, &to, 0, &mut |_| ()).expect("a copy of the disk");
        for event in &self.events[..point] {
            if let Event::Write { at, bytes } = event {
                Blocks::write_at(&to, bytes, *at).expect("a write");
            }
        }
        path.to_owned()
    }
}

#[test]
#[ignore = "long: make test-all"]
fn at_every_point_of_an_update_the_old_image_starts_or_the_new_one() {
    let update = Update::of(&recorded("power-cut"));
    let touched = update.events.iter().any(|event| update.touches(event, &update.slots[0]));
    assert!(!touched, "nothing writes to the slot that runs");
    slot_is_whole(&update);
    let close = points_at(&update.events, &update.watched);
    let every = (update.events.len() / 120).max(1);
    let only = |point: usize| close.contains(&point) || point.is_multiple_of(every);
    let options = Options { seed: 20, random_per_point: 2, only: Some(&only) };
    let mut seen = [0usize; 2];
    let count = states(&&update.base, &update.events, &options, |point: &Point, disk| {
        let image = update.judge(point.events, disk).map_err(|problem| format!("{point}: {problem}"))?;
        seen[usize::from(image == update.images[1])] += 1;
        Ok::<(), String>(())
    });
    let count = count.unwrap_or_else(|problem| panic!("{problem}"));
    eprintln!("{count} states of {} events: {} start the old image, {} the new", update.events.len(), seen[0], seen[1]);
    assert!(count >= 500 && seen.iter().all(|n| *n > 0), "{count} states, {seen:?}");
    without_flushes(&update, &only);
}

/// What is in the new slot at the end has the root hash by which it is started.
fn slot_is_whole(update: &Update) {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = update.disk_at(update.written(), &folder.path().join("disk"));
    let disk = File::open(disk).expect("the disk");
    let device = Device::new(&disk);
    let end = update.disk_at(update.events.len(), &folder.path().join("end"));
    let end = Device::new(File::open(end).expect("the disk")).status().unwrap_or_else(|e| panic!("{e}"));
    let entry = &end.slot(Slot::B).entries[0];
    let place = device.status().unwrap_or_else(|e| panic!("{e}")).slot(Slot::B).clone();
    let data = Bytes(entry.image.data_blocks * verity::BLOCK);
    let slot = tempfile::tempfile().expect("a file");
    let len = data.0 + verity::overhead(data).0;
    disk::copy_range(&disk, place.start.0, &slot, 0, len).expect("a copy of the slot");
    verity::verify(&slot, entry.image.data_blocks, update.images[1]).unwrap_or_else(|e| panic!("{e}"));
}

/// The judge finds a fault: a disk without flushes loses an image.
fn without_flushes(update: &Update, only: &dyn Fn(usize) -> bool) {
    let events: Vec<_> = update.events.iter().filter(|event| **event != Event::Flush).cloned().collect();
    let options = Options { seed: 21, random_per_point: 2, only: Some(only) };
    let judged = states(&&update.base, &events, &options, |point: &Point, disk| {
        let status = Device::new(disk).status().map_err(|e| e.to_string())?;
        let known =
            status.next().is_some_and(|(entry, slot)| slot.is_some() && update.images.contains(&entry.image.root_hash));
        if known { Ok(()) } else { Err(format!("{point}")) }
    });
    assert!(judged.is_err(), "without flushes every state is good: the judge judges nothing");
}

#[test]
#[ignore = "long: make test-all"]
fn after_cuts_at_six_points_the_device_starts_and_its_state_is_whole() {
    let left = recorded("power-cut-boots");
    let update = Update::of(&left);
    let close: Vec<_> = points_at(&update.events, &update.watched).into_iter().collect();
    assert!(close.len() >= 12, "{close:?}");
    // half of the slot; then spread over the changes of partition table and ESP
    let (first, written) = (close[0], update.written());
    let middle = (first + written) / 2;
    let after: Vec<_> = close.iter().copied().filter(|point| *point > written).collect();
    let spread = (0..6).map(|n| after[n * (after.len() - 1) / 5]);
    let points: Vec<_> = [first + 1, middle].into_iter().chain(spread).collect();
    let mut checks = Checks::default();
    let folder = left.dir().with_file_name("power-cut-disks");
    fs::create_dir_all(&folder).expect("a folder");
    for point in points {
        let disk = update.disk_at(point, &folder.join("disk.raw"));
        let given = State::Given { from: left.dir().to_owned() };
        let options = Boot { disk: Some(disk), state: given, ..device("power-cut-boot", Arch::Amd64) };
        let mut booting = boot(options);
        let limit = booting.limit(60);
        let what = format!("after {point} of {} events", update.events.len());
        if checks.answer(&what, booting.guest.wait_for(Until::Ssh, limit)).is_none() {
            continue;
        }
        let state = booting.guest.ssh_within("systemctl is-system-running --wait", &[], limit);
        let state = checks.answer(&what, state).map(|state| state.stdout.trim().to_owned());
        checks.equal(&format!("{what}: it is up"), state.as_deref(), Some("running"));
        let root = booting.guest.sh("grep root_hash /run/evek/slot.json").unwrap_or_else(|e| e.to_string());
        let known = update.images.iter().any(|image| root.contains(&image.hex()));
        checks.that(&format!("{what}: the old image or the new one"), known, &root);
        let mark = booting.guest.sh(&format!("cat {MARK}")).unwrap_or_else(|e| e.to_string());
        checks.equal(&format!("{what}: what was kept"), mark, "before".to_owned());
        booting.guest.cut_power();
    }
    checks.finish();
}
