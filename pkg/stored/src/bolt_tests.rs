use super::*;
use std::io::{Seek as _, Write as _};

const SIZE: usize = 4096;

/// A database as bbolt writes it, page by page.
#[derive(Clone)]
struct Built(Vec<Vec<u8>>);

fn page(id: u64, flags: u16, count: u16, content: &[u8]) -> Vec<u8> {
    let mut page = [&id.to_le_bytes()[..], &flags.to_le_bytes(), &count.to_le_bytes(), &[0; 4], content].concat();
    let pages = page.len().div_ceil(SIZE).max(1);
    page[12..16].copy_from_slice(&(pages as u32 - 1).to_le_bytes());
    page.resize(pages * SIZE, 0);
    page
}

fn meta(id: u64, root: u64, free_list: u64, pages: u64, transaction: u64) -> Vec<u8> {
    let mut meta = [MAGIC, VERSION, SIZE as u32, 0].map(u32::to_le_bytes).concat();
    meta.extend([root, 0, free_list, pages, transaction].map(u64::to_le_bytes).concat());
    meta.extend(fnv(&meta).to_le_bytes());
    page(id, 0x04, 0, &meta)
}

/// Elements of a leaf: flags, key, value.
fn leaf(elements: &[(u32, &str, &[u8])]) -> Vec<u8> {
    let (mut heads, mut data) = (Vec::new(), Vec::new());
    for (n, (flags, key, value)) in elements.iter().enumerate() {
        let position = (elements.len() - n) * HEADER + data.len();
        heads.extend([*flags, position as u32, key.len() as u32, value.len() as u32].map(u32::to_le_bytes).concat());
        data.extend([key.as_bytes(), value].concat());
    }
    [heads, data].concat()
}

fn branch(elements: &[(&str, u64)]) -> Vec<u8> {
    let (mut heads, mut data) = (Vec::new(), Vec::new());
    for (n, (key, below)) in elements.iter().enumerate() {
        let position = (elements.len() - n) * HEADER + data.len();
        heads.extend([position as u32, key.len() as u32].map(u32::to_le_bytes).concat());
        heads.extend(below.to_le_bytes());
        data.extend(key.as_bytes());
    }
    [heads, data].concat()
}

fn bucket(root: u64) -> Vec<u8> {
    [root, 0].map(u64::to_le_bytes).concat()
}

impl Built {
    /// Root leaf (2) ─► bucket `b`: branch (3) ─► leaves (4) with an inline bucket, and (5) with a long value on 6 and 7.
    fn new() -> Self {
        let inline =
            [bucket(0), page(0, LEAF, 1, &leaf(&[(0, "in", b"line")]))[..HEADER + HEADER + 6].to_vec()].concat();
        let long = vec![7; 2 * SIZE];
        Self(vec![
            meta(0, 2, NO_FREE_LIST, 8, 10),
            meta(1, 99, NO_FREE_LIST, 8, 9),
            page(2, LEAF, 2, &leaf(&[(0, "a", b"1"), (BUCKET, "b", &bucket(3))])),
            page(3, BRANCH, 2, &branch(&[("k", 4), ("m", 5)])),
            page(4, LEAF, 2, &leaf(&[(0, "k", b""), (BUCKET, "l", &inline)])),
            page(5, LEAF, 1, &leaf(&[(0, "m", &long)])),
        ])
    }

    fn check(&self) -> Result<(), Damage> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&self.0.concat()).unwrap();
        file.rewind().unwrap();
        check(&file)
    }

    fn with(&self, page: usize, at: usize, bytes: &[u8]) -> Self {
        let mut changed = self.clone();
        changed.0[page][at..at + bytes.len()].copy_from_slice(bytes);
        changed
    }

    fn refused(&self) -> String {
        self.check().unwrap_err().to_string()
    }
}

#[test]
fn a_whole_database_is_accepted() {
    Built::new().check().unwrap();
    let with_room_behind = Built([Built::new().0, vec![vec![0; 10 * SIZE]]].concat());
    with_room_behind.check().unwrap();
    // as bbolt initialises a file (db.go, `init`)
    let empty = [meta(0, 3, 2, 4, 0), meta(1, 3, 2, 4, 1), page(2, FREE_LIST, 0, b""), page(3, LEAF, 0, b"")];
    Built(empty.to_vec()).check().unwrap();
}

#[test]
fn one_valid_meta_page_is_enough_and_the_newer_one_is_used() {
    let good = Built::new();
    good.with(1, 0, &[0xff; 200]).check().unwrap();
    let mut second = good.clone();
    second.0[1] = meta(1, 2, NO_FREE_LIST, 8, 11);
    second.with(0, 0, &[0xff; 200]).check().unwrap();
    second.check().unwrap();
    let mut newer_is_bad = good;
    newer_is_bad.0[1] = meta(1, 99, NO_FREE_LIST, 8, 11);
    assert_eq!(newer_is_bad.refused(), "page 99: lies outside the database");
}

#[test]
fn each_field_of_a_meta_page_matters() {
    let mut good = Built::new();
    good.0[1] = page(1, 0x04, 0, b"");
    good.check().unwrap();
    for at in (HEADER..HEADER + META).step_by(4) {
        let changed = good.0[0][at] ^ 0x40;
        assert_eq!(good.with(0, at, &[changed]).refused(), "no meta page is valid", "byte {at}");
    }
    for len in [0, 16, SIZE] {
        let mut cut = Built(vec![good.0.concat()]);
        cut.0[0].truncate(len);
        assert!(cut.check().is_err(), "{len} bytes");
    }
    assert_eq!(Built(vec![vec![0x5a; 8 * SIZE]]).refused(), "no meta page is valid");
}

#[test]
fn each_field_of_a_page_matters() {
    let good = Built::new();
    let two = 2u64.to_le_bytes();
    let large = (SIZE as u32).to_le_bytes();
    for (page, at, bytes, expected) in [
        (2, 0, &[9][..], "page 2: has the number of another page"),
        (2, 8, &[8], "page 2: is neither branch nor leaf"),
        (2, 10, &[3], "page 2: has a key out of order"),
        (2, 10, &[255, 255], "page 2: has"),
        (2, 12, &[9], "page 2: continues outside the database"),
        (2, 12, &[1], "page 3: is used twice"),
        (2, 20, &large, "page 2: has an element that leaves the page"),
        (2, 24, &large, "page 2: has an element that leaves the page"),
        (2, 28, &large, "page 2: has an element that leaves the page"),
        (2, 20, &[255; 4], "page 2: has an element that leaves the page"),
        (2, 48, b"c", "page 2: has a key out of order"),
        (2, 51, &two, "page 2: is used twice"),
        (2, 51, &[0; 8], "page 2: has a bucket without a page"),
        (2, 51, &[255; 8], "lies outside the database"),
        (3, 10, &[0, 0], "page 3: is a branch without pages below it"),
        (3, 24, &two, "page 2: is used twice"),
        (3, 48, b"z", "page 4: has a key out of order"),
        (3, 49, b"a", "page 4: has a key out of order"),
        (4, 48, b"a", "page 4: has a key out of order"),
        (4, 49, b"m", "page 4: has a key out of order"),
        (4, 74, &[1], "page 4: has a bucket without a page"),
        (5, 12, &[9], "page 5: continues outside the database"),
    ] {
        let text = good.with(page, at, bytes).check().map_or_else(|e| e.to_string(), |()| "accepted".to_owned());
        assert!(text.contains(expected), "page {page}, byte {at}: {text}, expected {expected}");
    }
    let mut cut = Built(vec![good.0.concat()]);
    cut.0[0].truncate(7 * SIZE);
    assert_eq!(cut.refused(), "page 5: continues outside the database");
}

#[test]
fn a_free_list_is_read_where_there_is_one() {
    let mut good = Built::new();
    good.0[0] = meta(0, 2, 8, 10, 10);
    let free = 9u64.to_le_bytes();
    good.0.push(page(8, FREE_LIST, 1, &free));
    good.0.push(page(9, 0, 0, b""));
    good.check().unwrap();
    assert_eq!(good.with(6, 8, &[2]).refused(), "page 8: is not the free list");
    assert_eq!(good.with(6, 10, &[2]).refused(), "page 8: lists a free page that cannot be one");
    assert_eq!(good.with(6, 10, &[99]).refused(), "page 8: lists more free pages than there are");
    assert_eq!(good.with(6, 16, &4u64.to_le_bytes()).refused(), "page 4: is used twice");
    assert_eq!(good.with(6, 16, &1u64.to_le_bytes()).refused(), "page 8: lists a free page that cannot be one");
    // a count that does not fit into the header
    let counted = |count: u64| [count.to_le_bytes(), free].concat();
    let mut long = good;
    long.0[6] = page(8, FREE_LIST, u16::MAX, &counted(1));
    long.check().unwrap();
    long.0[6] = page(8, FREE_LIST, u16::MAX, &counted(u64::MAX));
    assert_eq!(long.refused(), "page 8: lists more free pages than there are");
}

#[test]
fn random_damage_never_panics() {
    let good = Built::new().0.concat();
    let mut seed = 1u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    for _ in 0..2000 {
        let mut bytes = good.clone();
        for _ in 0..4 {
            let page = random() % 6;
            let at = page * SIZE + random() % 128;
            bytes[at] = random() as u8;
        }
        let _ = Built(vec![bytes]).check();
    }
}
