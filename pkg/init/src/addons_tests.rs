use super::*;
use crate::cmdline::Received;
use boot::pe::example;
use disk::fat::{Volume, write};
use efivars::{Name, Variables};
use sign::{Certificate, efi, variable};
use std::fs;
use tree::{Entry, Tree, TreePath};

const SIGNED: &str = "ro quiet";
const ADDED: &str = "evek.debug init=/bin/sh";
/// By the key of debug.crt, which is gone, over the program of [`addon`].
/// Anew: `openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out debug.crt -subj "/CN=Test debug key" -days 36500`, and
/// `openssl pkeyutl -sign -inkey key -pkeyopt digest:sha256 | xxd -p` of what the test says is to be signed.
const SIGNATURE: &str = include_str!("../recorded/signature.hex");

fn certificate(pem: &str) -> Certificate {
    Certificate::from_pem(pem.as_bytes()).unwrap()
}

fn owner() -> Certificate {
    certificate(include_str!("../recorded/owner.crt"))
}

fn debug() -> Certificate {
    certificate(include_str!("../recorded/debug.crt"))
}

fn unsigned() -> Vec<u8> {
    let stub = example::signable(example::of_sections(1024, (4096, 512), &[(".text", 4096, 1024, b"code", 0)]));
    addon::assemble(&stub, ADDED, "evek,1,x\n").unwrap()
}

/// The debug key's addon.
fn addon() -> Vec<u8> {
    let program = unsigned();
    let digits: Vec<u8> = SIGNATURE.bytes().filter_map(|c| char::from(c).to_digit(16)).map(|d| d as u8).collect();
    let signature: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    let pending = efi::Pending::new(&program).unwrap();
    let digest = pending.digest().hex();
    pending.attach(&debug(), &signature).unwrap_or_else(|e| panic!("{e}; to be signed: {digest}"))
}

/// Variables as efivarfs has them.
fn variables(secure_boot: u8, db: &[Certificate], image: &str) -> Result<Firmware, String> {
    let folder = tempfile::tempdir().unwrap();
    let variables = Variables::at(folder.path());
    let write = |name, value: &[u8]| fs::write(variables.path(name), [&[6, 0, 0, 0], value].concat()).unwrap();
    write(Name::SECURE_BOOT, &[secure_boot]);
    let db: Vec<u8> = db.iter().flat_map(|certificate| variable::list(certificate, [1; 16])).collect();
    write(Name::DB, &db);
    let image: Vec<u8> = image.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    write(Name::STUB_IMAGE, &image);
    Firmware::read(&variables)
}

/// The firmware of a device whose owner has allowed the debug key.
fn allowed() -> Firmware {
    variables(1, &[owner(), debug()], r"\EFI\Linux\evek+2-1.efi").unwrap()
}

fn esp(files: &[(&str, &[u8])]) -> fs::File {
    let mut tree = Tree::default();
    for (path, bytes) in files {
        tree.insert(TreePath::new(path).unwrap(), Entry::file(0o644, bytes.to_vec())).unwrap();
    }
    let file = tempfile::tempfile().unwrap();
    write(&file, &Volume { size: Bytes::mib(8), label: "EFI".to_owned(), id: 1 }, &tree).unwrap();
    file
}

fn found(firmware: &Firmware, files: &[(&str, &[u8])]) -> Result<Found, String> {
    let kernel = Kernel { arch: Arch::Amd64, release: "6.12".to_owned() };
    find(esp(files), firmware, &kernel).map_err(|e| e.to_string())
}

/// What becomes of a command line.
fn judged(line: &str, found: Result<Found, String>) -> Result<Arguments, String> {
    match Received::new(line, SIGNED) {
        Ok(Received::More(more)) => judge(more, &found).map_err(|e| e.to_string()),
        other => panic!("{other:?}"),
    }
}

const GLOBAL: &str = "loader/addons/debug.addon.efi";

#[test]
fn an_addon_of_whom_the_owner_has_allowed_adds_its_arguments() {
    let found = found(&allowed(), &[(GLOBAL, &addon())]).unwrap();
    let signer = "CN=Test debug key".to_owned();
    assert_eq!(found.addons, [Addon { name: "debug.addon.efi".to_owned(), signer, text: ADDED.to_owned() }]);
    let arguments = judged("ro quiet evek.debug init=/bin/sh\n", Ok(found)).unwrap();
    assert!(arguments.has_flag("evek.debug"));
    assert_eq!(arguments.init().unwrap(), "/bin/sh");
}

#[test]
fn an_addon_of_nobody_and_of_others_adds_nothing() {
    let mut changed = addon();
    let at = changed.windows(10).position(|w| w == b"evek.debug").unwrap();
    changed[at] ^= 1;
    let not_allowed = variables(1, &[owner()], "").unwrap();
    for (firmware, program, reason) in [
        (&allowed(), &unsigned(), "is not signed"),
        (&allowed(), &changed, "was changed after it was signed"),
        (&not_allowed, &addon(), "is not signed by the key of CN=Test owner key"),
    ] {
        let found = found(firmware, &[(GLOBAL, program)]).unwrap();
        assert_eq!(found.addons, []);
        let refused = judged("ro quiet evek.debug init=/bin/sh", Ok(found)).unwrap_err();
        let text =
            format!("(no addon is accepted; {GLOBAL}: the EFI program {reason}), `ro quiet`, but `ro quiet evek.debug");
        assert!(refused.contains(&text), "{refused}");
    }
    let kernel = Kernel { arch: Arch::Arm64, release: "6.12".to_owned() };
    let other = find(esp(&[(GLOBAL, &addon())]), &allowed(), &kernel).unwrap();
    assert_eq!((other.addons, other.others), (vec![], vec![format!("{GLOBAL}: it is for amd64, not for arm64")]));
}

#[test]
fn what_is_no_addons_text_is_refused_beside_it_too() {
    for line in
        ["ro quiet systemd.debug_shell", "ro quiet evek.debug init=/bin/sh smbios", "ro quiet smbios evek.debug"]
    {
        let refused = judged(line, found(&allowed(), &[(GLOBAL, &addon())])).unwrap_err();
        assert!(refused.contains("(nor with debug.addon.efi)") && refused.contains(line), "{refused}");
    }
}

#[test]
fn without_secure_boot_no_addon_counts() {
    let Err(reason) = variables(0, &[debug()], "") else { panic!("it is accepted") };
    let refused = judged("ro quiet evek.debug init=/bin/sh", Err(reason)).unwrap_err();
    assert!(refused.contains("(Secure Boot is off, no addon is accepted)"), "{refused}");
    assert!(Firmware::read(&Variables::at("/nonexistent")).is_err());
    assert!(Firmware::read(&Variables::at("/dev/null")).is_err());
}

#[test]
fn addons_of_all_images_come_before_the_images_own() {
    let (own, other) = ("EFI/Linux/evek.efi.extra.d/a.addon.efi", "EFI/Linux/other.efi.extra.d/a.addon.efi");
    let upper = "loader/addons/B.ADDON.EFI";
    let (addon, unsigned) = (addon(), unsigned());
    let files: [(&str, &[u8]); 6] = [
        (own, &addon),
        (other, &addon),
        (GLOBAL, &addon),
        (upper, &addon),
        ("loader/addons/unsigned.addon.efi", &unsigned),
        ("loader/addons/readme.txt", b"x"),
    ];
    let names = |firmware: &Firmware| -> Vec<String> {
        found(firmware, &files).unwrap().addons.into_iter().map(|addon| addon.name).collect()
    };
    assert_eq!(names(&allowed()), ["B.ADDON.EFI", "debug.addon.efi", "a.addon.efi"]);
    let line = format!("{SIGNED} {ADDED} {ADDED} {ADDED}");
    judged(&line, found(&allowed(), &files)).unwrap();
    // a loader that does not tell which image it has started
    let silent = variables(1, &[debug()], "").unwrap();
    assert_eq!(names(&silent), ["B.ADDON.EFI", "debug.addon.efi"]);
    for none in [&[][..], &[("loader/addons/folder.addon.efi/x", b"x".as_slice())]] {
        assert_eq!(found(&allowed(), none).unwrap(), Found::default());
    }
}

#[test]
fn an_esp_that_cannot_be_read_has_no_addons() {
    let kernel = Kernel { arch: Arch::Amd64, release: String::new() };
    let file = tempfile::tempfile().unwrap();
    file.set_len(8 << 20).unwrap();
    let problem = find(file, &allowed(), &kernel).unwrap_err().to_string();
    let refused = judged("ro quiet evek.debug init=/bin/sh", Err(problem)).unwrap_err();
    assert!(refused.contains("(bad FAT volume: "), "{refused}");
}
