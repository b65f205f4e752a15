//! Disks in a temporary folder in place of `/persist/images`.

use super::*;
use std::{fs, os::unix::fs::symlink};
use types::Bytes;

struct Device {
    dir: tempfile::TempDir,
    paths: Paths,
}

impl Device {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths { images: dir.path().join("images"), ..Paths::default() };
        fs::create_dir(&paths.images).unwrap();
        fs::write(dir.path().join("recovery-key"), "secret").unwrap();
        Self { dir, paths }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.paths.images.join(name)
    }

    fn ready(&self, name: &str, format: DiskFormat, size: Option<u64>) -> Result<PathBuf, String> {
        let at = |line| app::Place { line, column: 9, ..app::Place::file("/config/apps/web.yml") };
        let disk = app::Disk {
            file: Located::new(format!("/persist/images/{name}"), at(5)),
            format,
            size: size.map(|size| Located::new(Bytes(size), at(7))),
            read_only: false,
        };
        ready(&disk, &self.paths).map(|disk| disk.file).map_err(|e| e.to_string())
    }
}

use DiskFormat::{Qcow2, Raw};

const MIB: u64 = 1 << 20;

/// The header of a qcow2 of this size, with a backing file where `backing` has a name.
fn qcow2(size: u64, backing: &str) -> Vec<u8> {
    let mut head = vec![0; 65536];
    head[..4].copy_from_slice(b"QFI\xfb");
    head[7] = 3;
    head[23] = 16;
    head[24..32].copy_from_slice(&size.to_be_bytes());
    head[103] = 104;
    if !backing.is_empty() {
        head[14] = 2;
        head[19] = u8::try_from(backing.len()).unwrap();
        head[512..512 + backing.len()].copy_from_slice(backing.as_bytes());
    }
    head
}

#[test]
fn a_missing_disk_is_made_only_where_its_size_is_given() {
    let device = Device::new();
    let error = device.ready("new/a.raw", Raw, None).unwrap_err();
    let expected =
        "/config/apps/web.yml:5:9: /persist/images/new/a.raw: there is no such disk: copy it there, or set `size`";
    assert!(error.starts_with(expected), "{error}");
    let made = device.ready("new/a.raw", Raw, Some(MIB)).unwrap();
    assert_eq!((made.clone(), fs::metadata(&made).unwrap().len()), (device.file("new/a.raw"), MIB));
}

#[test]
fn a_raw_disk_grows_is_never_made_smaller_and_keeps_its_data() {
    let device = Device::new();
    let file = device.file("a.raw");
    fs::write(&file, vec![7; MIB as usize]).unwrap();
    device.ready("a.raw", Raw, Some(MIB)).unwrap();
    device.ready("a.raw", Raw, Some(3 * MIB)).unwrap();
    let bytes = fs::read(&file).unwrap();
    assert_eq!(bytes.len() as u64, 3 * MIB);
    assert!(bytes[..MIB as usize].iter().all(|b| *b == 7), "what was there stays");
    let error = device.ready("a.raw", Raw, Some(2 * MIB)).unwrap_err();
    let expected = "/config/apps/web.yml:7:9: the disk /persist/images/a.raw has 3MiB and is declared with 2MiB; vmm makes no \
                    disk smaller: write `size: 3MiB`, or copy its data to a new disk";
    assert_eq!(error, expected);
    assert_eq!(fs::read(&file).unwrap(), bytes);
    device.ready("a.raw", Raw, None).unwrap();
}

#[test]
fn a_qcow2_that_is_smaller_in_its_declaration_is_refused() {
    let device = Device::new();
    fs::write(device.file("a.qcow2"), qcow2(2 * MIB, "")).unwrap();
    device.ready("a.qcow2", Qcow2, None).unwrap();
    device.ready("a.qcow2", Qcow2, Some(2 * MIB)).unwrap();
    let error = device.ready("a.qcow2", Qcow2, Some(MIB)).unwrap_err();
    assert!(error.contains("has 2MiB and is declared with 1MiB"), "{error}");
}

#[test]
fn another_format_than_the_files_is_refused() {
    let device = Device::new();
    fs::write(device.file("a.raw"), vec![0; MIB as usize]).unwrap();
    fs::write(device.file("a.qcow2"), qcow2(MIB, "")).unwrap();
    for size in [None, Some(MIB), Some(4 * MIB)] {
        let error = device.ready("a.raw", Qcow2, size).unwrap_err();
        assert!(error.starts_with("/config/apps/web.yml:5:9: /persist/images/a.raw: the file is no qcow2"), "{error}");
        let error = device.ready("a.qcow2", Raw, size).unwrap_err();
        assert!(error.contains("the file is a qcow2, and is declared with `format: raw`"), "{error}");
    }
    assert_eq!(fs::metadata(device.file("a.raw")).unwrap().len(), MIB, "nothing was changed");
}

#[test]
fn a_qcow2_that_names_another_file_is_refused_before_anything_opens_it() {
    let device = Device::new();
    fs::write(device.file("evil.qcow2"), qcow2(MIB, "/persist/vault/recovery-key")).unwrap();
    for size in [None, Some(4 * MIB)] {
        let error = device.ready("evil.qcow2", Qcow2, size).unwrap_err();
        let expected = "/config/apps/web.yml:5:9: /persist/images/evil.qcow2: the qcow2 file has the backing file \
                        `/persist/vault/recovery-key`";
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_disk_that_is_no_file_of_its_folder_is_refused() {
    let device = Device::new();
    symlink("../recovery-key", device.file("key.raw")).unwrap();
    symlink(device.dir.path(), device.file("out")).unwrap();
    symlink("a.raw", device.file("inside.raw")).unwrap();
    fs::write(device.file("a.raw"), vec![0; MIB as usize]).unwrap();
    fs::create_dir(device.file("folder")).unwrap();
    for (name, size) in [("key.raw", None), ("out/recovery-key", None), ("out/new.raw", Some(MIB))] {
        let error = device.ready(name, Raw, size).unwrap_err();
        let expected =
            format!("/config/apps/web.yml:5:9: /persist/images/{name}: it is a link that leaves this folder");
        assert_eq!(error, expected);
    }
    assert!(!device.dir.path().join("new.raw").exists());
    assert!(device.ready("folder", Raw, None).unwrap_err().ends_with("it is no file"));
    device.ready("inside.raw", Raw, None).unwrap();
}
