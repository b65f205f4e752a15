use super::*;

const BOOT_NEXT: Name<'static> = Name(Vendor::Global, "BootNext");

/// A folder with these files.
fn folder(files: &[(&str, &[u8])]) -> (tempfile::TempDir, Variables) {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let variables = Variables::at(folder.path());
    (folder, variables)
}

fn kept(value: &[u8]) -> Variable {
    Variable { attributes: Attributes::KEPT, value: value.to_vec() }
}

#[test]
fn attributes_come_before_the_value() {
    let files: [(&str, &[u8]); 2] = [
        ("BootNext-8be4df61-93ca-11d2-aa0d-00e098032b8c", &[7, 0, 0, 0, 0x1f, 0]),
        ("StubImageIdentifier-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f", &[6, 0, 0, 0, b'a', 0]),
    ];
    let (_folder, variables) = folder(&files);
    assert_eq!(variables.read(BOOT_NEXT).unwrap(), Some(kept(&[0x1f, 0])));
    let stub = variables.read(Name::STUB_IMAGE).unwrap().unwrap();
    assert_eq!((stub.attributes, &stub.value[..]), (Attributes::BOOT | Attributes::RUNTIME, &b"a\0"[..]));
    assert!(stub.attributes.is_volatile() && !Attributes::KEPT.is_volatile());
    assert!(Attributes::KEPT.contains(Attributes::RUNTIME) && !Attributes::KEPT.contains(Attributes::SIGNED));
    // another vendor's of the same name is another
    assert_eq!(variables.read(Name(Vendor::Loader, "BootNext")).unwrap(), None);
    assert_eq!(variables.names(Vendor::Global).unwrap(), ["BootNext"]);
    assert_eq!(variables.names(Vendor::SecurityDatabase).unwrap(), [""; 0]);
}

#[test]
fn what_is_not_there_has_no_value_and_what_cannot_be_read_is_an_error() {
    let (_folder, variables) = folder(&[("db-d719b2cb-3d3a-4596-a3bc-dad00e67656f", &[]), ("file", &[])]);
    for variables in [&variables, &Variables::at("/nowhere")] {
        for name in [Name::DB, Name::DBX] {
            assert_eq!((variables.read(name).unwrap(), variables.value(name).unwrap()), (None, vec![]));
        }
        variables.remove(Name::DBX).unwrap();
    }
    assert_eq!(Variables::at("/nowhere").names(Vendor::Global).unwrap(), [""; 0]);
    assert!(Variables::at("/nowhere").write(BOOT_NEXT, &kept(&[1])).is_err());
    let error = Variables::at(variables.0.join("file")).secure_boot().unwrap_err().to_string();
    assert!(error.starts_with("cannot read /") && error.contains("/SecureBoot-8be4df61-"), "{error}");
}

#[test]
fn what_firmware_refuses_now_and_then_is_asked_for_once_more() {
    // what comes back, how often it has been asked by then
    let asked = |kind: io::ErrorKind, refusals: usize| {
        let mut calls = 0;
        let found = patiently(|| {
            calls += 1;
            if calls > refusals { Ok(vec![7]) } else { Err(kind.into()) }
        });
        (found.map_err(|e| e.kind()), calls)
    };
    assert_eq!(asked(io::ErrorKind::InvalidInput, 0), (Ok(Some(vec![7])), 1));
    assert_eq!(asked(io::ErrorKind::InvalidInput, ATTEMPTS), (Ok(Some(vec![7])), ATTEMPTS + 1));
    assert_eq!(asked(io::ErrorKind::InvalidInput, ATTEMPTS + 1), (Err(io::ErrorKind::InvalidInput), ATTEMPTS + 1));
    assert_eq!(asked(io::ErrorKind::NotFound, 9), (Ok(None), 1));
}

#[test]
fn secure_boot_is_on_where_the_firmware_says_so() {
    let off = folder(&[]);
    assert_eq!((off.1.secure_boot().unwrap(), off.1.setup_mode().unwrap()), (false, true));
    for (value, on) in [(&[0][..], false), (&[1], true), (&[1, 1], false), (&[], false)] {
        let (_folder, variables) = folder(&[]);
        for name in [Name::SECURE_BOOT, Name::SETUP_MODE] {
            fs::write(variables.path(name), [&[6, 0, 0, 0], value].concat()).unwrap();
        }
        assert_eq!(variables.secure_boot().unwrap(), on, "{value:?}");
        assert_eq!(variables.setup_mode().unwrap(), value != [0], "{value:?}");
    }
}

#[test]
fn a_variable_is_written_in_one_piece_unless_it_has_the_value() {
    let (_folder, variables) = folder(&[]);
    let path = variables.path(BOOT_NEXT);
    variables.write(BOOT_NEXT, &kept(&[2, 0])).unwrap();
    assert_eq!(fs::read(&path).unwrap(), [7, 0, 0, 0, 2, 0]);
    let written = || fs::metadata(&path).unwrap().modified().unwrap();
    let long_ago = std::time::UNIX_EPOCH;
    File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
    variables.write(BOOT_NEXT, &kept(&[2, 0])).unwrap();
    assert_eq!(written(), long_ago);
    variables.write(BOOT_NEXT, &kept(&[3, 0])).unwrap();
    assert!(written() > long_ago);
    assert_eq!(variables.value(BOOT_NEXT).unwrap(), [3, 0]);
    variables.remove(BOOT_NEXT).unwrap();
    assert_eq!(variables.read(BOOT_NEXT).unwrap(), None);
}

#[test]
fn what_shim_says_counts_where_shim_has_said_it() {
    let (_folder, variables) = folder(&[]);
    let write = |name, attributes: u8, value: &[u8]| {
        fs::write(variables.path(name), [&[attributes, 0, 0, 0], value].concat()).unwrap();
    };
    write(Name::DB, 0x27, b"db");
    assert_eq!((variables.allowed().unwrap(), variables.forbidden().unwrap()), (b"db".to_vec(), vec![]));
    write(Name::MOK_LIST, 6, b" mok");
    write(Name::MOK_LIST_X, 6, b"mokx");
    assert_eq!((variables.allowed().unwrap(), variables.forbidden().unwrap()), (b"db mok".to_vec(), b"mokx".to_vec()));
    // made by root
    write(Name::MOK_LIST, 7, b" mine");
    assert_eq!(variables.allowed().unwrap(), b"db");
}
