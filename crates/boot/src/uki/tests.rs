#![allow(clippy::unwrap_used)]
use super::*;
use crate::pe::example::program;
use proptest::prelude::*;
use types::Digest;

const STUB_SBAT: &str = "sbat,1,SBAT,sbat,1,url\nstub,1,x\n";

fn contents(linux: &[u8]) -> Contents<'_> {
    Contents {
        os_release: "ID=evek\n",
        cmdline: "evek.roothash=00",
        uname: "6.12.1",
        microcode: None,
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
    assert_eq!(refused(&signed), Error::Signed);
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

#[test]
fn microcode_comes_before_the_initramfs() {
    let linux = program(1024, STUB_SBAT);
    let image =
        assemble(&program(1024, STUB_SBAT), &Contents { microcode: Some(&[9; 100]), ..contents(&linux) }).unwrap();
    let names: Vec<_> = sections(&image).unwrap().iter().map(|s| s.name.to_owned()).collect();
    let at = |name: &str| names.iter().position(|n| n == name);
    assert!(at(".ucode").is_some() && at(".ucode") < at(".initrd"), "{names:?}");
}

#[test]
fn a_policy_is_measured_by_its_key_alone_and_comes_off_again() {
    let image = assemble(&program(1024, STUB_SBAT), &contents(&program(1024, STUB_SBAT))).unwrap();
    assert_eq!(policy(&image), Ok(None));
    assert_eq!(without_policy(&image), Ok(image.clone()));
    let keyed = with_policy_key(&image, "a key").unwrap();
    let whole = with_policy(&keyed, "{}").unwrap();
    assert_eq!(policy(&whole), Ok(Some(Policy { key: b"a key", signatures: b"{}" })));
    let measured = |image: &[u8]| crate::measure::measure(image).unwrap();
    assert_ne!(measured(&keyed), measured(&image));
    assert_eq!(measured(&whole), measured(&keyed));
    assert_eq!(without_policy(&whole), Ok(image));
    assert_eq!(with_policy_key(&whole, "a key"), Err(Error::Present { name: ".pcrpkey" }));
}

#[test]
fn a_program_that_ends_within_its_headers_is_none() {
    let stub = program(1024, STUB_SBAT);
    assert!((0..352).all(|cut| sections(&stub[..cut]).is_err()));
}

proptest! {
    #[test]
    fn damaged_programs_never_panic(cut in 0usize..1536, at in 0usize..1024, value: [u8; 4]) {
        let linux = program(1024, STUB_SBAT);
        let mut stub = program(1024, STUB_SBAT);
        stub[at..at + 4].copy_from_slice(&value);
        let _ = sections(&stub);
        let _ = assemble(&stub, &contents(&linux));
        let _ = pe::take_off(&mut stub.clone(), &[".sbat"]);
        stub.truncate(cut);
        let _ = pe::take_off(&mut stub.clone(), &[".sbat"]);
        let _ = sections(&stub);
        let _ = assemble(&stub, &contents(&linux));
    }
}
