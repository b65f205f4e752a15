//! Volumes that lie.

use super::*;
use crate::fat::table::Link;

/// Does everything there is to do; errors are welcome, panics are not.
fn use_all<B: Blocks>(blocks: B) -> Result<(), Error> {
    let mut edit = Edit::open(blocks)?;
    for folder in ["", "EFI", "EFI/Linux", "many"] {
        for item in edit.list(folder).unwrap_or_default() {
            let _ = edit.read(&format!("{folder}/{}", item.name));
        }
    }
    let _ = edit.reclaim();
    let _ = edit.replace("EFI/BOOT/BOOTX64.EFI", &[1; 5000]);
    let _ = edit.create("EFI/Linux/a new file of some length.efi", &[2; 5000]);
    let _ = edit.rename("EFI/Linux/a new file of some length.efi", "evek-0.1.0.efi");
    let _ = edit.rename("EFI/BOOT/BOOTX64.EFI", "a much longer name than before.efi");
    let _ = edit.create("new folder/file", b"x");
    let _ = edit.remove("EFI/Linux/evek-0.1.0.efi");
    edit.reclaim().map(|_| ())
}

/// The slot of a path, and the folder it lies in.
fn slot_of<B: Blocks>(edit: &Edit<B>, path: &str) -> (Folder, usize) {
    let found = edit.find(&edit.table().unwrap(), path).unwrap();
    (found.folder, found.entry.unwrap().slot())
}

#[test]
fn circles_and_chains_to_nowhere_are_errors() {
    let file = ours(Bytes::mib(5));
    let spoil = |path: &str, at: usize, value: u16| {
        let recorder = Recorder::new(file.try_clone().unwrap());
        let (mut folder, slot) = slot_of(&Edit::open(&recorder).unwrap(), path);
        folder.slot_mut(slot)[at..at + 2].copy_from_slice(&value.to_le_bytes());
        folder.write_slot(&recorder, slot).unwrap();
        Edit::open(recorder).unwrap()
    };
    let first = |path: &str| {
        let (mut folder, slot) = slot_of(&Edit::open(&file).unwrap(), path);
        let raw = folder.slot_mut(slot);
        u16::from_le_bytes([raw[26], raw[27]])
    };
    let text = |e: Error| e.to_string();
    let mut edit = spoil("EFI/Linux", 26, first("EFI"));
    assert!(text(edit.reclaim().unwrap_err()).contains("in itself"));
    assert!(text(edit.remove("EFI/BOOT/BOOTX64.EFI").unwrap_err()).contains("in itself"));
    assert!(text(spoil("EFI", 26, 0).list("EFI").unwrap_err()).contains("root folder"));
    assert!(text(spoil("EFI", 26, 0).reclaim().unwrap_err()).contains("root folder"));
    assert!(text(spoil("EFI", 26, 60_000).list("EFI").unwrap_err()).contains("broken"));
    let long = spoil("EFI/BOOT/BOOTX64.EFI", 30, 1);
    assert!(text(long.read("EFI/BOOT/BOOTX64.EFI").unwrap_err()).contains("shorter"));

    let recorder = Recorder::new(&file);
    let mut edit = Edit::open(&recorder).unwrap();
    let mut table = edit.table().unwrap();
    let start = u32::from(first("EFI/BOOT/BOOTX64.EFI"));
    table.set(start + 3, Link::Next(start + 1));
    table.store(&recorder, &edit.geometry).unwrap();
    assert!(text(edit.read("EFI/BOOT/BOOTX64.EFI").unwrap_err()).contains("circle"));
    // a damaged file can be got rid of
    edit.remove("EFI/BOOT/BOOTX64.EFI").unwrap();
    assert!(edit.reclaim().unwrap() > Bytes(0));
    assert_tidy(&edit, &contents(&edit).unwrap());
}

#[test]
fn volumes_that_are_not_fat16_or_fat32_are_refused() {
    let file = ours(Bytes::mib(64));
    let refused = |at: u64, bytes: &[u8], why: &str| {
        let recorder = Recorder::new(&file);
        recorder.write_at(bytes, at).unwrap();
        let error = Edit::open(&recorder).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    };
    refused(510, &[0], "no boot sector");
    refused(11, &4096u16.to_le_bytes(), "not of 512");
    refused(13, &[3], "power of two");
    refused(13, &[0], "power of two");
    refused(13, &[128], "too small for FAT16");
    refused(13, &[4], "disagree");
    refused(14, &[0, 0], "no reserved");
    refused(16, &[3], "neither one FAT");
    refused(17, &[16, 0], "two root folders");
    refused(32, &u32::MAX.to_le_bytes(), "longer than what it lies on");
    refused(36, &100_000u32.to_le_bytes(), "FATs are longer than it");
    refused(36, &10u32.to_le_bytes(), "too short for its clusters");
    refused(36, &u32::MAX.to_le_bytes(), "length of its FATs");
    refused(40, &[0x80], "not kept equal");
    refused(42, &[1], "later version");
    refused(44, &u32::MAX.to_le_bytes(), "at no cluster");
    assert!(Edit::open(&tempfile::tempfile().unwrap()).is_err());
    assert!(Edit::open(&file).is_ok());
}

/// Sectors with the volume's own data: boot sector, FATs, folders.
fn metadata(file: &File) -> Vec<u64> {
    let edit = Edit::open(file).unwrap();
    let table = edit.table().unwrap();
    let mut sectors: Vec<u64> = (0..edit.geometry.cluster(2) / 512).collect();
    for folder in ["EFI", "EFI/Linux", "EFI/BOOT", "many"] {
        let entry = edit.find(&table, folder).unwrap().entry.unwrap();
        let folder = edit.enter(&table, &entry).unwrap();
        let places = (0..folder.bytes.len() / 32).step_by(16).map(|slot| folder.place(slot) / 512);
        // again and again, as most sectors of the FATs are empty
        sectors.extend(places.flat_map(|place| [place; 10]));
    }
    sectors.extend([1, 2, edit.geometry.root() / 512].iter().flat_map(|place| [*place; 40]));
    sectors
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn random_damage_never_panics_or_hangs(
        which in 0usize..3,
        damage in prop::collection::vec((any::<prop::sample::Index>(), 0usize..512, any::<u8>()), 1..60),
    ) {
        let file = small_volumes(which);
        let recorder = Recorder::new(&file);
        let sectors = metadata(&file);
        for (sector, at, value) in damage {
            recorder.write_at(&[value], *sector.get(&sectors) * 512 + at as u64).unwrap();
        }
        let _ = use_all(recorder);
    }
}
