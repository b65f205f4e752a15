//! Every transition, cut at every point; and long lives of devices with cuts, failures and all.

use crate::{Device, Error, State, Status, TRIES, second_loader_path};
use boot::{pe::example, uki};
use disk::{
    Blocks, Guid, Layout, Partition, PartitionType, Window,
    fat::{self, Edit},
    power::{Options, Recorder, State as Cut, states},
};
use proptest::prelude::*;
use std::{cmp::Ordering, fs::File};
use tree::{Entry, Tree, TreePath};
use types::{Arch, Bytes, Digest, Slot};

/// A kernel image of a version; `build` tells two of one version apart.
fn program(version: &str, build: u8) -> Vec<u8> {
    let stub = example::program(1024, "sbat,1\n");
    let root = root_hash(version, build);
    let release = format!("IMAGE_ID=evek\nIMAGE_VERSION={version}-kvm-amd64\nVERSION_ID={version}\n");
    let cmdline = format!("evek.roothash={} evek.datablocks=1", root.hex());
    let contents = uki::Contents {
        os_release: &release,
        cmdline: &cmdline,
        uname: "6.12",
        microcode: None,
        initrd: &[build; 3000],
        linux: &stub,
        sbat: None,
    };
    uki::assemble(&stub, &contents).unwrap()
}

fn root_hash(version: &str, build: u8) -> Digest {
    Digest::of(format!("{version} {build}").as_bytes())
}

/// A disk as images have it: the first slot is good, the other one empty.
fn disk() -> File {
    disk_with(&[Slot::A, Slot::B])
}

/// With partitions for these slots only.
fn disk_with(slots: &[Slot]) -> File {
    let folder = tempfile::tempdir().unwrap();
    let esp = folder.path().join("esp");
    let mut tree = Tree::default();
    for (path, bytes) in [
        ("EFI/BOOT/BOOTX64.EFI", b"old loader".to_vec()),
        ("EFI/Linux/evek-1.0-kvm-amd64.efi", program("1.0", 0)),
        ("loader/loader.conf", b"timeout 0\n".to_vec()),
    ] {
        tree.insert(TreePath::new(path).unwrap(), Entry::file(0o644, bytes)).unwrap();
    }
    let volume = fat::Volume { size: Bytes::mib(5), label: "EFI".into(), id: 1 };
    fat::write(&File::options().read(true).write(true).create_new(true).open(&esp).unwrap(), &volume, &tree).unwrap();
    let partition = |number, label: &str, kind, guid, size, content| Partition {
        number,
        label: label.into(),
        kind,
        guid,
        size,
        attributes: 0,
        content,
    };
    let image = PartitionType::Image;
    let first = Guid::of_root_hash(root_hash("1.0", 0));
    let mut partitions = vec![
        partition(1, "EFI System", PartitionType::EfiSystem, Guid::of_name("esp"), Bytes::mib(5), Some(esp)),
        partition(2, "IMGA", image, first, Bytes::mib(1), None),
        partition(3, "IMGB", image, Guid::of_name("b"), Bytes::mib(1), None),
    ];
    partitions.retain(|p| p.number == 1 || slots.iter().any(|slot| slot.label() == p.label));
    let layout = Layout { guid: Guid::of_name("disk"), size: None, partitions };
    let file = tempfile::tempfile().unwrap();
    layout.plan().unwrap().write(&file, &mut |_| ()).unwrap();
    for (slot, root) in [(Slot::A, root_hash("1.0", 0)), (Slot::B, Digest::of(b"nothing"))] {
        if slots.contains(&slot) {
            fill(&file, slot, root);
        }
    }
    file
}

/// Stands for what a slot holds: its root hash.
fn fill(disk: &impl Blocks, slot: Slot, root: Digest) {
    let start = Device::new(disk).status().unwrap().slot(slot).start;
    let mut sector = [0; 512];
    sector[..32].copy_from_slice(root.as_bytes());
    disk.write_at(&sector, start.0).unwrap();
    disk.flush().unwrap();
}

/// What starts next: its root hash. A start of something that is not there as a whole is the end of the device.
fn starts(disk: &impl Blocks) -> Digest {
    let status = Device::new(disk).status().unwrap();
    let (entry, slot) = status.next().expect("something starts");
    let slot =
        status.slot(slot.unwrap_or_else(|| panic!("{} starts a slot that is not there: {status:?}", entry.file)));
    let mut sector = [0; 512];
    disk.read_at(&mut sector, slot.start.0).unwrap();
    assert_eq!(&sector[..32], entry.image.root_hash.as_bytes(), "{} holds what it is started for", slot.slot.label());
    entry.image.root_hash
}

/// What systemd-boot does before it starts an image with a counter; by the firmware's driver, for which ours stands.
fn count_start(disk: &impl Blocks) {
    let status = Device::new(disk).status().unwrap();
    let (entry, _) = status.next().unwrap();
    let Some(tries) = entry.name.tries.filter(|tries| tries.left > 0) else { return };
    let next = entry.name.with(Some(crate::Tries { left: tries.left - 1, done: tries.done + 1 }));
    let table = disk::gpt::read_any(disk).unwrap().0;
    let esp = table.by_label("EFI System").unwrap();
    let mut esp = Edit::open(Window::new(disk, esp.start, esp.partition.size).unwrap()).unwrap();
    esp.rename(&format!("EFI/Linux/{}", entry.file), &next.to_string()).unwrap();
}

fn other(status: &Status, running: Digest) -> Slot {
    if status.with_root_hash(running).unwrap().slot == Slot::A { Slot::B } else { Slot::A }
}

/// A whole update: what a device does for one, with the writing of the slot between.
fn update(disk: &impl Blocks, running: Digest, version: &str, build: u8) -> Result<(), Error> {
    let device = Device::new(disk);
    let slot = other(&device.status()?, running);
    device.clear(slot, running)?;
    fill(disk, slot, root_hash(version, build));
    device.activate(slot, running, &program(version, build), TRIES)
}

/// Does something to a recorded disk and judges every state that a cut may leave: what starts is one of `allowed`, and the same
/// done again from there ends as it ended without a cut.
fn cut_everywhere(base: &File, allowed: &[Digest], random: usize, act: impl Fn(&dyn Blocks)) -> usize {
    let recorder = Recorder::new(base);
    act(&recorder);
    let end = Device::new(&recorder).recover().unwrap();
    let after = starts(&recorder);
    let (_, events) = recorder.into_parts();
    let mut count = 0;
    let options = Options { seed: 7, random_per_point: random, only: None };
    states(&base, &events, &options, |point, state: &Cut<'_, &File>| -> Result<(), ()> {
        count += 1;
        let found = starts(state);
        assert!(allowed.contains(&found), "after {point:?} neither the old nor the new starts");
        act(state);
        let done = Device::new(state).recover().unwrap();
        assert_eq!(starts(state), after, "after {point:?} and once more");
        let states = |status: &Status| status.slots.iter().map(|s| (s.state, s.root_hash())).collect::<Vec<_>>();
        assert_eq!(states(&done), states(&end), "after {point:?} and once more");
        Ok(())
    })
    .unwrap();
    count
}

#[test]
fn a_device_from_the_factory_starts_its_only_image() {
    let disk = disk();
    let status = Device::new(&disk).status().unwrap();
    assert_eq!(status.slots.each_ref().map(|s| s.state), [State::Good, State::Empty]);
    assert_eq!(starts(&disk), root_hash("1.0", 0));
}

/// It is too small for the other one, or its first start has not made that yet.
#[test]
fn a_disk_with_one_slot_starts_it_and_takes_no_update() {
    let (disk, running) = (disk_with(&[Slot::A]), root_hash("1.0", 0));
    let device = Device::new(&disk);
    let status = device.status().unwrap();
    assert_eq!(status.slots.each_ref().map(|s| s.state), [State::Good, State::Missing]);
    assert!(!status.is_on_trial(running));
    assert!(!device.bless(running).unwrap());
    assert!(matches!(device.clear(Slot::B, running), Err(Error::Missing(Slot::B))));
    assert!(matches!(device.go_back(running), Err(Error::Nothing { slot: Slot::B, state: State::Missing })));
    let none = Device::new(disk_with(&[])).status().unwrap_err();
    assert_eq!(none.to_string(), "the disk has no partition IMGA");
}

#[test]
fn an_update_that_is_cut_anywhere_leaves_the_old_or_the_new() {
    let (disk, old, new) = (disk(), root_hash("1.0", 0), root_hash("1.1", 0));
    let count = cut_everywhere(&disk, &[old, new], 12, |disk| {
        // once the new one is activated, an update to it is refused by who calls
        if Device::new(disk).status().unwrap().with_root_hash(new).is_none() {
            update(&disk, old, "1.1", 0).unwrap();
        }
    });
    assert!(count >= 100, "{count}");
}

#[test]
fn a_version_that_is_not_newer_starts_all_the_same_and_the_old_one_is_kept() {
    for (version, build) in [("1.0", 1), ("0.9", 0)] {
        let (disk, old, new) = (disk(), root_hash("1.0", 0), root_hash(version, build));
        update(&disk, old, version, build).unwrap();
        assert_eq!(starts(&disk), new);
        for _ in 0..TRIES {
            assert_eq!(starts(&disk), new);
            count_start(&disk);
            let status = Device::new(&disk).status().unwrap();
            assert!(status.is_on_trial(new) && !status.is_on_trial(old), "on its last try, too");
        }
        assert_eq!(starts(&disk), old, "the set aside one starts again when the new one has failed");
        assert!(Device::new(&disk).bless(old).unwrap());
        assert_eq!(
            Device::new(&disk).status().unwrap().slots.each_ref().map(|s| s.state),
            [State::Good, State::Bad { done: TRIES }]
        );
    }
}

#[test]
fn blessing_counting_and_going_back_survive_a_cut_anywhere() {
    let (disk, old, new) = (disk(), root_hash("1.0", 0), root_hash("1.1", 0));
    update(&disk, old, "1.1", 0).unwrap();
    cut_everywhere(&disk, &[new], 4, |disk| {
        let state = Device::new(disk).status().unwrap().with_root_hash(new).unwrap().state;
        if state == (State::Trial { left: TRIES, done: 0 }) {
            count_start(&disk);
        }
    });
    count_start(&disk);
    cut_everywhere(&disk, &[new], 4, |disk| {
        Device::new(disk).bless(new).unwrap();
    });
    Device::new(&disk).bless(new).unwrap();
    let back = |disk: &dyn Blocks| {
        let device = Device::new(disk);
        let status = device.status().unwrap();
        let done = [State::Trial { left: TRIES, done: 0 }, State::Bad { done: 0 }];
        if status.slots.each_ref().map(|s| s.state) != done {
            device.go_back(new).unwrap();
        }
    };
    cut_everywhere(&disk, &[old, new], 4, back);
    back(&disk);
    assert_eq!(starts(&disk), old);
}

#[test]
fn a_boot_loader_is_replaced_at_once() {
    let disk = disk();
    let recorder = Recorder::new(&disk);
    let new = vec![0x5a; 70_000];
    Device::new(&recorder).replace_loader(Arch::Amd64, &new).unwrap();
    let (_, events) = recorder.into_parts();
    let options = Options { seed: 3, random_per_point: 8, only: None };
    states(&&disk, &events, &options, |point, state: &Cut<'_, &File>| -> Result<(), ()> {
        let found = Device::new(state).loader(Arch::Amd64).unwrap().unwrap();
        assert!(found == new || found == b"old loader", "{point:?}");
        Ok(())
    })
    .unwrap();
}

/// Every state that a cut leaves while `act` changes the second boot loader of a disk.
fn second_loader_cut_everywhere(base: &File, allowed: &[Option<&[u8]>], act: impl Fn(&dyn Blocks)) -> Vec<usize> {
    let recorder = Recorder::new(base);
    act(&recorder);
    let after = Device::new(&recorder).second_loader(Arch::Amd64).unwrap();
    let (_, events) = recorder.into_parts();
    let options = Options { seed: 3, random_per_point: 8, only: None };
    let mut seen = vec![0; allowed.len()];
    states(&base, &events, &options, |point, state: &Cut<'_, &File>| -> Result<(), ()> {
        let device = Device::new(state);
        assert_eq!(device.loader(Arch::Amd64).unwrap().unwrap(), b"old loader", "after {point:?}");
        let found = device.second_loader(Arch::Amd64).unwrap();
        let which = allowed.iter().position(|allowed| *allowed == found.as_deref());
        seen[which.unwrap_or_else(|| panic!("after {point:?} the second one is neither old nor new"))] += 1;
        act(state);
        assert_eq!(device.second_loader(Arch::Amd64).unwrap(), after, "after {point:?} and once more");
        assert_eq!(device.loader(Arch::Amd64).unwrap().unwrap(), b"old loader", "after {point:?} and once more");
        Ok(())
    })
    .unwrap();
    seen
}

#[test]
fn a_second_boot_loader_comes_changes_and_goes_at_once_and_the_first_stays() {
    let (disk, arch) = (disk(), Arch::Amd64);
    let (new, newer) = (vec![0x5a; 70_000], vec![0xa5; 90_000]);
    let write = |program: &[u8]| {
        let program = program.to_vec();
        move |disk: &dyn Blocks| Device::new(disk).replace_second_loader(arch, &program).unwrap()
    };
    let remove = |disk: &dyn Blocks| Device::new(disk).remove_second_loader(arch).unwrap();
    let both = |seen: Vec<usize>| assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    both(second_loader_cut_everywhere(&disk, &[None, Some(&new)], write(&new)));
    write(&new)(&disk);
    both(second_loader_cut_everywhere(&disk, &[Some(&new), Some(&newer)], write(&newer)));
    both(second_loader_cut_everywhere(&disk, &[Some(&new), None], remove));
}

#[test]
fn the_second_boot_loader_has_its_own_place_on_the_same_partition() {
    let disk = disk();
    let device = Device::new(&disk);
    device.replace_second_loader(Arch::Amd64, b"second").unwrap();
    assert_eq!(device.read("EFI/evek/BOOTX64.EFI").unwrap().unwrap(), b"second");
    assert_eq!(second_loader_path(Arch::Arm64), "EFI/evek/BOOTAA64.EFI");
    let esp = device.esp_partition().unwrap();
    assert_eq!((esp.partition.number, esp.partition.guid), (1, Guid::of_name("esp")));
    assert_eq!((esp.start, esp.partition.size), (Bytes::mib(1), Bytes::mib(5)));
    // one that is missing is made
    Edit::open(Window::new(&disk, esp.start, esp.partition.size).unwrap())
        .unwrap()
        .remove("EFI/BOOT/BOOTX64.EFI")
        .unwrap();
    device.replace_loader(Arch::Amd64, b"first").unwrap();
    assert_eq!(device.loader(Arch::Amd64).unwrap().unwrap(), b"first");
}

#[test]
fn what_runs_is_never_written_and_must_be_good_first() {
    let (disk, old, new) = (disk(), root_hash("1.0", 0), root_hash("1.1", 0));
    let device = Device::new(&disk);
    assert!(matches!(device.clear(Slot::A, old), Err(Error::Running(Slot::A))));
    assert!(matches!(device.activate(Slot::B, old, &program("1.1", 0), 3), Err(Error::Unexpected { .. })));
    assert!(matches!(device.go_back(old), Err(Error::Nothing { .. })));
    assert!(matches!(device.bless(new), Err(Error::NotOurs { .. })));
    update(&disk, old, "1.1", 0).unwrap();
    count_start(&disk);
    assert!(matches!(device.clear(Slot::A, new), Err(Error::NotGood { .. })), "while it is on trial");
    let mut large = program("1.2", 0);
    large.resize(6 << 20, 0);
    device.clear(Slot::B, old).unwrap();
    assert!(matches!(device.activate(Slot::B, old, &large, 3), Err(Error::NoRoom { .. })));
    assert_eq!(starts(&disk), old);
}

/// What may happen to a device.
#[derive(Debug, Clone)]
enum Happening {
    /// An update, newer by so much.
    Update(i8),
    /// A start that reaches its services, or does not.
    Start(bool),
    GoBack,
    /// The one after this is cut at a point, in one of the ways.
    Cut(u16),
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let one = prop_oneof![
        (-1i8..=2).prop_map(Happening::Update),
        any::<bool>().prop_map(Happening::Start),
        Just(Happening::GoBack),
        any::<u16>().prop_map(Happening::Cut),
    ];
    proptest::collection::vec(one, 1..14)
}

/// The disk after one of the cuts that are possible, as a disk of its own.
fn cut(base: &File, events: &[disk::power::Event], chosen: u16) -> File {
    let mut all = 0;
    let options = Options { seed: u64::from(chosen), random_per_point: 2, only: None };
    let count = |_: &_, _: &Cut<'_, &File>| -> Result<(), ()> {
        all += 1;
        Ok(())
    };
    states(&base, events, &options, count).unwrap();
    let (mut at, wanted, mut found) = (0, usize::from(chosen) % all.max(1), None);
    states(&base, events, &options, |_, state: &Cut<'_, &File>| -> Result<(), ()> {
        if at == wanted {
            let mut bytes = vec![0; usize::try_from(state.len().unwrap()).unwrap()];
            state.read_at(&mut bytes, 0).unwrap();
            let file = tempfile::tempfile().unwrap();
            file.write_at(&bytes, 0).unwrap();
            found = Some(file);
        }
        at += 1;
        Ok(())
    })
    .unwrap();
    found.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever happens: something starts, as a whole, and once an image was found good nothing but a later update that fails
    /// and is found good by nobody ever takes its place.
    #[test]
    fn a_device_always_comes_back(life in happenings()) {
        let mut disk = disk();
        let (mut version, mut cut_next) = (10i32, None);
        for (n, happening) in life.into_iter().enumerate() {
            let running = starts(&disk);
            let recorder = Recorder::new(&disk);
            let device = Device::new(&recorder);
            match happening {
                Happening::Update(step) => {
                    version += i32::from(step);
                    let name = format!("1.{version}");
                    let result = update(&recorder, running, &name, n as u8);
                    let good = device.status().unwrap().with_root_hash(running).map(|s| s.state) == Some(State::Good);
                    prop_assert!(result.is_ok() == good || starts(&recorder) != running, "{result:?}");
                }
                Happening::Start(well) => {
                    count_start(&recorder);
                    if well {
                        device.bless(running).unwrap();
                    }
                }
                Happening::GoBack => {
                    let _ = device.go_back(running);
                }
                Happening::Cut(point) => {
                    cut_next = Some(point);
                    continue;
                }
            }
            let (_, events) = recorder.into_parts();
            // without a cut, as if it came after all of it
            let next = cut(&disk, &events, cut_next.take().unwrap_or(0));
            if events.is_empty() {
                continue;
            }
            disk = next;
            starts(&disk);
        }
        // a start that goes well makes an end of every trial
        for _ in 0..3 {
            let running = starts(&disk);
            count_start(&disk);
            Device::new(&disk).bless(running).unwrap();
        }
        let status = Device::new(&disk).status().unwrap();
        let running = starts(&disk);
        prop_assert_eq!(status.with_root_hash(running).unwrap().state, State::Good);
        prop_assert_eq!(crate::compare("1", "1"), Ordering::Equal);
    }
}
