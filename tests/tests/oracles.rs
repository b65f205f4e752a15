//! What our writers write, judged by programs of others. Each judge is given a damaged file too, and has to refuse it.

use boot_tests::{Checks, described, image, oracles::Oracles};
use defs::ImageConfig;
use disk::{Guid, Layout, Partition, PartitionType, fat, gpt};
use oci::image::{Image, ImageSpec, Layer};
use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
    path::Path,
};
use tree::{Entry, Kind, Tree, TreePath};
use types::{Arch, Bytes, Flavour};

fn p(path: &str) -> TreePath {
    TreePath::new(path).expect("a path")
}

fn tree<'a>(entries: impl IntoIterator<Item = (&'a str, Entry)>) -> Tree {
    let mut tree = Tree::default();
    for (path, entry) in entries {
        tree.insert(p(path), entry).expect("room for an entry");
    }
    tree
}

/// Turns the bits of one byte over.
fn damage(file: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(file).expect("the file");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("a byte");
    file.write_all_at(&[!byte[0]], at).expect("another byte");
}

fn judge(path: &Path, argv: &[&str]) -> Result<String, String> {
    Oracles::default().with("file", path).run(argv)
}

const FSCK_FAT: [&str; 3] = ["fsck.fat", "-n", "/in/file"];
const FSCK_EROFS: [&str; 2] = ["fsck.erofs", "/in/file"];

fn volume(path: &Path, mib: u64) -> File {
    let mut files = tree([
        ("EFI/BOOT/BOOTX64.EFI", Entry::file(0o644, vec![0xaa; 10_000])),
        ("EFI/Linux/evek-0.1.0-kvm-amd64.efi", Entry::file(0o644, vec![0xbb; 70_000])),
        ("loader/loader.conf", Entry::file(0o644, b"timeout 0\n".to_vec())),
        ("loader/empty", Entry::file(0o644, vec![])),
    ]);
    for n in 0..100 {
        let entry = Entry::file(0o644, vec![n; 3]);
        files.insert(p(&format!("keys/a long name {n} ünï.conf")), entry).expect("room for a key");
    }
    let file = File::options().read(true).write(true).create_new(true).open(path).expect("a file");
    let volume = fat::Volume { size: Bytes::mib(mib), label: "ESP".to_owned(), id: 0x2026_0101 };
    fat::write(&file, &volume, &files).expect("a volume");
    file
}

#[test]
fn fsck_fat_finds_our_volumes_sound_fresh_and_changed_and_a_damaged_one_not() {
    let (mut checks, dir) = (Checks::default(), tempfile::tempdir().expect("a folder"));
    // FAT16 and FAT32, and the sizes around the border between them
    for mib in [5, 20, 63, 64, 300] {
        let path = dir.path().join(format!("{mib}"));
        let file = volume(&path, mib);
        checks.answer(&format!("fresh, {mib} MiB"), judge(&path, &FSCK_FAT));
        let mut edit = fat::Edit::open(&file).expect("our own volume");
        edit.create("EFI/Linux/evek-0.2.0+3.efi", &vec![7; 100_000]).expect("room");
        edit.rename("EFI/Linux/evek-0.2.0+3.efi", "evek-0.2.0+2-1.efi").expect("a rename");
        edit.replace("loader/loader.conf", b"timeout 5\n").expect("another text");
        edit.remove("EFI/Linux/evek-0.1.0-kvm-amd64.efi").expect("a removal");
        edit.reclaim().expect("room given back");
        checks.answer(&format!("changed, {mib} MiB"), judge(&path, &FSCK_FAT));
        // the second entry of the first FAT, of which there is a copy
        let mut sector = [0; 16];
        file.read_exact_at(&mut sector, 0).expect("a boot sector");
        let reserved = u64::from(u16::from_le_bytes([sector[14], sector[15]]));
        damage(&path, reserved * 512 + 8);
        let said = judge(&path, &FSCK_FAT);
        checks.that(&format!("damaged, {mib} MiB"), said.is_err(), format!("{said:?}"));
    }
    checks.finish();
}

#[test]
fn fsck_erofs_finds_our_file_systems_sound_and_damaged_ones_not() {
    let mut checks = Checks::default();
    let mut ping = Entry::file(0o755, vec![7; 1000]);
    ping.xattrs.insert("user.note".to_owned(), b"odd".to_vec());
    let mut files = tree([
        ("blobs/large", Entry::file(0o444, vec![0x5a; 100_001])),
        ("blobs/block", Entry::file(0o444, vec![0xa5; 4096])),
        ("empty", Entry::file(0o600, vec![])),
        ("bin/su", Entry::file(0o4755, vec![1; 3000]).owned_by(0, 42)),
        ("bin/sudo", Entry { kind: Kind::Hardlink(p("bin/su")), ..Entry::dir(0) }),
        ("bin/ping", ping),
        ("home", Entry::dir(0o1777).owned_by(100_000, 100_001)),
        ("lib", Entry::symlink("usr/lib")),
        ("long", Entry::symlink("x/".repeat(2040))),
        ("dev/tty", Entry { kind: Kind::Char(5, 300), ..Entry::dir(0o666) }),
        ("dev/pipe", Entry { kind: Kind::Fifo, ..Entry::dir(0o644) }),
    ]);
    for n in 0..500 {
        let entry = Entry::file(0o644, vec![b'x'; n]);
        files.insert(p(&format!("many/-file with a name {n}")), entry).expect("room for a file");
    }
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("store.erofs");
    let options = erofs::Options { uuid: *b"0123456789abcdef", epoch: types::EPOCH, label: "store".to_owned() };
    erofs::write(&files, &options, File::create(&path).expect("a file")).expect("a file system");
    let said = judge(&path, &FSCK_EROFS);
    checks.that("sound", is_sound(&said), format!("{said:?}"));
    // erofs_super_block: magic at 0, the inode of the root folder at 14 (kernel, fs/erofs/erofs_fs.h)
    for (what, at) in [("the magic number", 1024), ("the root's inode", 1024 + 14)] {
        let copy = dir.path().join(format!("damaged-{at}"));
        fs::copy(&path, &copy).expect("a copy");
        damage(&copy, at);
        let said = judge(&copy, &FSCK_EROFS);
        checks.that(&format!("damaged in {what}"), !is_sound(&said), format!("{said:?}"));
    }
    checks.finish();
}

/// Whether a program found nothing wrong. fsck.erofs ends with 0 although it reports a wrong checksum.
fn is_sound<E>(said: &Result<String, E>) -> bool {
    said.as_ref().is_ok_and(|text| !text.contains("<E>"))
}

#[test]
fn sgdisk_finds_our_tables_sound_and_a_damaged_one_not() {
    let mut checks = Checks::default();
    let partition = |number, label: &str, kind, size| Partition {
        number,
        label: label.to_owned(),
        kind,
        guid: Guid::of_name(label),
        size,
        attributes: 0,
        content: None,
    };
    let partitions = vec![
        partition(1, "EFI System", PartitionType::EfiSystem, Bytes::mib(2)),
        partition(2, "IMGA", PartitionType::Image, Bytes(5000)),
        partition(4, "CONFIG", PartitionType::Config, Bytes::mib(5)),
        partition(9, "P3", PartitionType::Persist, Bytes(0)),
    ];
    let layout = Layout { guid: Guid::of_name("disk"), size: Some(Bytes::mib(32)), partitions };
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("disk");
    let disk = File::options().read(true).write(true).create_new(true).open(&path).expect("a file");
    layout.plan().expect("a plan").write(&disk, &mut |_| ()).expect("a disk");
    let verify = ["sgdisk", "-v", "/in/file"];
    let sound = |said: &Result<String, String>| said.as_ref().is_ok_and(|said| said.contains("No problems found"));
    let said = judge(&path, &verify);
    checks.that("sound", sound(&said), format!("{said:?}"));
    let listed = judge(&path, &["sgdisk", "-p", "/in/file"]).unwrap_or_else(|said| said);
    for label in ["EFI System", "IMGA", "CONFIG", "P3"] {
        checks.that(label, listed.contains(label), &listed);
    }
    gpt::set_guid(&disk, 2, Guid::of_name("another")).expect("another GUID");
    let said = judge(&path, &verify);
    checks.that("changed", sound(&said), format!("{said:?}"));
    // the first partition's type in the first copy of the entries (UEFI 2.10 §5.3.3)
    damage(&path, 2 * 512);
    let said = judge(&path, &verify);
    checks.that("damaged", !sound(&said), format!("{said:?}"));
    checks.finish();
}

#[test]
fn skopeo_reads_our_image_layouts_and_refuses_a_damaged_blob() {
    let (mut checks, dir) = (Checks::default(), tempfile::tempdir().expect("a folder"));
    let (tar, layout) = (dir.path().join("layer.tar"), dir.path().join("layout"));
    let files = tree([
        ("usr/bin/chronyd", Entry::file(0o755, vec![1; 5000])),
        ("usr/bin/link", Entry { kind: Kind::Hardlink(p("usr/bin/chronyd")), ..Entry::dir(0) }),
        ("bin", Entry::symlink("usr/bin")),
    ]);
    let layer = oci::layer::write_tar(&files, File::create(&tar).expect("a file"), |_| ()).expect("a layer");
    let spec = ImageSpec {
        name: "evek.local/time:0.1.0".into(),
        arch: Arch::Arm64,
        config: ImageConfig { entrypoint: vec!["chronyd".into()], ..ImageConfig::default() },
        layers: vec![Layer::tar(layer, "time")],
        annotations: [("z".to_owned(), "x".to_owned())].into(),
    };
    oci::layout::write(&layout, &[Image::new(spec).expect("an image")], |_| tar.clone()).expect("a layout");
    let out = dir.path().join("out");
    fs::create_dir(&out).expect("a folder");
    let skopeo = |to: &str| {
        let oracles = Oracles::default().with("layout", &layout).with_writable("out", &out);
        oracles.run(&[
            "skopeo",
            "--insecure-policy",
            "--override-arch=arm64",
            "--tmpdir=/in/out",
            "copy",
            "oci:/in/layout:evek.local/time:0.1.0",
            &format!("dir:/in/out/{to}"),
        ])
    };
    checks.answer("skopeo copies every blob", skopeo("good"));
    let blob = layout.join("blobs/sha256").join(layer.digest.hex());
    damage(&blob, 0);
    let said = skopeo("bad");
    checks.that("skopeo refuses a damaged blob", said.is_err(), format!("{said:?}"));
    checks.finish();
}

/// The very partitions that users get; the table and dm-verity are judged in `verify.rs`.
#[test]
fn the_file_systems_of_an_image_are_sound() {
    let mut checks = Checks::default();
    let dir = tempfile::tempdir().expect("a folder");
    let folder = image(Flavour::Kvm, Arch::Amd64);
    let image = described(&folder);
    let mut disk = File::open(folder.join(&image.files["raw"])).expect("the disk");
    for (label, argv) in [("EFI System", &FSCK_FAT[..]), ("CONFIG", &FSCK_FAT), ("IMGA", &FSCK_EROFS)] {
        let part = image.partitions.iter().find(|part| part.label == label).expect("the partition");
        let path = dir.path().join(label.replace(' ', "-"));
        disk.seek(SeekFrom::Start(part.start.0)).expect("its start");
        let mut to = File::create(&path).expect("a file");
        std::io::copy(&mut disk.by_ref().take(part.written.0), &mut to).expect("a copy");
        to.set_len(part.size.0).expect("the rest, which is zero");
        let said = judge(&path, argv);
        checks.that(label, is_sound(&said), format!("{said:?}"));
    }
    checks.finish();
}
