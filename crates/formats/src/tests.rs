//! The same bytes for the same disk. `tests/tests/formats.rs` has QEMU read the files.
#![allow(clippy::unwrap_used)]

use super::*;
use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
    os::unix::fs::FileExt as _,
};
use types::Digest;

const GUID: [u8; 16] = [7; 16];
type Write = fn(&File, &File) -> io::Result<()>;
const ALL: [(&str, Write); 5] = [
    ("vmdk", |raw, out| vmdk(raw, out, "disk.vmdk", GUID)),
    ("vhdx", |raw, out| vhdx(raw, out, GUID)),
    ("vdi", |raw, out| vdi(raw, out, GUID)),
    ("gcp", gcp),
    ("zstd", zstd),
];

/// Data at both ends and in the middle.
fn raw(is_sparse: bool) -> File {
    let raw = tempfile::tempfile().unwrap();
    let size = (9 << 20) + 512;
    if is_sparse {
        raw.set_len(size).unwrap();
    } else {
        raw.write_all_at(&vec![0; size as usize], 0).unwrap();
    }
    for n in (0..9 << 20).step_by(300 << 10) {
        raw.write_all_at(b"data", n).unwrap();
    }
    raw.write_all_at(b"last", size - 4).unwrap();
    raw
}

fn made(write: Write, raw: &File) -> Vec<u8> {
    let mut out = tempfile::tempfile().unwrap();
    // of an earlier build
    out.write_all_at(b"old", 40 << 20).unwrap();
    write(raw, &out).unwrap();
    out.rewind().unwrap();
    let mut bytes = Vec::new();
    out.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_file_depends_on_the_bytes_of_the_disk_only() {
    for (name, write) in ALL {
        let sparse = Digest::of(&made(write, &raw(true)));
        assert_eq!(sparse, Digest::of(&made(write, &raw(false))), "{name}: holes and zeros are one");
    }
}

#[test]
fn what_is_no_disk_is_refused() {
    for (name, write) in ALL.into_iter().filter(|(name, _)| *name != "zstd") {
        for size in [0, 513, 1 << 42] {
            let (raw, out) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
            raw.set_len(size).unwrap();
            assert!(write(&raw, &out).is_err(), "{name}: {size}");
        }
    }
}

/// The crate `tar` reads GNU's holes, as GNU tar does.
#[test]
fn the_archive_for_compute_engine_holds_the_disk() {
    for (place, whole) in [(0u64, 1u64 << 30), (9 << 30, 10 << 30)] {
        let disk = raw(true);
        let size = place + (9 << 20) + 512;
        disk.set_len(size).unwrap();
        disk.write_all_at(b"far", place).unwrap();
        let archive = made(gcp, &disk);
        let folder = tempfile::tempdir().unwrap();
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&archive[..]));
        tar.unpack(folder.path()).unwrap();
        let found = File::open(folder.path().join("disk.raw")).unwrap();
        assert_eq!(found.metadata().unwrap().len(), whole);
        for at in [0, place] {
            let mut bytes = [vec![1; 9 << 20], vec![2; 9 << 20]];
            found.read_exact_at(&mut bytes[0], at).unwrap();
            disk.read_exact_at(&mut bytes[1], at).unwrap();
            assert!(bytes[0] == bytes[1], "from byte {at}");
        }
    }
}
