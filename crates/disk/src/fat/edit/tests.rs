use super::*;
use crate::{
    fat::{Item, folder::DELETED},
    power::Recorder,
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Seek as _},
};

mod cuts;
mod damage;
mod volumes;

use volumes::*;

/// Everything on a volume: files with their bytes, folders with none and a `/` at the end.
type Contents = BTreeMap<String, Vec<u8>>;

fn contents<B: Blocks>(edit: &Edit<B>) -> Result<Contents, Error> {
    let (table, mut found) = (edit.table()?, Contents::new());
    let mut folders = vec![(String::new(), edit.folder(&table, 0)?)];
    while let Some((path, folder)) = folders.pop() {
        for entry in &folder.entries {
            let name = format!("{path}{}", entry.name);
            if entry.is_folder {
                folders.push((format!("{name}/"), edit.enter(&table, entry)?));
                found.insert(format!("{name}/"), Vec::new());
            } else {
                let bytes = edit.content(&table, entry, &name)?;
                assert_eq!(found.insert(name, bytes), None, "two of one name");
            }
        }
    }
    Ok(found)
}

/// The same as another implementation reads it.
fn by_fatfs(file: &File) -> Contents {
    fn add(dir: &fatfs::Dir<'_, File>, path: &str, found: &mut Contents) {
        for entry in dir.iter().map(Result::unwrap).filter(|e| !e.file_name().starts_with('.')) {
            let name = format!("{path}{}", entry.file_name());
            if entry.is_dir() {
                add(&entry.to_dir(), &format!("{name}/"), found);
                found.insert(format!("{name}/"), Vec::new());
            } else {
                let mut bytes = Vec::new();
                entry.to_file().read_to_end(&mut bytes).unwrap();
                found.insert(name, bytes);
            }
        }
    }
    let mut at_start = file.try_clone().unwrap();
    at_start.rewind().unwrap();
    let volume = fatfs::FileSystem::new(at_start, fatfs::FsOptions::new()).unwrap();
    let mut found = Contents::new();
    add(&volume.root_dir(), "", &mut found);
    found
}

/// A change, for the editor and for a model of it.
#[derive(Debug, Clone)]
enum Change {
    Create(String, Vec<u8>),
    Replace(String, Vec<u8>),
    Rename(String, String),
    Remove(String),
}

impl Change {
    fn apply<B: Blocks>(&self, edit: &mut Edit<B>) -> Result<(), Error> {
        match self {
            Self::Create(path, bytes) => edit.create(path, bytes),
            Self::Replace(path, bytes) => edit.replace(path, bytes),
            Self::Rename(path, name) => edit.rename(path, name),
            Self::Remove(path) => edit.remove(path),
        }
    }

    /// What the volume then has; `None` where the change has to be refused.
    fn of(&self, before: &Contents) -> Option<Contents> {
        let mut after = before.clone();
        match self {
            Self::Create(path, _) | Self::Replace(path, _)
                if before.contains_key(path) == matches!(self, Self::Create(..)) =>
            {
                return None;
            }
            Self::Create(path, bytes) | Self::Replace(path, bytes) => {
                for (at, _) in path.match_indices('/') {
                    after.insert(path[..=at].to_owned(), Vec::new());
                }
                after.insert(path.clone(), bytes.clone());
            }
            Self::Rename(path, name) => {
                let to = path.rsplit_once('/').map_or(name.clone(), |(folder, _)| format!("{folder}/{name}"));
                let bytes = after.remove(path)?;
                if after.insert(to, bytes).is_some() {
                    return None;
                }
            }
            Self::Remove(path) => drop(after.remove(path)?),
        }
        Some(after)
    }
}

/// Names of every kind: short, long, with a counter, of one to sixteen slots.
fn names() -> Vec<String> {
    let long = |n: usize| format!("{}.efi", "long-".repeat(n));
    let known =
        ["BOOTX64.EFI", "evek-0.1.0+3.efi", "evek-0.1.0.efi", "evek-0.1.0+2-1.efi", "LOADER~1.CON", "LOADER.CON"];
    known.iter().map(|n| (*n).to_owned()).chain([long(10), long(20), long(38), "ünï x".to_owned()]).collect()
}

fn any_change() -> impl Strategy<Value = Change> {
    let folder = prop::sample::select(vec!["", "EFI/Linux/", "EFI/BOOT/", "a new folder/and one in it/"]);
    let path = (folder, prop::sample::select(names())).prop_map(|(folder, name)| format!("{folder}{name}"));
    let bytes = (any::<u8>(), prop_oneof![Just(0usize), 1usize..3000, Just(9 * 512)]).prop_map(|(b, n)| vec![b; n]);
    prop_oneof![
        4 => (path.clone(), bytes.clone()).prop_map(|(p, b)| Change::Create(p, b)),
        2 => (path.clone(), bytes).prop_map(|(p, b)| Change::Replace(p, b)),
        3 => (path.clone(), prop::sample::select(names())).prop_map(|(p, n)| Change::Rename(p, n)),
        2 => path.prop_map(Change::Remove),
    ]
}

/// Both FATs are equal, and as many clusters are free as nothing refers to.
fn assert_tidy<B: Blocks>(edit: &Edit<B>, contents: &Contents) {
    let g = &edit.geometry;
    let fats: Vec<Vec<u8>> = g
        .fats()
        .map(|at| {
            let mut bytes = vec![0; g.fat_sectors as usize * 512];
            edit.blocks.read_at(&mut bytes, at).unwrap();
            bytes
        })
        .collect();
    assert!(fats.iter().all(|fat| *fat == fats[0]));
    let table = edit.table().unwrap();
    let files: u64 = contents.values().map(|bytes| (bytes.len() as u64).div_ceil(g.cluster_len())).sum();
    let mut folders = edit.folder(&table, 0).unwrap().chain.len();
    for path in contents.keys().filter(|path| path.ends_with('/')) {
        let entry = edit.find(&table, &path[..path.len() - 1]).unwrap().entry.unwrap();
        folders += edit.enter(&table, &entry).unwrap().chain.len();
    }
    assert_eq!(u64::from(g.clusters - table.free()), files + folders as u64);
    assert_eq!(edit.free(), Bytes(u64::from(table.free()) * g.cluster_len()));
    if let Some(sector) = g.info {
        let mut info = [0; 512];
        edit.blocks.read_at(&mut info, u64::from(sector) * 512).unwrap();
        assert_eq!(info[488..492], table.free().to_le_bytes());
        assert_eq!(info[492..496], table.first_free().unwrap().to_le_bytes());
    }
}

// `fsck.fat` judges our own volumes after such changes in tests/tests/oracles.rs. In those that fatfs wrote it finds the long
// names that fatfs gives to `.` and `..`, before the changes as after them.
#[test]
fn another_implementation_reads_what_was_changed() {
    for (name, file) in volumes() {
        let mut edit = Edit::open(&file).unwrap();
        assert_eq!(contents(&edit).unwrap(), by_fatfs(&file), "{name}");
        edit.reclaim().unwrap();
        let mut model = contents(&edit).unwrap();
        let mut changes = vec![
            Change::Create("EFI/Linux/evek-0.2.0+3.efi".to_owned(), vec![7; 100_000]),
            Change::Rename("EFI/Linux/evek-0.2.0+3.efi".to_owned(), "evek-0.2.0+2-1.efi".to_owned()),
            Change::Rename("EFI/Linux/evek-0.2.0+2-1.efi".to_owned(), "evek-0.2.0.efi".to_owned()),
            Change::Replace("EFI/BOOT/BOOTX64.EFI".to_owned(), vec![8; 33_333]),
            Change::Create("loader/keys/auto/PK.auth".to_owned(), vec![9; 512]),
            Change::Create(format!("{}/{}", "x".repeat(190), "y".repeat(195)), vec![]),
        ];
        for n in 0..40 {
            let path = format!("EFI/Linux/one of many files with a name {n}.efi");
            changes.push(Change::Create(path.clone(), vec![n; 700]));
            if n % 3 == 0 {
                changes.push(Change::Remove(path));
            }
        }
        changes
            .extend(model.keys().filter(|p| p.starts_with("many/") && p.len() > 5).map(|p| Change::Remove(p.clone())));
        for change in changes {
            change.apply(&mut edit).unwrap_or_else(|e| panic!("{name}: {change:?}: {e}"));
            model = change.of(&model).unwrap();
        }
        edit.remove("many").unwrap();
        model.remove("many/");
        assert_eq!(contents(&edit).unwrap(), model, "{name}");
        assert_eq!(by_fatfs(&file), model, "{name}");
        assert_tidy(&edit, &model);
        assert_eq!(edit.reclaim().unwrap(), Bytes(0), "{name}");
        assert_eq!(by_fatfs(&file), model, "{name}");
    }
}

#[test]
fn a_folder_is_listed_and_paths_do_not_mind_capitals() {
    let file = ours(Bytes::mib(5));
    let mut edit = Edit::open(&file).unwrap();
    edit.create("EFI/Linux/Some Name.efi", b"bytes").unwrap();
    let list = edit.list("efi/LINUX/").unwrap();
    let last = list.last().unwrap();
    assert_eq!(*last, Item { name: "Some Name.efi".to_owned(), size: 5, is_folder: false });
    assert!(edit.list("").unwrap().contains(&Item { name: "EFI".to_owned(), size: 0, is_folder: true }));
    for path in ["EFI/Linux/some name.EFI", "/efi/linux/SOMENA~1.EFI"] {
        assert_eq!(edit.read(path).unwrap().unwrap(), b"bytes");
    }
    assert_eq!(edit.read("EFI/nowhere/x").unwrap(), None);
    edit.rename("EFI/Linux/some name.efi", "SOME NAME.EFI").unwrap();
    assert_eq!(edit.list("EFI/Linux").unwrap().last().unwrap().name, "SOME NAME.EFI");
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let file = ours(Bytes::mib(5));
    let recorder = Recorder::new(&file);
    let mut edit = Edit::open(&recorder).unwrap();
    let problem = |result: Result<(), Error>| result.unwrap_err().to_string();
    assert!(problem(edit.create("EFI/boot/bootx64.efi", b"")).contains("exists already"));
    assert!(problem(edit.create("EFI/BOOT/BOOTX64.EFI/x", b"")).contains("not a folder"));
    assert!(problem(edit.create(&"x".repeat(196), b"")).contains("longer than 195"));
    assert!(problem(edit.create(&format!("new/{}", "x".repeat(196)), b"")).contains("longer than 195"));
    for bad in ["", "/", "EFI//x", "EFI/", "EFI/../x", "a?"] {
        assert!(edit.create(bad, b"").is_err(), "{bad}");
    }
    let room = edit.free();
    let error = edit.create("new/big", &vec![0; room.0 as usize]).unwrap_err();
    assert!(
        matches!(error, Error::NoRoom { needed, free, .. } if free == room && needed == room + Bytes(512)),
        "{error}"
    );
    assert!(matches!(edit.replace("EFI/BOOT/BOOTX64.EFI", &vec![0; room.0 as usize + 1]), Err(Error::NoRoom { .. })));
    assert!(problem(edit.replace("EFI", b"")).contains("folder"));
    assert!(problem(edit.replace("nothing", b"")).contains("missing"));
    assert!(problem(edit.remove("nothing")).contains("missing"));
    assert!(problem(edit.remove("EFI")).contains("not empty"));
    assert!(problem(edit.rename("EFI/Linux/a long name of our own.efi", "evek.efi")).contains("exists already"));
    assert!(problem(edit.rename("nothing", "x")).contains("missing"));
    assert!(problem(edit.rename("EFI", "a/b")).contains("not allowed"));
    assert!(edit.list("nothing").is_err() && edit.list("EFI/BOOT/BOOTX64.EFI").is_err());
    assert!(edit.read("EFI").is_err());
    assert_eq!(recorder.count(), 0);
    edit.create("big", &vec![5; room.0 as usize]).unwrap();
    assert_eq!(edit.free(), Bytes(0));
    assert!(matches!(edit.create("one", b"x"), Err(Error::NoRoom { .. })));
    edit.create("none", b"").unwrap();
}

#[test]
fn content_with_two_names_stays_until_the_second_is_gone() {
    let file = ours(Bytes::mib(5));
    let mut edit = Edit::open(&file).unwrap();
    edit.reclaim().unwrap();
    let free = edit.free();
    edit.create("one", &[3; 5000]).unwrap();
    edit.create("two", b"").unwrap();
    // as a cut amid a rename leaves it
    let table = edit.table().unwrap();
    let mut root = edit.folder(&table, 0).unwrap();
    let one = root.all("one").next().unwrap().slot();
    let two = root.all("two").next().unwrap().slot();
    let place = root.slot_mut(one)[20..].to_vec();
    root.slot_mut(two)[20..].copy_from_slice(&place);
    root.write_slot(&file, two).unwrap();
    assert_eq!(edit.reclaim().unwrap(), Bytes(0));
    edit.remove("one").unwrap();
    assert_eq!(edit.read("two").unwrap().unwrap(), [3; 5000]);
    assert_eq!(edit.free(), Bytes(free.0 - 5120));
    edit.replace("two", &[4; 10]).unwrap();
    assert_eq!(edit.free(), Bytes(free.0 - 512));
    edit.remove("two").unwrap();
    assert_eq!(edit.free(), free);
}

/// Linux goes on behind the end mark, EDK II does not: what is there must not come to light when the mark moves.
#[test]
fn what_lies_behind_the_end_of_a_folder_stays_hidden() {
    for slots_left in 0..16 {
        let file = ours(Bytes::mib(5));
        let edit = Edit::open(&file).unwrap();
        let mut model = contents(&edit).unwrap();
        let table = edit.table().unwrap();
        let mut root = edit.folder(&table, 0).unwrap();
        let end = root.entries.last().unwrap().slots.end;
        let ghost = set(&name::beside("ghost.efi", &BTreeSet::new()).unwrap(), slot(&[0; 11], ARCHIVE, 9, 9));
        // a mark so many slots before the end of the sector, ghosts behind it
        let mark = 16 * 3 - slots_left;
        (end..mark).for_each(|n| root.slot_mut(n)[0] = DELETED);
        for n in (mark + 1..16 * 5).step_by(2).filter(|n| n % 16 != 15) {
            root.bytes[n * SLOT..(n + 2) * SLOT].copy_from_slice(&ghost);
        }
        root.write(&file, (0..5).collect()).unwrap();
        let mut edit = Edit::open(&file).unwrap();
        assert_eq!(contents(&edit).unwrap(), model);
        for n in 0..9u8 {
            let path = format!("a name of some more slots {n} {}", "x".repeat(60));
            edit.create(&path, &[n]).unwrap();
            model.insert(path, vec![n]);
            assert_eq!(contents(&edit).unwrap(), model, "{slots_left}");
            assert_eq!(by_fatfs(&file), model, "{slots_left}");
        }
    }
}

#[test]
fn a_long_name_without_an_entry_names_nothing_that_is_put_behind_it() {
    let file = ours(Bytes::mib(5));
    let edit = Edit::open(&file).unwrap();
    let mut folder = edit.folder(&edit.table().unwrap(), 0).unwrap();
    let end = folder.entries.last().unwrap().slots.end;
    let lost = name::beside("plain.txt", &BTreeSet::new()).unwrap().long_slots();
    folder.bytes[end * SLOT..(end + 1) * SLOT].copy_from_slice(&lost);
    folder.write_slot(&file, end).unwrap();
    let mut edit = Edit::open(&file).unwrap();
    edit.create("PLAIN.TXT", b"").unwrap();
    assert_eq!(edit.list("").unwrap().last().unwrap().name, "PLAIN.TXT");
    assert!(by_fatfs(&file).contains_key("PLAIN.TXT"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Any changes in any order do what a model says, and what the model refuses is refused.
    #[test]
    fn changes_do_what_a_model_does(which in 0usize..3, changes in prop::collection::vec(any_change(), 1..25)) {
        let file = small_volumes(which);
        let recorder = Recorder::new(&file);
        let mut edit = Edit::open(&recorder).unwrap();
        edit.reclaim().unwrap();
        let mut model = contents(&edit).unwrap();
        for change in &changes {
            match (change.apply(&mut edit), change.of(&model)) {
                (Ok(()), Some(after)) => model = after,
                (Err(Error::File { .. }), None) => {}
                (result, expected) => prop_assert!(false, "{:?}: {:?}, {}", change, result, expected.is_some()),
            }
            prop_assert_eq!(&contents(&edit).unwrap(), &model);
        }
        assert_tidy(&edit, &model);
        prop_assert_eq!(edit.reclaim().unwrap(), Bytes(0));
    }
}
