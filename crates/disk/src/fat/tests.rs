#![allow(clippy::unwrap_used)]
use super::{geometry::*, write::dos_clock, *};
use proptest::prelude::*;
use std::{
    fs::File,
    io::{Read as _, Seek as _},
    os::unix::fs::MetadataExt as _,
};
use tree::{Entry, Tree, TreePath};
use types::Digest;

fn p(path: &str) -> TreePath {
    TreePath::new(path).unwrap()
}

fn tree() -> Tree {
    let mut t = Tree::default();
    t.insert(p("EFI/BOOT/BOOTX64.EFI"), Entry::file(0o644, vec![0xaa; 10_000])).unwrap();
    t.insert(p("EFI/Linux/evek-0.1.0-kvm-amd64.efi"), Entry::file(0o644, vec![0xbb; 70_000])).unwrap();
    t.insert(p("loader/loader.conf"), Entry::file(0o644, b"timeout 0\n".to_vec())).unwrap();
    t.insert(p("loader/empty"), Entry::file(0o644, vec![])).unwrap();
    for n in 0..100 {
        t.insert(p(&format!("keys/a long name {n} ünï.conf")), Entry::file(0o644, vec![n; 3])).unwrap();
    }
    t
}

fn volume(size: Bytes) -> Volume {
    Volume { size, label: "ESP".to_owned(), id: 0x2026_0101 }
}

fn digest(mut file: File) -> String {
    let mut hasher = types::Hasher::default();
    let mut buf = vec![0; 1 << 20];
    file.rewind().unwrap();
    loop {
        match file.read(&mut buf).unwrap() {
            0 => return hasher.finish().hex(),
            n => hasher.update(&buf[..n]),
        }
    }
}

// Each was checked by hand: `fsck.fat -n` 4.2 clean, `mtype` of mtools returns every file.
#[test]
fn volumes_of_each_kind_have_known_bytes() {
    for (mib, expected) in GOLDEN {
        let file = tempfile::tempfile().unwrap();
        write(&file, &volume(Bytes::mib(mib)), &tree()).unwrap();
        assert_eq!(digest(file), expected, "{mib} MiB");
    }
}
const GOLDEN: [(u64, &str); 5] = [
    (5, "f9d97f61b154dedb89820abde7d6da11cccd15c7938159d269996b5c0b619265"),
    (20, "420d869c045cd3a2b2833fc8f8f88cb12caba2c9c5dc759561c9615a6f9e4fbb"),
    (63, "8000bdd5a289f342082bfd779e0ca0ffd7c7b25a7aacea0244157566a6da64c2"),
    (64, "005bfb38d627ff9e167dddcf805bd2b3b727980f49ac9a099a6201820c82c626"),
    (300, "3967808ff82e89482faf3fe1b7081baf33e42d896ca24c4150825279ef38f853"),
];

#[test]
fn free_space_takes_no_space() {
    let file = tempfile::tempfile().unwrap();
    write(&file, &volume(Bytes::gib(2)), &tree()).unwrap();
    assert!(file.metadata().unwrap().blocks() * 512 < 2 << 20);
}

#[test]
fn what_fat_cannot_hold_is_refused() {
    let refused = |size: Bytes, path: &str, entry: Entry| {
        let mut t = Tree::default();
        t.insert(p(path), entry).unwrap();
        write(&tempfile::tempfile().unwrap(), &volume(size), &t).unwrap_err().to_string()
    };
    let small = Bytes::mib(5);
    assert_eq!(refused(small, "a/b", Entry::symlink("c")), "FAT: /a/b: FAT has no symlink");
    assert!(refused(small, "a/b?", Entry::file(0o644, vec![])).contains("not allowed"));
    assert!(refused(small, "big", Entry::file_from(0o644, "/nowhere".into(), 6 << 20)).contains("make it larger"));
    assert!(refused(small, "big", Entry::file_from(0o644, "/nowhere".into(), 1 << 33)).contains("4 GiB"));
    assert!(refused(small, "gone", Entry::file_from(0o644, "/nowhere".into(), 1)).contains("copy /gone into"));
    assert!(refused(Bytes::mib(3), "a", Entry::file(0o644, vec![])).contains("4 MiB to 2 TiB"));
    let mut v = volume(small);
    v.label = "lower".to_owned();
    assert!(write(&tempfile::tempfile().unwrap(), &v, &Tree::default()).is_err());
}

#[test]
fn the_clock_is_that_of_dos() {
    assert_eq!(dos_clock(types::EPOCH), (46 << 9 | 1 << 5 | 1, 0));
    assert_eq!(dos_clock(1_709_251_199), (44 << 9 | 2 << 5 | 29, 23 << 11 | 59 << 5 | 29));
    assert_eq!(dos_clock(1_735_689_599), (44 << 9 | 12 << 5 | 31, 23 << 11 | 59 << 5 | 29));
}

#[test]
fn a_file_on_disk_is_copied_by_range() {
    use std::os::unix::fs::FileExt as _;
    let source = tempfile::NamedTempFile::new().unwrap();
    source.as_file().write_all_at(b"..content..", 0).unwrap();
    let content = tree::Content::Range { file: std::sync::Arc::new(source.path().to_owned()), offset: 2, len: 7 };
    let mut ranged = Tree::default();
    ranged.insert(p("x"), Entry { kind: tree::Kind::File(content), ..Entry::file(0o644, vec![]) }).unwrap();
    let mut inline = Tree::default();
    inline.insert(p("x"), Entry::file(0o600, b"content".to_vec())).unwrap();
    let written = |t: &Tree| {
        let out = tempfile::tempfile().unwrap();
        write(&out, &volume(Bytes::mib(4)), t).unwrap();
        digest(out)
    };
    assert_eq!(written(&ranged), written(&inline));
    assert_ne!(written(&inline), Digest::of(b"").hex());
}

proptest! {
    /// The specification's formula finds the intended kind, and everything fits, at any size.
    #[test]
    fn the_kind_follows_from_the_number_of_clusters(sectors in 8192u32..=u32::MAX) {
        let g = Geometry::new(&volume(Bytes(u64::from(sectors) * 512)), 1).unwrap();
        let kind = if g.clusters < 4085 { None } else if g.clusters < 65_525 { Some(Width::Fat16) } else { Some(Width::Fat32) };
        prop_assert_eq!(kind, Some(g.width));
        prop_assert!(u64::from(g.clusters + 2) * g.width.entry_len() as u64 <= u64::from(g.fat_sectors) * 512);
        prop_assert!(g.cluster(g.clusters + 1) + g.cluster_len() <= u64::from(g.sectors) * 512);
        prop_assert_eq!(g.cluster(2) % g.cluster_len(), 0);
        prop_assert!(u16::try_from(g.reserved).is_ok() && (g.width == Width::Fat32 || u16::try_from(g.fat_sectors).is_ok()));
        prop_assert!(g.clusters < 0x0fff_fff0);
    }
}
