#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;
use types::Digest;

/// The smallest EFI program with one section, `.sbat`, and headers of the given length.
fn program(headers_len: usize, sbat: &str) -> Vec<u8> {
    let mut b = vec![0; headers_len + 512];
    let mut put = |at: usize, bytes: &[u8]| b[at..at + bytes.len()].copy_from_slice(bytes);
    let n = |v: usize| (v as u32).to_le_bytes();
    put(0, b"MZ");
    put(0x3c, &n(0x40));
    put(0x40, b"PE\0\0\x64\x86\x01\0");
    put(0x40 + 20, &240u16.to_le_bytes());
    let optional = 0x40 + 24;
    put(optional, &0x20bu16.to_le_bytes());
    put(optional + 32, &n(4096));
    put(optional + 36, &n(512));
    put(optional + 56, &n(8192));
    put(optional + 60, &n(headers_len));
    let table = optional + 240;
    put(table, b".sbat");
    put(table + 8, &n(sbat.len()));
    put(table + 12, &n(4096));
    put(table + 16, &n(512));
    put(table + 20, &n(headers_len));
    put(headers_len, sbat.as_bytes());
    b
}

const STUB_SBAT: &str = "sbat,1,SBAT,sbat,1,url\nstub,1,x\n";

fn contents(linux: &[u8]) -> Contents<'_> {
    Contents {
        os_release: "ID=evek\n",
        cmdline: "evek.roothash=00",
        uname: "6.12.1",
        initrd: &[7; 5000],
        linux,
        sbat: Some("sbat,1,SBAT,sbat,1,url\nevek,1,y\n"),
    }
}

// Checked by hand with systemd 252's stub and a Debian kernel: objdump 2.40 lists the sections as here and gives back their
// bytes; OVMF and systemd-boot start the result from a volume of `disk::fat`, and its initramfs runs.
#[test]
fn sections_are_read_back_and_the_bytes_are_known() {
    let linux = program(1024, "sbat,1,SBAT,sbat,1,url\nlinux,1,z\n");
    let image = assemble(&program(1024, STUB_SBAT), &contents(&linux)).unwrap();
    let found = sections(&image).unwrap();
    let names: Vec<_> = found.iter().map(|s| (s.name, s.address)).collect();
    let expected = [
        (".sbat", 4096),
        (".osrel", 8192),
        (".cmdline", 12288),
        (".uname", 16384),
        (".initrd", 20480),
        (".linux", 28672),
    ];
    assert_eq!(names, expected);
    assert_eq!(found[0].data, b"sbat,1,SBAT,sbat,1,url\nstub,1,x\nlinux,1,z\nevek,1,y\n");
    assert_eq!(found[2].data, b"evek.roothash=00");
    assert_eq!(found[4].data, [7; 5000]);
    assert_eq!(found[5].data, linux);
    assert_eq!(Digest::of(&image).hex(), GOLDEN);
}
const GOLDEN: &str = "e711ad9a28f1ff0a5b021b29805caa19a884da8b9e9728ec6ea023c2bcc04eda";

#[test]
fn stubs_that_cannot_hold_the_sections_are_refused() {
    let linux = program(1024, STUB_SBAT);
    let refused = |stub: &[u8]| assemble(stub, &contents(&linux)).unwrap_err();
    assert_eq!(refused(&program(512, STUB_SBAT)), Error::HeaderSpace { room: 4, needed: 6 });
    let mut signed = program(1024, STUB_SBAT);
    signed[0x40 + 24 + 112 + 36] = 8;
    assert_eq!(refused(&signed), Error::SignedStub);
    let image = assemble(&program(1024, STUB_SBAT), &contents(&linux)).unwrap();
    assert_eq!(refused(&image), Error::Present { name: ".osrel" });
    assert!(matches!(refused(b"#!/bin/sh"), Error::NotPe { .. }));
    let long = "component,1,x\n".repeat(50).replace("1,", "2,");
    let unique: String = long.lines().enumerate().map(|(n, l)| format!("{n}{l}\n")).collect();
    let too_long = Contents { sbat: Some(&unique), ..contents(&linux) };
    assert!(matches!(assemble(&program(1024, STUB_SBAT), &too_long), Err(Error::SbatSpace { .. })));
    let empty = Contents { initrd: &[], ..contents(&linux) };
    assert_eq!(assemble(&program(1024, STUB_SBAT), &empty), Err(Error::Empty { name: ".initrd" }));
}

proptest! {
    #[test]
    fn damaged_programs_never_panic(cut in 0usize..1536, at in 0usize..1024, value: [u8; 4]) {
        let linux = program(1024, STUB_SBAT);
        let mut stub = program(1024, STUB_SBAT);
        stub[at..at + 4].copy_from_slice(&value);
        let _ = sections(&stub);
        let _ = assemble(&stub, &contents(&linux));
        stub.truncate(cut);
        prop_assert!(sections(&stub).is_err() || cut >= 352);
        let _ = assemble(&stub, &contents(&linux));
    }
}
