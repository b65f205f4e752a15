//! Lives of boot loaders: a disk, the firmware's variables as a folder, and what the firmware does in a start.

mod cuts;
mod order;

use super::*;
use crate::status::Report;
use disk::{Guid, Layout, Partition, PartitionType, fat};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::PathBuf,
};
use tree::{Entry, Tree, TreePath};
use types::Bytes;

const OLD: &[u8] = b"signed: old";
const NEW: &[u8] = b"signed: new";
const NEWER: &[u8] = b"signed: newer";
/// The entry of the disk, by which the firmware finds the first boot loader.
const FIRST: u16 = 1;
/// What our entry gets: the first number that is free.
const OURS: u16 = 2;

/// A device that was started by its first boot loader, with two boot entries that are none of ours.
struct World {
    folder: tempfile::TempDir,
    paths: Paths,
    disk: File,
    starts: Cell<u32>,
}

/// What a boot loader under trial does.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Work,
    Hang,
}

/// A disk that is gone after so many writes and flushes.
struct Dying<'a> {
    disk: &'a File,
    left: Cell<usize>,
}

impl Dying<'_> {
    fn live(&self) -> io::Result<()> {
        let left = self.left.get().checked_sub(1).ok_or_else(|| io::Error::other("the power is gone"))?;
        self.left.set(left);
        Ok(())
    }
}

impl Blocks for Dying<'_> {
    fn len(&self) -> io::Result<u64> {
        Blocks::len(self.disk)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        self.disk.read_at(buf, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.live().and_then(|()| self.disk.write_at(bytes, at))
    }

    fn flush(&self) -> io::Result<()> {
        self.live()
    }
}

fn signed(program: &[u8]) -> Result<(), Error> {
    let problem = || Error::Program { what: "boot loader", problem: "is not signed".to_owned() };
    program.starts_with(b"signed").then_some(()).ok_or_else(problem)
}

/// A disk as images have it, without images, with further files on its EFI system partition.
pub(crate) fn disk(path: PathBuf, more: &[(&str, &[u8])]) -> File {
    let esp = path.with_extension("esp");
    let mut tree = Tree::default();
    let own: [(&str, &[u8]); 3] =
        [("EFI/BOOT/BOOTX64.EFI", OLD), ("EFI/Linux/readme", b"no image"), ("loader/loader.conf", b"")];
    for (path, bytes) in own.iter().chain(more) {
        tree.insert(TreePath::new(path).unwrap(), Entry::file(0o644, bytes.to_vec())).unwrap();
    }
    let volume = fat::Volume { size: Bytes::mib(5), label: "EFI".into(), id: 1 };
    let create = |path| File::options().read(true).write(true).create_new(true).open(path).unwrap();
    fat::write(&create(esp.clone()), &volume, &tree).unwrap();
    let image = PartitionType::Image;
    let parts = [("EFI System", PartitionType::EfiSystem, 5), ("IMGA", image, 1), ("IMGB", image, 1)];
    let partition = |(number, (label, kind, mib)): (u32, (&str, _, _))| Partition {
        number,
        label: label.into(),
        kind,
        guid: Guid::of_name(label),
        size: Bytes::mib(mib),
        attributes: 0,
        content: (number == 1).then(|| esp.clone()),
    };
    let partitions = (1..).zip(parts).map(partition).collect();
    let file = create(path);
    Layout { guid: Guid::of_name("disk"), size: None, partitions }.plan().unwrap().write(&file, &mut |_| ()).unwrap();
    file
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let paths = Paths {
            disk: at("disk"),
            state: at("update"),
            variables: at("efivars"),
            slot: at("slot.json"),
            volatile: at("run"),
            lock: at("run/lock"),
            blessed: at("blessed"),
            config: at("config"),
            last_words: at("pstore"),
            vault: at("vault.json"),
            os_release: at("os-release"),
            ..Paths::default()
        };
        fs::create_dir(&paths.variables).unwrap();
        let world = Self { disk: disk(at("disk"), &[]), paths, folder, starts: Cell::new(0) };
        for (name, value) in [("Boot0000", &b"\x01\0\0\0\0\0P\0X\0E\0\0\0"[..]), ("Boot0001", b"\x01\0\0\0\0\0D\0\0\0")]
        {
            world.set(name, value);
        }
        world.set("BootOrder", &[1, 0, 0, 0]);
        world.set("BootCurrent", &FIRST.to_le_bytes());
        world
    }

    fn with_loader(program: &[u8]) -> Self {
        let world = Self::new();
        world.records().set_loader(program).unwrap();
        world
    }

    fn records(&self) -> Records {
        Records::open(&self.paths)
    }

    fn variable(&self, name: &str) -> PathBuf {
        efivars::Variables::at(&self.paths.variables).path(efivars::Name(efivars::Vendor::Global, name))
    }

    fn set(&self, name: &str, value: &[u8]) {
        fs::write(self.variable(name), [&[7, 0, 0, 0], value].concat()).unwrap();
    }

    fn get(&self, name: &str) -> Option<Vec<u16>> {
        let bytes = fs::read(self.variable(name)).ok()?;
        Some(bytes[4..].chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect())
    }

    /// What is done with the loaders of a disk, or one that dies.
    fn on<B: Blocks, T>(&self, disk: B, act: impl FnOnce(&Loader<'_, B>) -> T) -> T {
        let (records, device) = (self.records(), Device::new(disk));
        let mut loader = Loader::new(&self.paths, &records, &device, Arch::Amd64, &signed);
        loader.boot_id = format!("start {}", self.starts.get());
        act(&loader)
    }

    fn settle(&self) {
        self.on(&self.disk, |loader| loader.settle(true)).unwrap();
    }

    fn forget(&self) {
        self.on(&self.disk, |loader| loader.forget()).unwrap();
    }

    /// What the firmware does in a start; says whether it came by the second boot loader.
    fn restart(&self, second: Does) -> bool {
        self.starts.set(self.starts.get() + 1);
        let next = self.get("BootNext");
        if next.is_some() {
            fs::remove_file(self.variable("BootNext")).unwrap();
        }
        let by_second = next == Some(vec![OURS]) && second == Does::Work;
        self.set("BootCurrent", &if by_second { OURS } else { FIRST }.to_le_bytes());
        by_second
    }

    fn copies(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let device = Device::new(&self.disk);
        (device.loader(Arch::Amd64).unwrap().unwrap(), device.second_loader(Arch::Amd64).unwrap())
    }

    fn have(&self, first: &[u8], second: Option<&[u8]>) {
        assert_eq!(self.copies(), (first.to_vec(), second.map(<[u8]>::to_vec)));
    }

    fn state(&self) -> Option<LoaderState> {
        self.records().loader_trial().map(|trial| trial.state)
    }

    /// That nothing is left to be done, and nothing was done to others' variables.
    fn is_at_rest(&self, order: &[u16]) {
        assert_eq!(self.get("BootNext"), None);
        assert_eq!(self.records().loader().unwrap(), None);
        assert_eq!(self.get("BootOrder").unwrap(), order);
        assert_eq!(self.get("Boot0000").unwrap(), [1, 0, 0, 0x50, 0x58, 0x45, 0]);
        assert_eq!(self.get("Boot0001").unwrap(), [1, 0, 0, 0x44, 0]);
        assert_eq!(self.get("Boot0003"), None);
    }

    /// Copies of the files that a cut may leave, by path.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let folders = [&self.paths.state, &self.paths.variables];
        let items = folders.into_iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
        let paths = items.map(|item| item.unwrap().path()).chain([self.paths.disk.clone()]);
        paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    fn restore(&self, files: &BTreeMap<PathBuf, Vec<u8>>) {
        for path in self.files().keys().filter(|path| !files.contains_key(*path)) {
            fs::remove_file(path).unwrap();
        }
        for (path, bytes) in files {
            fs::write(path, bytes).unwrap();
        }
    }
}

#[test]
fn a_loader_that_works_takes_its_place_and_its_predecessor_is_the_second() {
    let world = World::with_loader(NEW);
    world.settle();
    world.have(OLD, Some(NEW));
    assert_eq!((world.get("BootNext"), world.state()), (Some(vec![OURS]), Some(LoaderState::Trial)));
    assert_eq!(world.get("BootOrder").unwrap(), [FIRST, 0], "nothing but BootNext leads to what is on trial");
    assert!(world.restart(Does::Work));
    world.settle();
    world.have(NEW, Some(OLD));
    world.is_at_rest(&[FIRST, 0, OURS]);
    assert_eq!(world.state(), None);
    // and the one after that, by the same entry
    world.restart(Does::Work);
    world.settle();
    world.records().set_loader(NEWER).unwrap();
    world.settle();
    assert!(world.restart(Does::Work));
    world.settle();
    world.have(NEWER, Some(NEW));
    world.is_at_rest(&[FIRST, 0, OURS]);
}

#[test]
fn a_loader_that_does_not_work_stays_nowhere_and_is_not_tried_again() {
    let world = World::with_loader(NEW);
    world.settle();
    assert!(!world.restart(Does::Hang));
    let failed = || {
        world.settle();
        world.have(OLD, Some(OLD));
        world.is_at_rest(&[FIRST, 0]);
        let trial = world.records().loader_trial().unwrap();
        assert_eq!((trial.state, trial.digest), (LoaderState::Failed, Digest::of(NEW)));
        assert_eq!(trial.reason.as_deref(), Some(NOT_STARTED));
    };
    failed();
    world.restart(Does::Work);
    failed();
    // brought once more, by who does not know of that
    world.records().set_loader(NEW).unwrap();
    failed();
    // an update that has to do with nothing of this
    world.forget();
    failed();
    world.records().set_loader(NEWER).unwrap();
    world.settle();
    world.have(OLD, Some(NEWER));
    assert!(world.restart(Does::Work));
    world.settle();
    world.have(NEWER, Some(OLD));
    assert_eq!(world.state(), None);
}

#[test]
fn as_long_as_it_has_not_started_it_is_on_trial() {
    let world = World::with_loader(NEW);
    world.settle();
    let before = world.files();
    world.settle();
    assert!(world.files() == before, "in the same start");
    // firmware that has started something else on request, and has left BootNext where it was
    world.starts.set(7);
    world.settle();
    assert!(world.files() == before, "in another one");
    // BootNext was taken away
    world.starts.set(0);
    fs::remove_file(world.variable("BootNext")).unwrap();
    world.settle();
    assert!(world.files() == before);
}

#[test]
fn a_number_that_is_someone_elses_by_now_says_nothing() {
    let world = World::with_loader(NEW);
    world.settle();
    world.restart(Does::Work);
    world.set("Boot0002", b"\x01\0\0\0\0\0D\0V\0D\0\0\0");
    world.settle();
    world.have(OLD, Some(OLD));
    assert_eq!(world.state(), Some(LoaderState::Failed));
}

#[test]
fn what_works_takes_its_place_though_its_file_is_lost_and_the_firmware_forgets_nothing() {
    let world = World::with_loader(NEW);
    world.settle();
    world.restart(Does::Work);
    world.records().forget_loader().unwrap();
    world.set("BootNext", &OURS.to_le_bytes());
    world.settle();
    world.have(NEW, Some(OLD));
    world.is_at_rest(&[FIRST, 0, OURS]);
}

#[test]
fn what_has_started_must_be_what_was_to_be_tried() {
    let world = World::with_loader(NEW);
    world.settle();
    Device::new(&world.disk).replace_second_loader(Arch::Amd64, NEWER).unwrap();
    assert!(world.restart(Does::Work));
    world.settle();
    world.have(OLD, Some(NEWER));
    assert_eq!(world.records().loader_trial().unwrap().reason.as_deref(), Some(NOT_IT));
}

#[test]
fn a_newer_loader_wins_over_one_on_trial() {
    let tried = |world: &World| {
        world.have(OLD, Some(NEWER));
        assert_eq!(world.records().loader_trial().unwrap().digest, Digest::of(NEWER));
        assert!(world.restart(Does::Work));
        world.settle();
        world.have(NEWER, Some(OLD));
        world.is_at_rest(&[FIRST, 0, OURS]);
    };
    // by an update, in its order
    let world = World::with_loader(NEW);
    world.settle();
    world.forget();
    world.have(OLD, Some(OLD));
    assert_eq!((world.get("BootNext"), world.state()), (None, None));
    world.records().set_loader(NEWER).unwrap();
    assert!(!world.restart(Does::Work), "the image that it came with is not good yet");
    world.on(&world.disk, |loader| loader.settle(false)).unwrap();
    world.have(OLD, Some(OLD));
    world.settle();
    tried(&world);
    // by a program that knows of no trials
    let world = World::with_loader(NEW);
    world.settle();
    world.records().set_loader(NEWER).unwrap();
    world.settle();
    tried(&world);
}

#[test]
fn an_update_takes_back_a_trial_that_has_no_record_and_leaves_a_predecessor_alone() {
    let world = World::with_loader(NEW);
    world.settle();
    world.records().forget_loader_trial().unwrap();
    world.forget();
    world.have(OLD, Some(OLD));
    assert_eq!(world.get("BootNext"), None);
    let world = World::with_loader(NEW);
    world.settle();
    world.restart(Does::Work);
    world.settle();
    world.set("BootNext", &[0, 0]);
    world.forget();
    world.have(NEW, Some(OLD));
    assert_eq!(world.get("BootNext").unwrap(), [0], "what others want to start next stays");
}

#[test]
fn the_same_bytes_change_nothing() {
    let world = World::with_loader(OLD);
    let mut before = world.files();
    world.settle();
    before.remove(&world.paths.state.join("loader.efi")).unwrap();
    assert!(world.files() == before);
}

#[test]
fn without_variables_that_can_be_written_a_loader_is_replaced_at_once() {
    let world = World::with_loader(NEW);
    fs::remove_dir_all(&world.paths.variables).unwrap();
    world.settle();
    world.have(NEW, Some(OLD));
    assert_eq!((world.records().loader().unwrap(), world.state()), (None, None));
    assert!(!world.paths.variables.exists());
    // a failure of another is no longer of interest
    let world = World::with_loader(NEW);
    world.settle();
    world.restart(Does::Hang);
    world.settle();
    fs::remove_dir_all(&world.paths.variables).unwrap();
    world.records().set_loader(NEWER).unwrap();
    world.settle();
    world.have(NEWER, Some(OLD));
    assert_eq!((world.records().loader().unwrap(), world.state()), (None, None));
    // firmware that takes the entry, and then no more
    let world = World::with_loader(NEW);
    fs::create_dir(world.variable("BootNext")).unwrap();
    world.settle();
    world.have(NEW, Some(OLD));
    assert_eq!((world.records().loader().unwrap(), world.state()), (None, None));
    assert_eq!(world.get("BootOrder").unwrap(), [FIRST, 0]);
}

#[test]
fn nothing_is_written_that_nobody_has_signed() {
    let world = World::with_loader(b"of someone else");
    let before = world.files();
    let refused = world.on(&world.disk, |loader| loader.settle(true));
    assert!(matches!(refused, Err(Error::Program { .. })), "{refused:?}");
    assert!(world.files() == before);
    fs::remove_dir_all(&world.paths.variables).unwrap();
    assert!(world.on(&world.disk, |loader| loader.settle(true)).is_err(), "nor without a trial");
    world.have(OLD, None);
    // each time: this one was trusted when it was put on trial
    let world = World::with_loader(NEW);
    world.settle();
    world.restart(Does::Work);
    let asked = RefCell::new(Vec::new());
    let (records, device) = (world.records(), Device::new(&world.disk));
    let revoked = |program: &[u8]| {
        asked.borrow_mut().push(program.to_vec());
        Err(Error::Program { what: "boot loader", problem: "is revoked".to_owned() })
    };
    let mut loader = Loader::new(&world.paths, &records, &device, Arch::Amd64, &revoked);
    loader.boot_id = "another".to_owned();
    assert!(loader.settle(true).is_err());
    assert_eq!(asked.into_inner(), [NEW]);
    world.have(OLD, Some(NEW));
}

#[test]
fn a_first_loader_that_nobody_has_signed_is_copied_nowhere() {
    let foreign = b"of someone else";
    let world = World::with_loader(NEW);
    Device::new(&world.disk).replace_loader(Arch::Amd64, foreign).unwrap();
    world.settle();
    world.restart(Does::Hang);
    world.settle();
    world.have(foreign, None);
    let world = World::with_loader(NEW);
    Device::new(&world.disk).replace_loader(Arch::Amd64, foreign).unwrap();
    world.settle();
    world.restart(Does::Work);
    world.settle();
    world.have(NEW, Some(NEW));
}

#[test]
fn status_tells_of_a_trial_and_of_its_failure() {
    let world = World::with_loader(NEW);
    let root = Digest::of(b"a slot");
    let slot = serde_json::json!({"root_hash": root, "disk": world.paths.disk});
    fs::write(&world.paths.slot, slot.to_string()).unwrap();
    fs::write(&world.paths.os_release, "IMAGE_VERSION=1-kvm-amd64\nVERSION_ID=1\nVARIANT_ID=kvm\n").unwrap();
    let report = |json| Report::read(&world.paths).unwrap().text(json);
    let json = || serde_json::from_str::<serde_json::Value>(&report(true)).unwrap()["loader"].take();
    assert!(json().is_null() && !report(false).contains("boot loader"));
    world.settle();
    let digest = Digest::of(NEW);
    assert_eq!(json(), serde_json::json!({"state": "trial", "digest": digest, "reason": null}));
    assert!(report(false).contains(&format!("boot loader {}: on trial\n", digest.short())));
    world.restart(Does::Hang);
    world.settle();
    assert_eq!(json(), serde_json::json!({"state": "failed", "digest": digest, "reason": NOT_STARTED}));
    let line = format!("boot loader {}: failed, and is not tried again: {NOT_STARTED}\n", digest.short());
    assert!(report(false).contains(&line), "{}", report(false));
    assert!(world.folder.path().exists());
}
