#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;
use tree::{Entry, Kind, TreePath};
use types::Digest;

fn p(path: &str) -> TreePath {
    TreePath::new(path).unwrap()
}

fn options() -> Options {
    Options { uuid: *b"0123456789abcdef", epoch: types::EPOCH, label: "store".to_owned() }
}

fn bytes(tree: &Tree) -> Vec<u8> {
    let mut out = Vec::new();
    let layout = write(tree, &options(), &mut out).unwrap();
    assert_eq!(layout.size.0, out.len() as u64);
    out
}

/// Every kind of entry, inline and not, and a folder of several blocks.
fn tree() -> Tree {
    let mut t = Tree::default();
    t.insert(p("blobs/large"), Entry::file(0o444, vec![0x5a; 100_001])).unwrap();
    t.insert(p("blobs/block"), Entry::file(0o444, vec![0xa5; 4096])).unwrap();
    t.insert(p("index.json"), Entry::file(0o644, b"{}".to_vec())).unwrap();
    t.insert(p("empty"), Entry::file(0o600, vec![])).unwrap();
    t.insert(p("bin/su"), Entry::file(0o4755, vec![1; 3000]).owned_by(0, 42)).unwrap();
    t.insert(p("bin/sudo"), Entry { kind: Kind::Hardlink(p("bin/su")), ..Entry::dir(0) }).unwrap();
    t.insert(p("home"), Entry::dir(0o1777).owned_by(100_000, 100_001)).unwrap();
    t.insert(p("lib"), Entry::symlink("usr/lib")).unwrap();
    t.insert(p("long"), Entry::symlink("x/".repeat(2040))).unwrap();
    t.insert(p("dev/tty"), Entry { kind: Kind::Char(5, 300), ..Entry::dir(0o666) }).unwrap();
    t.insert(p("dev/sda"), Entry { kind: Kind::Block(8, 0), ..Entry::dir(0o660) }).unwrap();
    t.insert(p("dev/pipe"), Entry { kind: Kind::Fifo, ..Entry::dir(0o644) }).unwrap();
    let mut ping = Entry::file(0o755, vec![7; 1000]);
    ping.xattrs
        .insert("security.capability".to_owned(), vec![1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    ping.xattrs.insert("user.note".to_owned(), b"odd".to_vec());
    t.insert(p("bin/ping"), ping).unwrap();
    for n in 0..500 {
        t.insert(p(&format!("many/-file with a name {n}")), Entry::file(0o644, vec![b'x'; n])).unwrap();
    }
    t
}

// `fsck.erofs` judges such a file system in tests/tests/oracles.rs, and the kernel mounts one at each boot.
#[test]
fn a_file_system_of_every_kind_has_known_bytes() {
    let image = bytes(&tree());
    assert_eq!(Digest::of(&image).hex(), GOLDEN);
    let superblock = Superblock::read(&image).unwrap();
    assert_eq!(superblock.size().0, image.len() as u64);
    assert_eq!((superblock.label.as_str(), superblock.uuid), ("store", options().uuid));
}
const GOLDEN: &str = "8a44d635c9213ae969c1ec91b818e1eab20fb02a2b79082589a66c86a38bf26f";

#[test]
fn large_files_start_at_blocks_and_are_found_there() {
    let (tree, options) = (tree(), options());
    let plan = Plan::new(&tree, &options).unwrap();
    let mut image = Vec::new();
    plan.write(&mut image).unwrap();
    let at = plan.offset(&p("blobs/large")).unwrap().0 as usize;
    assert_eq!(at % BLOCK as usize, 0);
    assert!(image[at..at + 100_001].iter().all(|b| *b == 0x5a));
    assert_eq!(plan.offset(&p("index.json")), None);
    assert_eq!(plan.offset(&p("blobs")), None);
}

#[test]
fn an_empty_tree_is_a_root_folder() {
    let image = bytes(&Tree::default());
    assert_eq!(image.len() as u64, BLOCK);
    assert_eq!(Superblock::read(&image).unwrap().inodes, 1);
}

#[test]
fn what_erofs_cannot_hold_is_refused() {
    let refused = |path: &str, entry: Entry| {
        let mut t = Tree::default();
        t.insert(p(path), entry).unwrap();
        write(&t, &options(), io::sink()).unwrap_err().to_string()
    };
    let file = || Entry::file(0o644, vec![]);
    assert!(refused(&"n".repeat(256), file()).contains("255 bytes"));
    assert!(refused("l", Entry::symlink("t".repeat(4096))).contains("4095"));
    assert!(refused("h", Entry { kind: Kind::Hardlink(p("gone")), ..file() }).contains("hard link to /gone"));
    let mut odd = file();
    odd.xattrs.insert("os2.x".to_owned(), vec![]);
    assert!(refused("x", odd).contains("os2.x"));
    assert!(refused("gone", Entry::file_from(0o644, "/nowhere".into(), 5000)).contains("cannot read /gone"));
    let mut o = options();
    o.label = "x".repeat(17);
    assert!(matches!(write(&Tree::default(), &o, io::sink()), Err(Error::Limit(_))));
}

#[test]
fn a_damaged_superblock_is_refused() {
    let image = bytes(&tree());
    assert!(Superblock::read(&image[..4095]).is_err());
    for at in [1024, 1024 + 4, 1024 + 8, 1024 + 12, 1024 + 36, 1024 + 50, 3000] {
        let mut bad = image.clone();
        bad[at] ^= 1;
        assert!(Superblock::read(&bad).is_err(), "byte {at}");
    }
}

proptest! {
    /// Places never overlap and tails never cross a block, whatever the sizes.
    #[test]
    fn places_hold(files in proptest::collection::vec((0u64..9000, 0usize..300, 0u32..70_000), 1..200)) {
        let mut t = Tree::default();
        for (n, (size, xattr, uid)) in files.iter().enumerate() {
            let mut entry = Entry::file_from(0o644, "/nowhere".into(), *size).owned_by(*uid, 0);
            if *xattr > 0 {
                entry.xattrs.insert("user.x".to_owned(), vec![0; *xattr * 20]);
            }
            t.insert(p(&format!("{}/{n}", n % 3)), entry).unwrap();
        }
        let options = options();
        let plan = Plan::new(&t, &options).unwrap();
        let (mut meta, mut data) = (1152, plan.metadata_blocks);
        for inode in &plan.inodes {
            prop_assert!(inode.at >= meta && inode.at % 32 == 0);
            meta = inode.at + inode.head() + inode.tail();
            if inode.inline {
                prop_assert_eq!(inode.at / BLOCK, (meta - 1) / BLOCK);
            }
        }
        prop_assert!(meta <= u64::from(plan.metadata_blocks) * BLOCK);
        for inode in plan.inodes.iter().filter(|i| i.blocks() > 0) {
            prop_assert_eq!(inode.block, data);
            data += inode.blocks() as u32;
        }
        prop_assert_eq!(data, plan.blocks);
        prop_assert_eq!(plan.inodes[0].number(), 36);
    }
}

#[test]
fn the_files_of_a_plain_file_system_are_listed_with_what_they_take() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain.erofs");
    std::fs::write(&path, bytes(&tree())).unwrap();
    let found = files(&path).unwrap();
    let get = |name: &str| found.iter().find(|f| f.path == name).map(|f| (f.plain.0, f.stored.0));
    assert_eq!(get("blobs/large"), Some((100_001, 25 * 4096)));
    assert_eq!(get("index.json"), Some((2, 2)), "behind its inode");
    assert_eq!((get("bin/su").is_some(), get("bin/sudo").is_some()), (true, false), "a hard link is listed once");
    assert_eq!(found.iter().filter(|f| f.path.starts_with("many/")).count(), 500, "in a folder of several blocks");
}

/// Made by mkfs.erofs 1.8.6 (`--tar=f -zzstd,3 -C65536`) of `seq`'s numbers up to 20000 and of two bytes; dump.erofs says
/// the same of it.
#[test]
fn the_blocks_of_compressed_files_are_read() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/compressed.erofs");
    let found: Vec<_> = files(&path).unwrap().into_iter().map(|f| (f.path, f.plain.0, f.stored.0)).collect();
    assert_eq!(found, [("etc/two".to_owned(), 2, 2), ("usr/numbers".to_owned(), 108_894, 28_672)]);
}

#[test]
fn a_damaged_file_system_is_refused_and_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain.erofs");
    let image = bytes(&tree());
    let refused = |at: usize, byte: u8| {
        let mut image = image.clone();
        image[at] ^= byte;
        std::fs::write(&path, &image).unwrap();
        files(&path).err().map(|e| e.to_string())
    };
    assert!(refused(1024 + 20, 1).is_some_and(|e| e.contains("checksum")), "the superblock");
    // beyond block 0, which the checksum covers: the last whole block of the largest folder
    let many = image.windows(9).rposition(|w| w == b"-file wit").unwrap() / 4096 * 4096;
    assert!(refused(many + 9, 0x40).is_some_and(|e| e.contains("outside of its block")), "the place of names");
}
