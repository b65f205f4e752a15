//! Power cuts between and within the steps of a trial.

use super::*;

/// Does what a start has to do with a disk that dies after every number of writes; `from` makes the state before it. Whatever is
/// left then: the first loader is whole, and the starts after that come to the same end.
fn cut_everywhere(from: impl Fn(&World), second: Does, first: &[&[u8]], end: (&[u8], &[u8]), rest: &[u16]) {
    let mut writes = 0;
    loop {
        let world = World::with_loader(NEW);
        from(&world);
        let dying = Dying { disk: &world.disk, left: Cell::new(writes) };
        let done = world.on(&dying, |loader| loader.settle(true)).is_ok();
        let found = world.copies().0;
        assert!(first.contains(&&found[..]), "after {writes} writes the first loader is another");
        for _ in 0..3 {
            world.restart(second);
            world.settle();
        }
        world.have(end.0, Some(end.1));
        world.is_at_rest(rest);
        if done {
            break;
        }
        writes += 1;
    }
    assert!(writes > 5, "{writes}");
}

#[test]
fn a_cut_while_a_trial_is_set_up_does_not_matter() {
    cut_everywhere(|_| (), Does::Work, &[OLD], (NEW, OLD), &[FIRST, 0, OURS]);
    cut_everywhere(|_| (), Does::Hang, &[OLD], (OLD, OLD), &[FIRST, 0]);
}

#[test]
fn a_cut_while_a_loader_takes_its_place_does_not_matter() {
    let trial = |world: &World| {
        world.settle();
        world.restart(Does::Work);
    };
    cut_everywhere(trial, Does::Work, &[OLD, NEW], (NEW, OLD), &[FIRST, 0, OURS]);
    // it was found to work, whatever the starts after the cut are like
    cut_everywhere(trial, Does::Hang, &[OLD, NEW], (NEW, OLD), &[FIRST, 0, OURS]);
}

#[test]
fn a_cut_while_a_loader_that_failed_is_cleared_away_does_not_matter() {
    let failed = |world: &World| {
        world.settle();
        world.restart(Does::Hang);
    };
    cut_everywhere(failed, Does::Work, &[OLD], (OLD, OLD), &[FIRST, 0]);
}

/// What a change writes into files comes one file after the other: a cut between two of them leaves the first ones new. `order`
/// has the files in the order in which they are written.
fn cut_between_files(world: &World, order: &[PathBuf], act: impl Fn(), after: impl Fn(usize)) {
    let before = world.files();
    act();
    let done = world.files();
    let changed: Vec<_> =
        before.keys().chain(done.keys()).filter(|path| before.get(*path) != done.get(*path)).collect();
    assert!(changed.iter().all(|path| order.contains(path)), "{changed:?} and no others are written");
    for written in 0..order.len() {
        let mut files = before.clone();
        for path in &order[..written] {
            match done.get(path) {
                Some(bytes) => files.insert(path.clone(), bytes.clone()),
                None => files.remove(path),
            };
        }
        world.restore(&files);
        after(written);
    }
}

#[test]
fn a_trial_without_a_record_is_recognised_and_one_that_never_started_has_not_failed() {
    for second in [Does::Work, Does::Hang] {
        let world = World::with_loader(NEW);
        let state = world.paths.state.clone();
        let order = [
            world.variable("Boot0002"),
            world.paths.disk.clone(),
            world.variable("BootNext"),
            state.join("loader.json"),
        ];
        cut_between_files(
            &world,
            &order,
            || world.settle(),
            |written| {
                world.restart(second);
                world.settle();
                match (written, second) {
                    // the power went before the firmware was asked: that is not the loader's fault
                    (..=2, _) | (_, Does::Hang) => assert_eq!(world.state(), Some(LoaderState::Trial), "{written}"),
                    (_, Does::Work) => world.have(NEW, Some(OLD)),
                }
                assert_eq!(world.copies().0, if world.state().is_some() { OLD } else { NEW });
            },
        );
    }
}

#[test]
fn a_cut_after_a_loader_is_in_its_place_is_made_good() {
    let world = World::with_loader(NEW);
    world.settle();
    world.restart(Does::Work);
    let state = world.paths.state.clone();
    // the record comes twice, and is gone in the end; the copies have a test of their own
    let order =
        [world.paths.disk.clone(), world.variable("BootOrder"), state.join("loader.efi"), state.join("loader.json")];
    let mut works = world.records().loader_trial().unwrap();
    works.state = LoaderState::Works;
    world.records().set_loader_trial(&works).unwrap();
    cut_between_files(
        &world,
        &order,
        || world.settle(),
        |written| {
            world.restart(Does::Hang);
            world.settle();
            world.have(NEW, Some(OLD));
            world.is_at_rest(&[FIRST, 0, OURS]);
            assert_eq!(world.state(), None, "{written}");
        },
    );
}
