use super::*;
use std::{cell::RefCell, io, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

/// A device whose partitions are files with the word `good`, or others.
struct Device {
    dir: tempfile::TempDir,
    paths: Paths,
}

impl Device {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["bin", "blocks/vda/vda4", "repart.d", "config", "persist"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(at("vda"), "").unwrap();
        fs::write(at("blocks/vda/vda4/uevent"), "DEVTYPE=partition\nPARTNAME=CONFIG\n").unwrap();
        let paths = Paths {
            programs: vec![at("bin")],
            disk: at("vda"),
            blocks: at("blocks"),
            config_device: at("CONFIG"),
            persist_device: at("P3"),
            config: at("config"),
            persist: at("persist"),
            definitions: at("repart.d"),
            run: at("run"),
            pause: Duration::from_millis(1),
            patience: Duration::from_millis(20),
        };
        Self { dir, paths }
    }

    /// An `e2fsck` that does this with its last argument.
    fn e2fsck(&self, body: &str) {
        let path = self.dir.path().join("bin/e2fsck");
        fs::write(&path, format!("#!/bin/sh\nset -- $3\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn standing(&self, part: Part) -> Standing {
        Standing::read(&self.paths.run, part).unwrap()
    }

    fn reason(&self, part: Part) -> String {
        match self.standing(part) {
            Standing::Temporary { reason } => reason,
            Standing::Kept => panic!("nothing stands in"),
        }
    }
}

#[derive(Default)]
struct Mounted(RefCell<Vec<(PathBuf, bool)>>);

impl Mounts for Mounted {
    fn try_out(&self, device: &Path, _: Kind, _: &Path) -> Result<(), Error> {
        let text = fs::read_to_string(device).map_err(Error::io("mount", device))?;
        if text == "good" { Ok(()) } else { Err(Error::io("mount", device)(io::ErrorKind::InvalidData.into())) }
    }

    fn stand_in(&self, at: &Path, read_only: bool) -> Result<(), Error> {
        self.0.borrow_mut().push((at.to_owned(), read_only));
        Ok(())
    }
}

#[test]
fn good_partitions_are_left_to_their_mount_units() {
    let (device, mounted) = (Device::new(), Mounted::default());
    fs::write(&device.paths.config_device, "good").unwrap();
    fs::write(&device.paths.persist_device, "good").unwrap();
    config(&device.paths, &mounted).unwrap();
    persist(&device.paths, &mounted).unwrap();
    assert!(mounted.0.borrow().is_empty());
    assert!(Part::Persist.file(&device.paths.run).exists());
    assert_eq!((device.standing(Part::Config), device.standing(Part::Persist)), (Standing::Kept, Standing::Kept));
}

#[test]
fn an_empty_read_only_folder_stands_in_for_a_broken_config() {
    let (device, mounted) = (Device::new(), Mounted::default());
    fs::write(&device.paths.config_device, "zeros").unwrap();
    config(&device.paths, &mounted).unwrap();
    assert_eq!(*mounted.0.borrow(), [(device.paths.config.clone(), true)]);
    assert!(device.reason(Part::Config).starts_with("cannot mount "));
}

#[test]
fn a_config_that_the_partition_table_lacks_is_not_waited_for() {
    let (device, mounted) = (Device::new(), Mounted::default());
    config(&device.paths, &mounted).unwrap();
    assert!(device.reason(Part::Config).contains("udev has made no device"), "{}", device.reason(Part::Config));
    fs::remove_dir_all(device.paths.blocks.join("vda/vda4")).unwrap();
    let patient = Paths { patience: Duration::from_secs(600), ..device.paths.clone() };
    config(&patient, &mounted).unwrap();
    assert_eq!(device.reason(Part::Config), "the disk has no partition CONFIG");
}

#[test]
fn a_damaged_p3_is_repaired_before_anything_stands_in_for_it() {
    let (device, mounted) = (Device::new(), Mounted::default());
    fs::write(&device.paths.persist_device, "damaged").unwrap();
    device.e2fsck("printf good > $1; exit 1");
    persist(&device.paths, &mounted).unwrap();
    assert!(mounted.0.borrow().is_empty());
    assert_eq!(device.standing(Part::Persist), Standing::Kept);
}

#[test]
fn a_p3_beyond_repair_is_left_as_it_is_and_an_empty_one_stands_in() {
    let (device, mounted) = (Device::new(), Mounted::default());
    fs::write(&device.paths.persist_device, "garbage").unwrap();
    device.e2fsck("echo 'Bad magic number in super-block' >&2; exit 8");
    persist(&device.paths, &mounted).unwrap();
    assert_eq!(*mounted.0.borrow(), [(device.paths.persist.clone(), false)]);
    assert_eq!(device.reason(Part::Persist), "e2fsck failed: Bad magic number in super-block");
    assert_eq!(fs::read_to_string(&device.paths.persist_device).unwrap(), "garbage");
}

#[test]
fn a_p3_that_is_missing_or_closed_has_a_stand_in_at_once() {
    let (device, mounted) = (Device::new(), Mounted::default());
    persist(&device.paths, &mounted).unwrap();
    assert_eq!(mounted.0.borrow().len(), 1);
    assert!(device.reason(Part::Persist).starts_with("P3 is not open: see `systemctl status evek-repart"));
}
