use crate::{Error, Keys, Purpose, Request, Response, Role, Wanted, efi, variable};
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::LazyLock};
use types::Digest;

/// A program for x86-64 with one section (Microsoft, *PE Format*).
pub(crate) fn program() -> Vec<u8> {
    let mut image = vec![0; 1024];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(0x3c, &64_u32.to_le_bytes());
    put(64, b"PE\0\0");
    put(68, &0x8664_u16.to_le_bytes());
    put(70, &1_u16.to_le_bytes()); // NumberOfSections
    put(84, &240_u16.to_le_bytes()); // SizeOfOptionalHeader
    put(88, &0x20b_u16.to_le_bytes());
    put(88 + 32, &4096_u32.to_le_bytes()); // SectionAlignment
    put(88 + 36, &512_u32.to_le_bytes()); // FileAlignment
    put(88 + 56, &8192_u32.to_le_bytes()); // SizeOfImage
    put(88 + 60, &512_u32.to_le_bytes()); // SizeOfHeaders
    put(88 + 108, &16_u32.to_le_bytes()); // NumberOfRvaAndSizes
    let section = 88 + 240;
    put(section, b".text");
    for (at, value) in [(8, 512_u32), (12, 4096), (16, 512), (20, 512)] {
        put(section + at, &value.to_le_bytes());
    }
    put(512, b"code");
    image
}

/// Keys take a second to make.
static PAIR: LazyLock<(tempfile::TempDir, Keys, Keys)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let make = |name: &str| Keys::generate(&dir.path().join(name), Purpose::Production, "Test, Inc.").unwrap();
    let (ours, theirs) = (make("ours"), make("theirs"));
    (dir, ours, theirs)
});

pub(crate) fn ours() -> &'static Keys {
    &PAIR.1
}

pub(crate) fn theirs() -> &'static Keys {
    &PAIR.2
}

/// The certificates of keys in another folder.
fn public_part(keys: &Keys, folder: &Path) -> Keys {
    for role in Role::ALL {
        let name = format!("{role}.crt");
        fs::copy(keys.folder().join(&name), folder.join(&name)).unwrap();
    }
    fs::copy(keys.folder().join("keys.json"), folder.join("keys.json")).unwrap();
    Keys::open(folder).unwrap()
}

fn wanted(keys: &Keys, program: &[u8]) -> Wanted {
    Wanted::new("a program", Role::Db, keys.certificate(Role::Db), efi::Pending::new(program).unwrap().digest())
}

fn sign(keys: &Keys, program: &[u8]) -> Vec<u8> {
    sign_as(keys, Role::Db, program)
}

pub(crate) fn sign_as(keys: &Keys, role: Role, program: &[u8]) -> Vec<u8> {
    let (pending, certificate) = (efi::Pending::new(program).unwrap(), keys.certificate(role));
    let wanted = Wanted::new("a program", role, certificate, pending.digest());
    let signature = keys.sign(&[wanted]).unwrap().remove(0);
    pending.attach(certificate, &signature).unwrap()
}

#[test]
fn keys_are_the_users_own_and_never_replaced() {
    let (made, dir) = (ours(), tempfile::tempdir().unwrap());
    let folder = made.folder().to_owned();
    assert_eq!(made.purpose(), Purpose::Production);
    assert!(made.certificate(Role::Db).subject().contains("Test\\, Inc. signature database key"));
    for (name, mode) in [("PK.key", 0o600), ("db.key", 0o600), ("db.crt", 0o644)] {
        let found = fs::metadata(folder.join(name)).unwrap().permissions().mode();
        assert_eq!(found & 0o777, mode, "{name}");
    }
    assert!(matches!(Keys::generate(&folder, Purpose::Development, "x"), Err(Error::Present { .. })));
    let again = Keys::open(&folder).unwrap();
    assert_eq!(again.certificates(), made.certificates());
    // a folder that is older than a role
    let older = dir.path().join("older");
    let older = Keys::generate(&older, Purpose::Development, "x").unwrap();
    for name in ["pcr.crt", "pcr.key", "debug.crt", "debug.key"] {
        fs::remove_file(older.folder().join(name)).unwrap();
    }
    assert!(Keys::open(older.folder()).unwrap_err().to_string().contains("no pcr.crt: `cargo xtask keys generate`"));
    let added = Keys::generate(older.folder(), Purpose::Production, "x").unwrap();
    assert!(added.has_private(Role::Pcr) && added.purpose() == Purpose::Development);
    for role in [Role::Pcr, Role::Debug] {
        assert_ne!(added.certificate(role), older.certificate(role), "{role}");
    }
    assert_eq!(added.certificate(Role::Db), older.certificate(Role::Db));
    assert!(matches!(Keys::open(dir.path()), Err(Error::NoKeys { .. })));
    fs::write(dir.path().join("keys.json"), r#"{"format": 2, "purpose": "production"}"#).unwrap();
    assert!(Keys::open(dir.path()).unwrap_err().to_string().contains("format 2"));
}

#[test]
fn a_folder_that_has_a_key_of_a_former_role_works_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let keys = public_part(ours(), dir.path());
    for name in ["verity.crt", "verity.key"] {
        fs::write(dir.path().join(name), "of a role that is no more").unwrap();
    }
    let again = Keys::open(dir.path()).unwrap();
    assert_eq!(again.certificates(), keys.certificates());
    assert!(!again.certificates().keys().any(|role| role.name() == "verity"));
    assert!(matches!(Keys::generate(dir.path(), Purpose::Production, "x"), Err(Error::Present { .. })));
    assert!(dir.path().join("verity.key").exists());
}

#[test]
fn a_signature_is_the_same_each_time_and_comes_off_again() {
    let (keys, program) = (ours(), program());
    let signed = sign(keys, &program);
    assert_eq!(signed, sign(keys, &program));
    efi::verify(&signed, keys.certificate(Role::Db)).unwrap();
    assert_eq!(efi::strip(&signed).unwrap(), program);
    assert_eq!(efi::strip(&program).unwrap(), program);
    assert!(efi::Pending::new(&signed).unwrap_err().to_string().contains("is signed already"));
}

#[test]
fn what_is_not_signed_by_the_key_over_these_bytes_is_refused() {
    let db = ours().certificate(Role::Db);
    let program = program();
    let refused = |program: &[u8]| efi::verify(program, db).unwrap_err().to_string();
    assert!(refused(&program).contains("is not signed"));
    assert!(refused(&sign(theirs(), &program)).contains("is not signed by the key of"));
    let signed = sign(ours(), &program);
    for at in [70, 512, 1000] {
        let mut changed = signed.clone();
        changed[at] ^= 1;
        assert!(efi::verify(&changed, db).is_err(), "byte {at}");
    }
    let mut longer = signed.clone();
    longer.extend([0; 8]);
    assert!(efi::strip(&longer).unwrap_err().to_string().contains("behind its signatures"));
    assert!(efi::Pending::new(&program[..1020]).is_err());
    let pending = efi::Pending::new(&program).unwrap();
    assert!(matches!(pending.attach(db, &[0; 256]), Err(Error::BadSignature { .. })));
}

#[test]
fn signatures_can_be_made_where_the_private_keys_are() {
    let (there, folder) = (ours(), tempfile::tempdir().unwrap());
    let here = public_part(there, folder.path());
    let program = program();
    let Err(Error::Wanted(request)) = here.sign(&[wanted(&here, &program)]) else { panic!("nothing is wanted") };

    let request = Request::read(request.json().as_bytes()).unwrap();
    let response = there.answer(&request).unwrap().json();
    let forged = response.replacen("\"signature\": \"", "\"signature\": \"AAAA", 1);
    assert!(matches!(here.import(Response::read(forged.as_bytes()).unwrap()), Err(Error::BadSignature { .. })));
    assert!(!here.folder().join("signatures.json").exists(), "nothing of a bad answer is kept");
    let response = Response::read(response.as_bytes()).unwrap();
    assert_eq!(here.import(response.clone()).unwrap(), 1);
    assert_eq!(here.import(response).unwrap(), 0, "twice is once");
    assert_eq!(sign(&here, &program), sign(there, &program));

    assert!(matches!(theirs().answer(&request), Err(Error::Foreign { .. })));
    assert!(Request::read(br#"{"format":2,"wanted":[]}"#).unwrap_err().to_string().contains("format 2"));
}

#[test]
fn a_private_key_must_belong_to_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let keys = public_part(ours(), folder.path());
    let path = keys.folder().join("db.key");
    fs::copy(theirs().folder().join("db.key"), &path).unwrap();
    let text = keys.sign(&[wanted(&keys, &program())]).unwrap_err().to_string();
    assert!(text.contains("db.key: the key does not belong to db.crt"), "{text}");
    fs::write(&path, "no key").unwrap();
    assert!(keys.sign(&[wanted(&keys, &program())]).unwrap_err().to_string().contains("not an RSA key in PKCS #8"));
}

#[test]
fn a_write_of_a_variable_is_signed_by_its_authority() {
    let keys = ours();
    let (db, kek) = (keys.certificate(Role::Db), keys.certificate(Role::Kek));
    let pending = variable::Pending::new(Role::Db, db, keys.owner()).unwrap();
    assert_eq!(variable::authority(Role::Db), Role::Kek);
    let wanted = Wanted::new("db", Role::Kek, kek, pending.digest());
    let signature = keys.sign(&[wanted]).unwrap().remove(0);
    let write = pending.attach(kek, &signature).unwrap();
    // EFI_TIME, then the length of what comes before the list (UEFI 2.10 §8.2.2)
    let header = u32::from_le_bytes([write[16], write[17], write[18], write[19]]) as usize;
    assert_eq!(write[16 + header..], variable::list(db, keys.owner()));
    // EDK II looks for SHA-256 at this place of the message (RFC 5652 §5.1: version and digest algorithms come first)
    assert_eq!(write[40 + 13..][..9], [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01]);
    assert!(matches!(pending.attach(db, &signature), Err(Error::BadSignature { .. })));
    assert!(variable::Pending::new(Role::Update, db, keys.owner()).is_none());
    assert_ne!(pending.digest(), Digest::of(&variable::list(db, keys.owner())));
}

#[test]
fn a_certificate_is_added_to_a_variable_by_a_write_that_says_so() {
    let keys = ours();
    let (debug, kek) = (keys.certificate(Role::Debug), keys.certificate(Role::Kek));
    let pending = variable::Pending::addition(Role::Db, debug, keys.owner()).unwrap();
    let wanted = Wanted::new("db", Role::Kek, kek, pending.digest());
    let signature = keys.sign(&[wanted]).unwrap().remove(0);
    let write = pending.attach(kek, &signature).unwrap();
    assert_eq!(variable::written(&write).unwrap(), variable::list(debug, keys.owner()));
    // UEFI 2.10 §8.2.2: name without its end, vendor, attributes, time and value are signed
    let signed = |name: &str| {
        let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let vendor = variable::vendor(Role::Db).unwrap();
        let list = variable::list(debug, keys.owner());
        Digest::of(&[&name[..], &vendor, &0x67_u32.to_le_bytes(), &write[..16], &list].concat())
    };
    assert_eq!(pending.digest(), signed("db"));
    assert_eq!(variable::Pending::prohibition(debug, keys.owner()).digest(), signed("dbx"));
    assert_ne!(pending.digest(), variable::Pending::new(Role::Db, debug, keys.owner()).unwrap().digest());
    assert!(variable::Pending::addition(Role::Debug, debug, keys.owner()).is_none());
    // the value that firmware then has, beside an unreadable certificate of its maker
    let numbers = [28_u32 + 19, 0, 19].into_iter().flat_map(u32::to_le_bytes);
    let odd = variable::X509.into_iter().chain(numbers).chain([1; 16]).chain(*b"odd").collect();
    let value = [variable::list(keys.certificate(Role::Db), keys.owner()), odd, variable::list(debug, keys.owner())];
    assert_eq!(variable::certificates(&value.concat()).unwrap(), [keys.certificate(Role::Db).clone(), debug.clone()]);
}
