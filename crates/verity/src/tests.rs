#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

/// A file of so many blocks, each different.
fn data(blocks: u64) -> File {
    let file = tempfile::tempfile().unwrap();
    for n in 0..blocks {
        let block: Vec<u8> = n.to_le_bytes().iter().cycle().take(4096).copied().collect();
        file.write_all_at(&block, n * BLOCK).unwrap();
    }
    file
}

fn flip(file: &File, at: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

// The digests are those of files made with cryptsetup 2.6:
// veritysetup format --data-blocks=$n --hash-offset=$((n*4096)) --salt - --uuid 11111111-1111-1111-1111-111111111111 f f
#[test]
fn images_are_bit_for_bit_those_of_veritysetup() {
    for (blocks, root, whole) in GOLDEN {
        let file = data(blocks);
        let len = Bytes(blocks * BLOCK);
        let (verity, tail) = format(&file, len, &[], Some([0x11; 16])).unwrap();
        assert_eq!(verity.root_hash.hex(), root, "{blocks} blocks");
        assert_eq!(verity.size, len + overhead(len));
        file.write_all_at(&tail, len.0).unwrap();
        let mut all = vec![0; usize::try_from(verity.size.0).unwrap()];
        file.read_exact_at(&mut all, 0).unwrap();
        assert_eq!(Digest::of(&all).hex(), whole, "{blocks} blocks");
        verify(&file, blocks, verity.root_hash).unwrap();
    }
}
const GOLDEN: [(u64, &str, &str); 4] = [
    (
        1,
        "ad7facb2586fc6e966c004d7d1d16b024f5805ff7cb47c7a85dabd8b48892ca7",
        "c952a190d228293cb907c17e5dfb2caeda9e6e16ad7acd6e68b6beb6c6e0d9ca",
    ),
    (
        2,
        "2eb0a16ec243f773799280ae8cdc7668ab1e3a73ed1597e0200c849cca379204",
        "5b906d0207cadca712b321e8138b47fc2a08d95e24a0c8e4ca9243355d49353c",
    ),
    (
        129,
        "2abd7846176918c50f1873a95ee013089d36ea23bf316ebf1ae36cdbab2932de",
        "d254db12294f14a81e2ecc1a65e9fa0997dff6cd64f32aba9b051781b63c871c",
    ),
    (
        16_385,
        "aa567f8f3998189f0f6c47ec071c7f9b13a585e5e135651e4bbb830f9361470a",
        "deb3f05eee8a7550648b49dc31d2214eb065319fce0391c85c51559d0a46d50a",
    ),
];

#[test]
fn the_first_bad_block_is_named() {
    let file = data(300);
    let root = append(&file).unwrap().root_hash;
    flip(&file, 299 * BLOCK + 7);
    let fault = |file: &File| match verify(file, 300, root) {
        Err(Error::Corrupt { fault, .. }) => fault,
        other => panic!("{other:?}"),
    };
    assert_eq!(fault(&file), Fault::Data(299));
    flip(&file, 280 * BLOCK);
    assert_eq!(fault(&file), Fault::Data(280));
    flip(&file, 303 * BLOCK); // second block of level 0: superblock 300, top 301, level 0 from 302
    assert_eq!(fault(&file), Fault::Tree(303));
    flip(&file, 301 * BLOCK);
    assert_eq!(fault(&file), Fault::Tree(301));
}

#[test]
fn salted_trees_are_verified_too() {
    let file = data(200);
    let (verity, tail) = format(&file, Bytes(200 * BLOCK), b"pepper", Some([7; 16])).unwrap();
    file.write_all_at(&tail, 200 * BLOCK).unwrap();
    verify(&file, 200, verity.root_hash).unwrap();
    assert_ne!(verity.root_hash, format(&file, Bytes(200 * BLOCK), &[], None).unwrap().0.root_hash);
    let target = verity.superblock.target("254:1", verity.root_hash);
    assert!(target.starts_with("1 254:1 254:1 4096 4096 200 201 sha256 ") && target.ends_with(" 706570706572"));
}

#[test]
fn what_is_no_whole_image_is_refused() {
    let file = tempfile::tempfile().unwrap();
    assert!(matches!(append(&file), Err(Error::Length { len: 0 })));
    file.set_len(4097).unwrap();
    assert!(matches!(append(&file), Err(Error::Length { len: 4097 })));

    let file = data(3);
    let root = append(&file).unwrap().root_hash;
    assert!(matches!(verify(&file, 2, root), Err(Error::Superblock { field: "signature", .. })));
    assert!(matches!(verify(&file, 0, root), Err(Error::Length { .. })));
    assert!(matches!(verify(&file, u64::MAX, root), Err(Error::Length { .. })));
    file.set_len(4 * BLOCK).unwrap();
    assert!(matches!(verify(&file, 3, root), Err(Error::Io { .. })));
}

#[test]
fn every_field_of_the_superblock_is_checked() {
    let good = Superblock::new(9, &[], [1; 16]).unwrap().to_block();
    assert_eq!(Superblock::parse(&good).unwrap().data_blocks(), 9);
    for (at, field) in [
        (0, "signature"),
        (8, "version"),
        (12, "hash type"),
        (35, "algorithm"),
        (65, "data block size"),
        (69, "hash block size"),
        (79, "data blocks"),
        (81, "salt size"),
    ] {
        let mut bad = good.clone();
        bad[at] = 0xff;
        assert!(matches!(Superblock::parse(&bad), Err(Error::Superblock { field: f, .. }) if f == field), "{field}");
    }
}

proptest! {
    #[test]
    fn parsing_never_panics_and_keeps_what_it_reads(bytes in proptest::collection::vec(any::<u8>(), 0..600), magic: bool) {
        let mut bytes = bytes;
        if magic && bytes.len() >= 8 {
            bytes[..8].copy_from_slice(b"verity\0\0");
        }
        if let Ok(parsed) = Superblock::parse(&bytes) {
            prop_assert_eq!(Superblock::parse(&parsed.to_block()).unwrap(), parsed);
        }
    }
}
