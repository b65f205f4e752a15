#![allow(clippy::unwrap_used)]
use super::*;
use crate::pe::{Error, example, sections};
use types::Digest;

const CODE: u32 = 0x6000_0020;
const DISCARDABLE: u32 = 0x4200_0040;

/// Like Debian's program for x86: no free header, and debug information with long names at its end.
fn with_debug() -> Vec<u8> {
    let parts: [example::Part<'_>; 8] = [
        (".text", 0x20_0000, 0x2a0, &[1; 100], CODE),
        ("/4", 0x40_0000, 0x320, &[2; 50], 0xc000_0040),
        (".reloc", 0x40_1000, 0x360, &[3; 20], DISCARDABLE),
        ("/23", 0x40_2000, 0x380, &[4; 5000], DISCARDABLE),
        ("/35", 0x40_4000, 0x1720, &[5; 3000], DISCARDABLE),
        ("/35", 0x40_5000, 0x22e0, &[6; 10], DISCARDABLE),
        ("/35", 0x40_6000, 0x2300, &[6; 10], DISCARDABLE),
        ("/35", 0x40_7000, 0x2320, &[6; 10], DISCARDABLE),
    ];
    let mut image = example::of_sections(0x2a0, (0x20_0000, 32), &parts);
    let symbols = image.len() as u32;
    image.extend_from_slice(b"\x30\0\0\0.data.read_mostly\0\0.debug_info\0.debug_str\0");
    image[0x40 + 12..0x40 + 16].copy_from_slice(&symbols.to_le_bytes());
    image
}

/// Like Debian's program for AArch64: one section, with one layout in file and memory, directly after the headers.
fn flat() -> Vec<u8> {
    let parts: [example::Part<'_>; 2] = [(".reloc", 0, 0, &[], DISCARDABLE), (".text", 0x1a0, 0x1a0, &[7; 3000], CODE)];
    let mut image = example::of_sections(0x1a0, (4096, 8), &parts);
    // AddressOfEntryPoint
    image[0x58 + 16] = 0xa8;
    image[0x58 + 17] = 1;
    image
}

const CONTENTS: Contents<'_> = Contents {
    os_release: "ID=evek\n",
    options: "console=com1",
    cmdline: "console=hvc0 evek.roothash=00",
    ramdisk: &[8; 5000],
    kernel: b"MZ kernel",
    sbat: "evek,1,y\n",
};

const CONFIG: &[u8] =
    b"[global]\ndefault=evek\n\n[evek]\noptions=console=com1\nkernel=kernel console=hvc0 evek.roothash=00\n";

// Checked by hand with Debian's Xen 4.20 and kernel: objdump 2.40 lists these sections and gives back their bytes;
// systemd-boot 257 lists and counts the image as an entry, and Xen starts its first domain with the initramfs.
#[test]
fn debug_information_makes_way_for_the_sections_and_the_bytes_are_known() {
    let image = assemble(&with_debug(), &CONTENTS).unwrap();
    let found = sections(&image).unwrap();
    let names: Vec<_> = found.iter().map(|s| (s.name, s.address)).collect();
    let expected = [
        (".text", 0x20_0000),
        (".data.re", 0x40_0000),
        (".reloc", 0x40_1000),
        (".osrel", 0x60_0000),
        (".config", 0x80_0000),
        (".kernel", 0xa0_0000),
        (".ramdisk", 0xc0_0000),
        (".sbat", 0xe0_0000),
    ];
    assert_eq!(names, expected);
    assert_eq!((found[1].data, found[2].data), (&[2; 50][..], &[3; 20][..]));
    assert_eq!((found[3].data, found[4].data), (&b"ID=evek\n"[..], CONFIG));
    assert_eq!((found[5].data, found[6].data), (CONTENTS.kernel, CONTENTS.ramdisk));
    assert!(found[7].data.starts_with(b"sbat,1,") && found[7].data.ends_with(b"\nevek,1,y\n"));
    assert!(image.len() < 8000, "the debug information is gone: {}", image.len());
    assert_eq!(Digest::of(&image).hex(), WITH_DEBUG);
}
const WITH_DEBUG: &str = "7e94bb2a626448e31377b269500f8a7b3f494c3e6a67c73d2bf244671c282386";

#[test]
fn headers_without_room_get_new_ones_in_front() {
    let xen = flat();
    let image = assemble(&xen, &CONTENTS).unwrap();
    let found = sections(&image).unwrap();
    let names: Vec<_> = found.iter().map(|s| (s.name, s.address)).collect();
    let expected = [
        (".reloc", 0),
        (".text", 0x11a0),
        (".osrel", 0x2000),
        (".config", 0x3000),
        (".kernel", 0x4000),
        (".ramdisk", 0x5000),
        (".sbat", 0x7000),
    ];
    assert_eq!(names, expected);
    assert_eq!(found[1].data, [7; 3000]);
    assert_eq!(image[0x1000..][..xen.len()], xen, "the program as it was, its own headers included");
    assert_eq!(found[3].data, CONFIG);
    let number = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
    assert_eq!(number(0x58 + 16), 0x11a8, "the entry moved with it");
    assert_eq!(number(0x58 + 56), 0x8000, "the size of the image");
    assert_eq!(Digest::of(&image).hex(), FLAT);
}
const FLAT: &str = "d10538b821d27bd2a0fbc0361e762fb30151901eb3e9fedd85b5d9ef5b29bbb4";

#[test]
fn arguments_that_would_be_cut_off_or_split_are_refused() {
    let long = "x".repeat(1017);
    let refused = |contents: &Contents<'_>| assemble(&with_debug(), contents).unwrap_err();
    assert!(matches!(refused(&Contents { cmdline: &long, ..CONTENTS }), Error::Line { found: 1017, most: 1016, .. }));
    assert!(assemble(&with_debug(), &Contents { cmdline: &long[1..], ..CONTENTS }).is_ok());
    assert!(matches!(refused(&Contents { options: "a\nkernel=b", ..CONTENTS }), Error::Line { .. }));
}

#[test]
fn programs_that_cannot_hold_the_sections_are_refused() {
    let refused = |xen: &[u8]| assemble(xen, &CONTENTS).unwrap_err();
    assert_eq!(refused(&assemble(&with_debug(), &CONTENTS).unwrap()), Error::Present { name: ".osrel" });
    let apart: [example::Part<'_>; 1] = [(".text", 0x1000, 0x180, &[7; 64], CODE)];
    assert_eq!(refused(&example::of_sections(0x180, (4096, 8), &apart)), Error::HeaderSpace { room: 1, needed: 6 });
    let mut nameless = with_debug();
    nameless[0x40 + 12..0x40 + 16].fill(0);
    assert!(matches!(refused(&nameless), Error::NotPe { .. }));
    assert!(matches!(refused(b"\x7fELF"), Error::NotPe { .. }));
}

/// A length of the optional header that puts the table of sections where there are none.
#[test]
fn a_program_without_the_sections_that_it_counts_keeps_its_headers() {
    let mut xen = with_debug();
    xen[84..86].copy_from_slice(&45_u16.to_le_bytes());
    let _ = assemble(&xen, &CONTENTS);
}

proptest::proptest! {
    #[test]
    fn damaged_programs_never_panic(flatness: bool, cut in 0usize..9000, at in 0usize..0x240, value: [u8; 4]) {
        let mut xen = if flatness { flat() } else { with_debug() };
        let at = at.min(xen.len() - 4);
        xen[at..at + 4].copy_from_slice(&value);
        let _ = assemble(&xen, &CONTENTS);
        xen.truncate(cut);
        let _ = assemble(&xen, &CONTENTS);
    }
}
