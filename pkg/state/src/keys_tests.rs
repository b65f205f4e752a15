use super::*;
use std::os::unix::fs::symlink;

/// A device with an `ssh-keygen` whose keys are files with the line `whole`, and which refuses to replace one.
struct Device {
    _dir: tempfile::TempDir,
    paths: Paths,
}

const KEYGEN: &str = r#"#!/bin/sh
for last; do :; done
case "$1" in
    -y) grep -q whole "$last" ;;
    *) test ! -e "$last" && mkdir -p "${last%/*}" && echo "whole $$" > "$last" && echo public > "$last.pub" ;;
esac
"#;

impl Device {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["bin", "config", "persist", "run"] {
            fs::create_dir_all(at(folder)).unwrap();
        }
        fs::write(at("bin/ssh-keygen"), KEYGEN).unwrap();
        fs::set_permissions(at("bin/ssh-keygen"), fs::Permissions::from_mode(0o755)).unwrap();
        let paths = Paths {
            programs: vec![at("bin")],
            config: at("config"),
            persist: at("persist"),
            run: at("run"),
            ..Paths::default()
        };
        fs::write(paths.config.join(AUTHORIZED), "ssh-ed25519 owner\n").unwrap();
        Self { _dir: dir, paths }
    }

    fn kept(&self) -> PathBuf {
        self.paths.persist.join("ssh").join(HOST_KEY)
    }

    fn used(&self) -> Option<String> {
        fs::read_to_string(self.paths.run.join("ssh").join(HOST_KEY)).ok()
    }

    fn authorized(&self) -> Option<String> {
        fs::read_to_string(self.paths.run.join(AUTHORIZED)).ok()
    }

    /// Another start.
    fn starts(&self) {
        fs::remove_dir_all(&self.paths.run).unwrap();
        fs::create_dir_all(&self.paths.run).unwrap();
        prepare(&self.paths).unwrap();
    }

    fn config_is_broken(&self) {
        let reason = "bad superblock".to_owned();
        Standing::Temporary { reason }.write(&self.paths.run, Part::Config).unwrap();
        fs::remove_file(self.paths.config.join(AUTHORIZED)).unwrap();
    }
}

#[test]
fn the_host_key_is_made_once_and_kept() {
    let device = Device::new();
    device.starts();
    let first = device.used().unwrap();
    device.starts();
    assert_eq!(device.used().unwrap(), first);
    assert_eq!(fs::read_to_string(device.kept()).unwrap(), first);
    let names: Vec<_> =
        fs::read_dir(device.paths.persist.join("ssh")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "key, public key, copy of authorized_keys: {names:?}");
}

#[test]
fn a_host_key_that_a_power_cut_has_left_empty_is_made_anew() {
    for damage in ["", "-----BEGIN OPENSSH PRIVATE KEY-----\n"] {
        let device = Device::new();
        device.starts();
        fs::write(device.kept(), damage).unwrap();
        // left by a cut at another moment
        fs::write(device.kept().with_file_name(format!(".{HOST_KEY}.new")), "").unwrap();
        device.starts();
        let key = device.used().unwrap();
        assert!(key.starts_with("whole"), "{damage:?}");
        assert_eq!(fs::read_to_string(device.kept()).unwrap(), key);
    }
}

#[test]
fn a_p3_that_takes_no_key_does_not_keep_anybody_out() {
    let device = Device::new();
    // nothing can be made below a file, as on a full or read-only P3
    fs::write(device.paths.persist.join("ssh"), "").unwrap();
    device.starts();
    assert!(device.used().unwrap().starts_with("whole"));
    assert_eq!(device.authorized().as_deref(), Some("ssh-ed25519 owner\n"));
}

#[test]
fn without_keys_in_config_ssh_stays_closed_and_no_copy_opens_it_later() {
    let device = Device::new();
    device.starts();
    fs::remove_file(device.paths.config.join(AUTHORIZED)).unwrap();
    device.starts();
    assert_eq!((device.authorized(), device.used()), (None, None));
    fs::write(device.paths.config.join(AUTHORIZED), " \n").unwrap();
    device.config_is_broken();
    prepare(&device.paths).unwrap();
    assert_eq!(device.authorized(), None, "the owner had closed it");
}

#[test]
fn a_broken_config_does_not_keep_the_owner_out() {
    let device = Device::new();
    device.starts();
    device.config_is_broken();
    durable::forget(&device.paths.run.join(AUTHORIZED)).unwrap();
    prepare(&device.paths).unwrap();
    assert_eq!(device.authorized().as_deref(), Some("ssh-ed25519 owner\n"));
}

#[test]
fn a_file_of_config_that_cannot_be_read_is_no_decision_of_the_owner() {
    let device = Device::new();
    device.starts();
    let file = device.paths.config.join(AUTHORIZED);
    fs::remove_file(&file).unwrap();
    // as EIO from a damaged volume: an error that is not "no such file"
    symlink(&file, &file).unwrap();
    device.starts();
    assert_eq!(device.authorized().as_deref(), Some("ssh-ed25519 owner\n"));
}
