//! Devices with an image on trial, whose P3 and CONFIG are as bad as they can be.

use super::*;
use crate::{floor::Floor, health, loader::tests::disk, record::Outcome, report, status::Report};
use boot::{pe::example, uki};
use disk::{Guid, gpt};
use slots::State;
use std::{cell::Cell, path::Path};
use types::Digest;

/// A device with two images, of which the second runs: `+2-1`, on its first start, or as `runs` says.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) paths: Paths,
    now: Cell<u64>,
    pub(crate) restarts: Cell<u32>,
    /// What the pauses of a program do to the device.
    meanwhile: Option<Meanwhile>,
}

type Meanwhile = Box<dyn Fn(&World, u64)>;

fn root(version: &str) -> Digest {
    Digest::of(version.as_bytes())
}

fn program(version: &str) -> Vec<u8> {
    let stub = example::program(1024, "sbat,1\n");
    let release = format!("IMAGE_ID=evek\nIMAGE_VERSION={version}-kvm-amd64\nVERSION_ID={version}\n");
    let cmdline = format!("evek.roothash={} evek.datablocks=1", root(version).hex());
    let contents = uki::Contents {
        os_release: &release,
        cmdline: &cmdline,
        uname: "6.12",
        microcode: None,
        initrd: &[7; 3000],
        linux: &stub,
        sbat: None,
    };
    uki::assemble(&stub, &contents).unwrap()
}

impl World {
    /// 1.0 in the first slot, and 2.0 in the second, which has this counter.
    pub(crate) fn new(counter: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let paths = Paths {
            disk: at("disk"),
            partitions: at("partitions"),
            state: at("persist/update"),
            volatile: at("run/update"),
            lock: at("run/lock"),
            blessed: at("run/blessed"),
            variables: at("efivars"),
            slot: at("slot.json"),
            os_release: at("os-release"),
            cmdline: at("cmdline"),
            config: at("config"),
            last_words: at("pstore"),
            vault: at("vault.json"),
            authorities: at("authorities"),
            ..Paths::default()
        };
        let file = format!("EFI/Linux/evek-2.0{counter}.efi");
        let images = [("EFI/Linux/evek-1.0.efi", program("1.0")), (&*file, program("2.0"))];
        let images: Vec<(&str, &[u8])> = images.iter().map(|(path, bytes)| (*path, &bytes[..])).collect();
        let device = disk(at("disk"), &images);
        for (number, version) in [(2, "1.0"), (3, "2.0")] {
            gpt::set_guid(&device, number, Guid::of_root_hash(root(version))).unwrap();
        }
        for name in ["persist", "config", "run"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::write(at("vault.json"), "{\"state\":\"plain\"}").unwrap();
        let world = Self { folder, paths, now: Cell::new(20), restarts: Cell::new(0), meanwhile: None };
        world.runs("2.0");
        world
    }

    pub(crate) fn runs(&self, version: &str) {
        let slot = serde_json::json!({"root_hash": root(version), "disk": self.paths.disk});
        fs::write(&self.paths.slot, slot.to_string()).unwrap();
        let text = format!("IMAGE_VERSION={version}-kvm-amd64\nVERSION_ID={version}\nVARIANT_ID=kvm\nEVEK_FLOOR=0.9\n");
        fs::write(&self.paths.os_release, text).unwrap();
    }

    fn after(mut self, act: impl Fn(&Self, u64) + 'static) -> Self {
        self.meanwhile = Some(Box::new(act));
        self
    }

    /// As a P3 that is missing, full or read-only: its folder cannot be made.
    pub(crate) fn without_p3(self) -> Self {
        fs::remove_dir_all(self.folder.path().join("persist")).unwrap();
        fs::write(self.folder.path().join("persist"), "").unwrap();
        self
    }

    pub(crate) fn config(&self, text: &str) {
        fs::write(self.paths.config.join("update.yml"), text).unwrap();
    }

    pub(crate) fn states(&self) -> [State; 2] {
        let status = Device::new(machine::disk(&self.paths, false).unwrap()).status().unwrap();
        [status.slots[0].state, status.slots[1].state]
    }

    /// Has the boot loader count a start of the second image.
    fn start_is_counted(&self, from: &str, to: &str) {
        let file = fs::File::options().read(true).write(true).open(&self.paths.disk).unwrap();
        let (table, _) = gpt::read_any(&file).unwrap();
        let esp = table.by_label("EFI System").unwrap();
        let window = disk::Window::new(&file, esp.start, esp.partition.size).unwrap();
        let mut edit = disk::fat::Edit::open(window).unwrap();
        edit.rename(&format!("EFI/Linux/evek-2.0{from}.efi"), &format!("evek-2.0{to}.efi")).unwrap();
    }
}

impl System for World {
    fn uptime(&self) -> Duration {
        Duration::from_secs(self.now.get())
    }

    fn pause(&self, time: Duration) {
        self.now.set(self.now.get() + time.as_secs());
        assert!(self.now.get() < 100_000, "it waits for ever");
        if let Some(act) = &self.meanwhile {
            act(self, self.now.get());
        }
    }

    fn restart(&self) -> Result<(), Error> {
        self.restarts.set(self.restarts.get() + 1);
        Ok(())
    }

    fn units(&self) -> [Vec<String>; 2] {
        [vec!["var.mount".to_owned()], Vec::new()]
    }
}

const ON_TRIAL: State = State::Trial { left: 2, done: 1 };

fn attempts(paths: &Paths) -> Vec<Option<String>> {
    Records::at(paths).attempts().into_iter().map(|attempt| attempt.reason).collect()
}

#[test]
fn an_image_on_trial_is_given_up_after_its_time() {
    let world = World::new("+2-1");
    trial(&world.paths, &world).unwrap();
    assert_eq!((world.restarts.get(), world.states()), (1, [State::Good, ON_TRIAL]));
    assert!((900..910).contains(&world.now.get()), "{}", world.now.get());
    assert_eq!(attempts(&world.paths), [Some("not ready within 900 s: failed var.mount".to_owned())]);
    // an image that is good is none of its business
    for (counter, runs) in [("", "2.0"), ("+2-1", "1.0")] {
        let world = World::new(counter);
        world.runs(runs);
        trial(&world.paths, &world).unwrap();
        assert_eq!(world.restarts.get(), 0, "{counter} {runs}");
    }
}

#[test]
fn the_countdown_needs_neither_p3_nor_config() {
    let world = World::new("+2-1").without_p3();
    fs::remove_dir(&world.paths.config).unwrap();
    trial(&world.paths, &world).unwrap();
    assert_eq!(world.restarts.get(), 1);
    assert_eq!(attempts(&world.paths).len(), 1, "in memory");
    // CONFIG comes later than the countdown begins
    let world = World::new("+2-1").after(|world, now| {
        if now > 40 {
            world.config("health: {within: 60}\n");
        }
    });
    trial(&world.paths, &world).unwrap();
    assert_eq!((world.restarts.get(), world.now.get()), (1, 60));
    // and a mistake in it is a mistake, not the end of an image
    let world = World::new("+2-1");
    world.config("helth: {within: 60}\n");
    trial(&world.paths, &world).unwrap();
    assert!(world.now.get() >= 900);
}

#[test]
fn another_update_that_holds_the_lock_does_not_stop_the_countdown() {
    let world = World::new("+2-1");
    let held = Records::at(&world.paths).alone(Duration::ZERO).unwrap();
    trial(&world.paths, &world).unwrap();
    assert_eq!(world.restarts.get(), 1);
    drop(held);
}

#[test]
fn an_image_that_is_found_good_in_time_stays() {
    for with_p3 in [true, false] {
        let world = World::new("+0-3");
        let world = if with_p3 { world } else { world.without_p3() };
        let world = world.after(|world, now| {
            if now > 100 && !world.paths.blessed.exists() {
                health::bless(&world.paths, world).unwrap();
            }
        });
        trial(&world.paths, &world).unwrap();
        assert_eq!((world.restarts.get(), world.states()), (0, [State::Good, State::Good]), "P3: {with_p3}");
        assert!(world.now.get() < 110);
    }
    // even when the file in memory is missing: the disk says so
    let world = World::new("+2-1").after(|world, now| {
        if now > 100 {
            let device = Device::new(machine::disk(&world.paths, true).unwrap());
            device.bless(root("2.0")).unwrap();
        }
    });
    trial(&world.paths, &world).unwrap();
    assert_eq!(world.restarts.get(), 0);
}

#[test]
fn emergency_mode_is_left_at_once_on_trial_and_after_a_while_otherwise() {
    for (counter, line, restarts, time) in [
        ("+2-1", "ro panic=10", 1, 20 + 30),
        // someone has asked for it, and the image must not stay for that
        ("+0-3", "ro systemd.unit=emergency.target", 1, 20 + 30),
        ("", "ro panic=10", 1, 20 + 600),
        ("", "ro systemd.unit=emergency.target", 0, 20),
    ] {
        let world = World::new(counter);
        fs::write(&world.paths.cmdline, line).unwrap();
        emergency(&world.paths, &world).unwrap();
        assert_eq!((world.restarts.get(), world.now.get()), (restarts, time), "{counter} {line}");
        let expected = (!counter.is_empty()).then(|| Some("emergency mode: failed var.mount".to_owned()));
        assert_eq!(attempts(&world.paths), Vec::from_iter(expected), "{counter} {line}");
    }
    // a disk that cannot be read any more
    let world = World::new("+2-1");
    fs::write(&world.paths.disk, "").unwrap();
    emergency(&world.paths, &world).unwrap();
    assert_eq!((world.restarts.get(), world.now.get()), (1, 620));
}

#[test]
fn the_image_before_says_why_the_update_failed() {
    let world = World::new("+2-1");
    let records = Records::at(&world.paths);
    records.set_last(&crate::record::Last {
        from: "1.0".into(),
        to: "2.0".into(),
        root_hash: root("2.0"),
        fetched: types::Bytes(1),
        reused: types::Bytes(1),
        result: Outcome::Ready,
        reason: None,
    });
    // of an update before this one
    let other =
        Attempt { image: "1.5".into(), root_hash: root("1.5"), boot_id: "x".into(), reason: Some("old".into()) };
    records.set_attempts(&[other]);
    report::report(&world.paths).unwrap();
    assert_eq!(attempts(&world.paths), [None]);
    emergency(&world.paths, &world).unwrap();
    world.start_is_counted("+2-1", "+0-3");
    world.runs("1.0");
    report::report(&world.paths).unwrap();
    let last = Records::at(&world.paths).last().unwrap();
    assert_eq!(last.result, Outcome::FellBack);
    assert_eq!(last.reason.unwrap(), "started 3 times: emergency mode: failed var.mount");
}

#[test]
fn status_shows_faults_and_needs_no_p3() {
    let world = World::new("").without_p3();
    world.config("health: {witin: 60}\n");
    let text = Report::read(&world.paths).unwrap().text(false);
    assert!(text.contains("* IMGB 2.0-kvm-amd64: good"), "{text}");
    assert!(text.contains("warning: ") && text.contains("update.yml:1"), "{text}");
    fs::remove_file(&world.paths.vault).unwrap();
    let text = Report::read(&world.paths).unwrap().text(false);
    assert!(text.contains("`vault` has not opened P3"), "{text}");
    fs::write(&world.paths.vault, "{").unwrap();
    let text = Report::read(&world.paths).unwrap().text(false);
    assert!(text.contains("vault.json"), "{text}");
    // a floor that cannot be read
    let world = World::new("");
    fs::create_dir_all(&world.paths.state).unwrap();
    fs::write(world.paths.state.join("floor.json"), "").unwrap();
    let json: serde_json::Value = serde_json::from_str(&Report::read(&world.paths).unwrap().text(true)).unwrap();
    assert_eq!(json["floor"], "2.0");
    assert!(json["warnings"][0].as_str().unwrap().contains("floor.json"), "{json}");
    assert!(!Path::new(&world.paths.blessed).exists());
    let running = Running::read(&world.paths).unwrap();
    assert!(Floor::read(&Records::at(&world.paths), &running, true).damage.is_some());
}
