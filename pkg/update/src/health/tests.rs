//! An image is found good in spite of the owner's mistakes, a full P3 and faults that pass.

use super::*;
use crate::trial::tests::World;
use std::cell::Cell;

const BOTH: [State; 2] = [State::Good, State::Good];

#[test]
fn a_mistake_in_config_does_not_give_up_a_good_image() {
    for (file, text) in [
        ("update.yml", "health: {reach: ['https://nowhere.invalid'], witin: 3}\n"),
        ("update.yml", "health: [\n"),
        ("update.yml", "\u{fffd}\0"),
        ("update-ca.pem", "-----BEGIN CERTIFICATE-----\nnonsense\n"),
    ] {
        let world = World::new("+2-1");
        world.config("health: {reach: ['https://nowhere.invalid']}\n");
        fs::write(world.paths.config.join(file), text).unwrap();
        bless(&world.paths, &world).unwrap();
        assert_eq!(world.states(), BOTH, "{file}: {text}");
    }
}

#[test]
fn only_an_image_on_trial_waits_for_addresses() {
    let world = World::new("");
    world.config("health: {reach: ['http://127.0.0.1:1/']}\n");
    bless(&world.paths, &world).unwrap();
    assert!(world.paths.blessed.exists());
}

#[test]
fn an_image_is_good_without_p3() {
    let world = World::new("+1-2").without_p3();
    bless(&world.paths, &world).unwrap();
    assert_eq!(world.states(), BOTH);
    // nor does a damaged floor stop it
    let world = World::new("+1-2");
    fs::create_dir_all(&world.paths.state).unwrap();
    fs::write(world.paths.state.join("floor.json"), "{").unwrap();
    bless(&world.paths, &world).unwrap();
    assert_eq!(world.states(), BOTH);
    let kept = fs::read_to_string(world.paths.state.join("floor.json")).unwrap();
    assert_eq!(kept, "{", "and it is not replaced by a lower one");
}

/// The machine of a world in which a fault passes after a while.
struct Passing<'a>(&'a World, Cell<u32>);

impl System for Passing<'_> {
    fn uptime(&self) -> Duration {
        self.0.uptime()
    }

    fn pause(&self, _: Duration) {
        self.1.set(self.1.get() + 1);
        if self.1.get() == 3 {
            let away = self.0.folder.path().join("away");
            fs::rename(away, &self.0.paths.disk).unwrap();
        }
    }

    fn restart(&self) -> Result<(), Error> {
        self.0.restart()
    }

    fn units(&self) -> [Vec<String>; 2] {
        self.0.units()
    }
}

#[test]
fn a_fault_that_passes_does_not_make_an_image_fail() {
    let world = World::new("+2-1");
    fs::rename(&world.paths.disk, world.folder.path().join("away")).unwrap();
    let passing = Passing(&world, Cell::new(0));
    bless(&world.paths, &passing).unwrap();
    assert_eq!((world.states(), passing.1.get()), (BOTH, 3));
    // and one that stays is an error, after a few tries
    let world = World::new("+2-1");
    fs::write(&world.paths.disk, "").unwrap();
    assert!(bless(&world.paths, &world).is_err());
}

#[test]
fn the_floor_of_an_image_on_trial_does_not_close_the_way_back() {
    let world = World::new("+2-1");
    let text = fs::read_to_string(&world.paths.os_release).unwrap();
    fs::write(&world.paths.os_release, text.replace("EVEK_FLOOR=0.9", "EVEK_FLOOR=2.0")).unwrap();
    go_back(&world.paths, &world, true).unwrap();
    assert_eq!(world.restarts.get(), 1);
    // but that of one that is good does, though P3 has no record of it
    let world = World::new("").without_p3();
    fs::write(&world.paths.os_release, text.replace("EVEK_FLOOR=0.9", "EVEK_FLOOR=2.0")).unwrap();
    let refused = go_back(&world.paths, &world, true).unwrap_err();
    assert!(refused.to_string().contains("nothing older than 2.0"), "{refused}");
}
