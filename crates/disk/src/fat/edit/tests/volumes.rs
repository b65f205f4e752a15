//! Volumes to be changed: our own, and such as other systems leave them.

use super::*;
use crate::fat::{Volume, write};
use std::{io::Write as _, sync::OnceLock};
use tree::{Entry, Tree, TreePath};

pub(super) fn ours(size: Bytes) -> File {
    let mut t = Tree::default();
    let mut add =
        |path: &str, bytes: Vec<u8>| t.insert(TreePath::new(path).unwrap(), Entry::file(0o644, bytes)).unwrap();
    add("EFI/BOOT/BOOTX64.EFI", vec![0xaa; 10_000]);
    add("EFI/Linux/evek.efi", vec![0xbb; 70_000]);
    add("EFI/Linux/a long name of our own.efi", vec![0xcc; 600]);
    add("loader/loader.conf", b"timeout 0\n".to_vec());
    add("loader/empty", vec![]);
    (0..30).for_each(|n| add(&format!("many/a long name {n} ünï.conf"), vec![n; 3]));
    let file = tempfile::tempfile().unwrap();
    write(&file, &Volume { size, label: "ESP".to_owned(), id: 7 }, &t).unwrap();
    file
}

/// As another system left it: folders in pieces, sets over two sectors, deleted slots, files in pieces, other cluster sizes.
pub(super) fn theirs(size: Bytes, cluster: u32, kind: fatfs::FatType, fats: u8) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(size.0).unwrap();
    let options = fatfs::FormatVolumeOptions::new().bytes_per_cluster(cluster).fat_type(kind).fats(fats);
    fatfs::format_volume(file.try_clone().unwrap(), options).unwrap();
    let volume = fatfs::FileSystem::new(file.try_clone().unwrap(), fatfs::FsOptions::new()).unwrap();
    let root = volume.root_dir();
    for folder in ["EFI", "EFI/BOOT", "EFI/Linux", "many"] {
        root.create_dir(folder).unwrap();
    }
    let add = |path: &str, byte: u8, len: usize| {
        let mut file = root.create_file(path).unwrap();
        std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).unwrap();
        file.write_all(&vec![byte; len]).unwrap();
    };
    let long = |n: u8| format!("EFI/Linux/a name of a few slots {n} {}.efi", "x".repeat(usize::from(n) * 4));
    for n in 0..24 {
        add("EFI/BOOT/BOOTX64.EFI", n, 700);
        add(&long(n), n, 900);
        add(&format!("many/short{n}"), n, 100);
        add(&format!("gone {n}"), n, 600);
    }
    (0..24).for_each(|n| root.remove(&format!("gone {n}")).unwrap());
    (0..24).filter(|n| n % 4 == 1).for_each(|n| root.remove(&long(n)).unwrap());
    drop(root);
    volume.unmount().unwrap();
    file
}

pub(super) fn volumes() -> Vec<(&'static str, File)> {
    use fatfs::FatType::{Fat16, Fat32};
    vec![
        ("ours 5 MiB", ours(Bytes::mib(5))),
        ("ours 40 MiB", ours(Bytes::mib(40))),
        ("ours 64 MiB", ours(Bytes::mib(64))),
        ("ours 512 MiB", ours(Bytes::mib(512))),
        ("theirs FAT16", theirs(Bytes::mib(16), 1024, Fat16, 2)),
        ("theirs FAT16, one FAT", theirs(Bytes::mib(16), 2048, Fat16, 1)),
        ("theirs FAT32", theirs(Bytes::mib(80), 512, Fat32, 2)),
    ]
}

/// Volumes that are quickly read, made once: not to be written to.
pub(super) fn small_volumes(which: usize) -> File {
    static ONCE: OnceLock<[File; 3]> = OnceLock::new();
    let made = ONCE.get_or_init(|| {
        [
            ours(Bytes::mib(5)),
            theirs(Bytes::mib(5), 512, fatfs::FatType::Fat16, 2),
            theirs(Bytes::mib(6), 1024, fatfs::FatType::Fat16, 1),
        ]
    });
    made[which].try_clone().unwrap()
}
