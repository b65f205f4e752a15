//! Programs by a certificate whose key is gone: what is recorded is that of `init`, which says how.

use super::*;
use crate::{kernel, loader::tests::disk};
use boot::{addon, pe::example};
use efivars::Name;
use sign::efi;
use std::{fs, path::Path};

/// `EFI_CERT_SHA256_GUID` (UEFI 2.10 §32.4.1).
const PROGRAM: [u8; 16] =
    [0x26, 0x16, 0xc4, 0xc1, 0x4c, 0x50, 0x92, 0x40, 0xac, 0xa9, 0x41, 0xf9, 0x36, 0x93, 0x43, 0x28];

fn owner() -> Certificate {
    Certificate::from_pem(include_bytes!("../../init/recorded/owner.crt")).unwrap()
}

fn debug() -> Certificate {
    Certificate::from_pem(include_bytes!("../../init/recorded/debug.crt")).unwrap()
}

/// The program that `debug` has signed.
fn program() -> Vec<u8> {
    let stub = example::signable(example::of_sections(1024, (4096, 512), &[(".text", 4096, 1024, b"code", 0)]));
    let program = addon::assemble(&stub, "evek.debug init=/bin/sh", "evek,1,x\n").unwrap();
    let digits = include_str!("../../init/recorded/signature.hex").chars().filter_map(|c| c.to_digit(16));
    let digits: Vec<u8> = digits.map(|digit| digit as u8).collect();
    let signature: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    efi::Pending::new(&program).unwrap().attach(&debug(), &signature).unwrap()
}

fn lists(certificates: &[Certificate]) -> Vec<u8> {
    certificates.iter().flat_map(|certificate| variable::list(certificate, [1; 16])).collect()
}

/// A list with the digest of a program (`EFI_SIGNATURE_LIST`).
fn digest(program: &[u8]) -> Vec<u8> {
    let numbers = [28_u32 + 48, 0, 48].into_iter().flat_map(u32::to_le_bytes);
    let digest = efi::digest(program).unwrap();
    PROGRAM.into_iter().chain(numbers).chain([1; 16]).chain(*digest.as_bytes()).collect()
}

/// What a device says of that program as kernel image, by its variables and by what its image would enroll.
fn judged(variables: &[(Name<'_>, &[u8])], enrolled: &[Certificate]) -> Result<(), String> {
    // EFI_TIME, and a signature that nobody checks
    let write = [&[0; 16], &24_u32.to_le_bytes()[..], &[0; 20], &lists(enrolled)].concat();
    let more: &[(&str, &[u8])] = if enrolled.is_empty() { &[] } else { &[(ENROLLED, &write)] };
    judged_with(variables, more)
}

/// The same, with what is on the EFI system partition.
fn judged_with(variables: &[(Name<'_>, &[u8])], more: &[(&str, &[u8])]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths { variables: folder.path().to_owned(), ..Paths::default() };
    for (name, value) in variables {
        fs::write(folder.path().join(name.to_string()), [&[6, 0, 0, 0], *value].concat()).unwrap();
    }
    let device = Device::new(disk(Path::new(folder.path()).join("disk"), more));
    let trust = read(&paths, &device).map_err(|e| e.to_string())?;
    kernel::signed("kernel image", &program(), &trust).map_err(|e| e.to_string())
}

#[test]
fn a_program_must_be_signed_by_whom_the_firmware_knows() {
    let secure = |db: &[Certificate]| judged(&[(Name::SECURE_BOOT, &[1]), (Name::DB, &lists(db))], &[debug()]);
    assert_eq!(secure(&[owner(), debug()]), Ok(()));
    let refused = secure(&[owner()]).unwrap_err();
    assert!(
        refused.starts_with("the kernel image of the update: the EFI program is not signed by the key of"),
        "{refused}"
    );
    assert!(secure(&[]).unwrap_err().contains("there is no certificate"));
}

#[test]
fn without_secure_boot_it_is_whom_the_image_would_enroll() {
    let db = lists(&[owner()]);
    for variables in [&[][..], &[(Name::SECURE_BOOT, &[0][..]), (Name::DB, &db)]] {
        assert_eq!(judged(variables, &[debug()]), Ok(()));
        assert!(judged(variables, &[owner()]).unwrap_err().contains("is not signed by the key of"));
        assert!(judged(variables, &[]).unwrap_err().contains("db.auth on the ESP says whose, or evek-owner.cer;"));
    }
}

#[test]
fn behind_shim_it_is_whom_shim_knows_too() {
    let (db, mok) = (lists(&[owner()]), lists(&[debug()]));
    let [on, db] = [(Name::SECURE_BOOT, &[1][..]), (Name::DB, &db[..])];
    assert!(judged_with(&[on, db], &[]).is_err());
    assert_eq!(judged_with(&[on, db, (Name::MOK_LIST, &mok)], &[]), Ok(()));
    let refused = judged_with(&[on, db, (Name::MOK_LIST, &mok), (Name::MOK_LIST_X, &mok)], &[]).unwrap_err();
    assert!(refused.contains("CN=Test debug key, whom dbx forbids"), "{refused}");
    // without Secure Boot it is the certificate that is to be enrolled
    assert_eq!(judged_with(&[], &[(CERTIFICATE, debug().der())]), Ok(()));
    assert!(judged_with(&[], &[(CERTIFICATE, owner().der())]).is_err());
}

#[test]
fn what_dbx_forbids_is_refused_with_secure_boot_and_without() {
    let db = lists(&[owner(), debug()]);
    for secure in [0, 1] {
        let with = |dbx: &[u8]| {
            judged(&[(Name::SECURE_BOOT, &[secure]), (Name::DB, &db), (Name::DBX, dbx)], &[owner(), debug()])
        };
        assert_eq!(with(&lists(&[owner()])), Ok(()), "of somebody else");
        let refused = with(&lists(&[debug()])).unwrap_err();
        assert!(refused.contains("CN=Test debug key, whom dbx forbids"), "{refused}");
        let refused = with(&digest(&program())).unwrap_err();
        assert!(refused.contains("is forbidden by its digest in dbx"), "{refused}");
        assert!(with(&[1; 5]).is_err(), "one that cannot be read");
    }
}
