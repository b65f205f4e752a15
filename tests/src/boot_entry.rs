//! Boot entries of the firmware with load options for the program that they start. An attacker can make them on a device, or with
//! a programmer on its flash chip (UEFI 2.10 §3.1.3; EDK II, `MdeModulePkg/Include/Guid/VariableFormat.h`).
//!
//! ```text
//! variables.fd  volume header │ store header │ variable │ variable │ 0xff…     each: header of 60 bytes, name, value; ends at 4n
//! ```

use efivars::{Attributes, Name, Vendor::Global};
use std::{fs, path::Path};

/// The entry's number. No firmware assigns one as high.
const NUMBER: u16 = 0x42;
const STORE_HEADER: usize = 28;
const HEADER: usize = 60;
/// `VARIABLE_DATA`.
const START: [u8; 2] = 0x55aa_u16.to_le_bytes();
/// `VAR_ADDED`.
const ADDED: u8 = 0x3f;
/// `EFI_GLOBAL_VARIABLE`, as it is stored.
const GLOBAL: [u8; 16] = [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0, 0xe0, 0x98, 0x03, 0x2b, 0x8c];

/// The variables that have the firmware start a file, on any volume, once, with these load options.
#[must_use]
pub fn starting(file: &str, options: &str) -> [(Name<'static>, Vec<u8>); 2] {
    let node = |kind: [u8; 2], data: &[u8]| [&kind[..], &(4 + data.len() as u16).to_le_bytes(), data].concat();
    // a file (§10.3.5.4), and the end of the path
    let path = [node([4, 4], &utf16(file)), node([0x7f, 0xff], &[])].concat();
    // active, and the length of the path
    let head = [&1_u32.to_le_bytes()[..], &(path.len() as u16).to_le_bytes()].concat();
    let option = [head, utf16("a test's"), path, utf16(options)].concat();
    [(Name(Global, "Boot0042"), option), (Name(Global, "BootNext"), NUMBER.to_le_bytes().to_vec())]
}

/// Adds variables that firmware keeps to its store in a file.
///
/// # Panics
/// When the file is none, or has no room.
pub fn add(store: &Path, variables: &[(Name<'_>, Vec<u8>)]) {
    let mut bytes = fs::read(store).unwrap_or_else(|e| panic!("cannot read {}: {e}", store.display()));
    let number = |bytes: &[u8], at: usize, len: usize| {
        bytes[at..at + len].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    assert_eq!(&bytes[40..44], b"_FVH", "{} is no firmware volume", store.display());
    let mut at = number(&bytes, 48, 2) + STORE_HEADER;
    while bytes[at..at + 2] == START {
        at = (at + HEADER + number(&bytes, at + 36, 4) + number(&bytes, at + 40, 4)).next_multiple_of(4);
    }
    for (name, value) in variables {
        let text = utf16(name.1);
        let mut variable = [&START[..], &[ADDED, 0], &Attributes::KEPT.to_bytes()].concat();
        // no counter, time or key: they are of signed writes
        variable.resize(36, 0);
        variable.extend((text.len() as u32).to_le_bytes());
        variable.extend((value.len() as u32).to_le_bytes());
        variable.extend(GLOBAL);
        variable.extend(text);
        variable.extend(value);
        let room = &mut bytes[at..at + variable.len()];
        assert!(room.iter().all(|byte| *byte == 0xff), "{} has no room at byte {at}", store.display());
        room.copy_from_slice(&variable);
        at = (at + variable.len()).next_multiple_of(4);
    }
    fs::write(store, bytes).unwrap_or_else(|e| panic!("cannot write {}: {e}", store.display()));
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}
