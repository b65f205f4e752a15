#![allow(clippy::unwrap_used)]
use super::*;
use crate::{pe::example, uki};
use proptest::prelude::*;
use types::Digest;

const SBAT: &str = "evek,1,y\n";

/// As systemd's: without a section for SBAT.
fn stub() -> Vec<u8> {
    example::of_sections(1024, (4096, 512), &[(".text", 4096, 1024, b"code", 0)])
}

fn with(sections: &[(&'static str, &[u8])]) -> Vec<u8> {
    let mut image = stub();
    pe::append(&mut image, sections).unwrap();
    image
}

fn read(program: &[u8]) -> Result<String, Unfit> {
    arguments(program, Arch::Amd64, "6.12.1+deb13")
}

// Checked by hand with the stub of systemd 257.13 for amd64: objdump lists its sections as here and gives back their bytes.
#[test]
fn arguments_are_read_back_and_the_bytes_are_known() {
    let addon = assemble(&stub(), "evek.debug  systemd.debug_shell=ttyS0 ", SBAT).unwrap();
    let names: Vec<_> = sections(&addon).unwrap().iter().map(|s| (s.name.to_owned(), s.data.to_vec())).collect();
    assert_eq!(names[1], (".sbat".to_owned(), [sbat::HEADER, SBAT].concat().into_bytes()));
    assert_eq!(names[2].0, ".cmdline");
    assert_eq!(read(&addon).unwrap(), "evek.debug  systemd.debug_shell=ttyS0");
    assert_eq!(Digest::of(&addon).hex(), GOLDEN);
}
const GOLDEN: &str = "9fd504a783c095913495862595a4c4cf8886c950496d7c2b9a02f36eb3d65e3b";

#[test]
fn a_stub_with_lines_of_its_own_keeps_them() {
    let addon = assemble(&example::program(1024, "sbat,1,x\nstub,1,x\n"), "a", SBAT).unwrap();
    let sections = sections(&addon).unwrap();
    assert_eq!(sections[0].data, b"sbat,1,x\nstub,1,x\nevek,1,y\n");
    assert_eq!(sections.len(), 2);
}

#[test]
fn what_is_no_line_of_arguments_is_refused() {
    for bad in ["a\nb", "a\tb", &"x".repeat(MOST + 1)] {
        let text = assemble(&stub(), bad, SBAT).unwrap_err().to_string();
        assert!(text.contains("must be one line of at most 1024 bytes"), "{text}");
    }
    assert_eq!(assemble(&stub(), "  ", SBAT), Err(Error::Empty { name: ".cmdline" }));
    let addon = assemble(&stub(), "a", SBAT).unwrap();
    assert!(matches!(assemble(&addon, "a", SBAT), Err(Error::Present { name: ".cmdline" })));
}

#[test]
fn the_stub_takes_arguments_from_addons_for_its_kernel_and_machine_only() {
    let cmdline: (&'static str, &[u8]) = (".cmdline", b"a b\0\0c");
    assert_eq!(read(&with(&[cmdline])).unwrap(), "a b");
    let refused = |program: &[u8]| read(program).unwrap_err().to_string();
    assert!(refused(b"#!/bin/sh").contains("not an EFI program"));
    assert!(refused(&stub()).contains("it has no arguments"));
    assert!(refused(&with(&[cmdline, (".linux", b"kernel")])).contains("it has a kernel"));
    assert!(refused(&with(&[(".cmdline", b"\xff")])).contains("not UTF-8"));
    let other = arguments(&with(&[cmdline]), Arch::Arm64, "6.12").unwrap_err().to_string();
    assert_eq!(other, "it is for amd64, not for arm64");
    for (release, fits) in [
        ("6.12.1+deb13", true),
        ("6.12.1+deb13\0", true),
        ("6.12", true),
        ("6.12\0", false),
        ("6.13", false),
        ("6.12.1+deb13-rt", false),
    ] {
        let found = read(&with(&[(".uname", release.as_bytes()), cmdline]));
        assert_eq!(found.is_ok(), fits, "{release:?}: {found:?}");
    }
}

#[test]
fn a_command_line_is_put_together_as_the_stub_does() {
    let extended = |cmdline: &str, addons: &[&str]| {
        let addons: Vec<String> = addons.iter().map(|text| mangled(text)).collect();
        super::extended(cmdline, &addons)
    };
    assert_eq!(extended(" ro quiet\n", &[]), "ro quiet");
    assert_eq!(extended("ro  quiet", &["\ta\nb\x7f", " c "]), "ro  quiet a b c");
    assert_eq!(extended("ro", &["", " "]), "ro");
    assert_eq!(extended("ro", &["", "a", "", "b", ""]), "ro a  b");
    assert_eq!(extended("", &["a"]), "a");
}

#[test]
fn addons_come_in_the_order_of_their_names() {
    let names = ["b.addon.efi", "B.ADDON.EFI", "a.addon.efi", "10.addon.efi", "2.addon.efi"];
    let others = [".hidden.addon.efi", "x.efi", "x.addon.efi.bak", "ä.addon.efi"];
    let found = named(names.into_iter().chain(others).map(str::to_owned));
    assert_eq!(found, ["10.addon.efi", "2.addon.efi", "B.ADDON.EFI", "a.addon.efi", "b.addon.efi"]);
    assert!(named([format!("{}.addon.efi", "x".repeat(250))]).is_empty());
}

#[test]
fn an_images_own_addons_lie_beside_it() {
    for (image, folder) in [
        (r"\EFI\Linux\evek-0.1.0.efi", "EFI/Linux/evek-0.1.0.efi.extra.d"),
        (r"\EFI\\Linux/evek-0.1.0+2-1.efi", "EFI/Linux/evek-0.1.0.efi.extra.d"),
        (r"\EFI\LINUX\EVEK+3.EFI", "EFI/LINUX/EVEK.EFI.extra.d"),
        (r"\a+b+3.efi", "a+b+3.efi.extra.d"),
        (r"\a+3-.efi", "a+3-.efi.extra.d"),
        (r"\a+3x.efi", "a+3x.efi.extra.d"),
        (r"\a+3", "a.extra.d"),
    ] {
        assert_eq!(folder_of(image), folder);
    }
}

#[test]
fn an_addon_is_no_image() {
    let addon = assemble(&stub(), "a", SBAT).unwrap();
    let contents = uki::Contents {
        os_release: "ID=x\n",
        cmdline: "a",
        uname: "6",
        microcode: None,
        initrd: b"x",
        linux: &stub(),
        sbat: None,
    };
    assert!(matches!(uki::assemble(&addon, &contents), Err(Error::Present { .. })));
    assert!(!crate::measure::is_measured(&addon).unwrap());
    assert!(crate::describe(&addon).is_err());
}

proptest! {
    #[test]
    fn damaged_addons_never_panic(cut in 0usize..2560, at in 0usize..1024, value: [u8; 4]) {
        let mut addon = assemble(&stub(), "a", SBAT).unwrap();
        addon[at..at + 4].copy_from_slice(&value);
        let _ = read(&addon);
        let _ = assemble(&addon, "a", SBAT);
        addon.truncate(cut);
        let _ = read(&addon);
    }
}
