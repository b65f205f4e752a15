//! Which of the two the firmware starts first.

use super::*;

#[test]
fn the_second_loader_is_never_before_the_first() {
    for (before, first, after) in [
        // it is there already, where someone has put it
        (Some(vec![OURS, FIRST, 0]), FIRST, Some(vec![FIRST, 0, OURS])),
        // the firmware starts the first by an entry that the order does not have, or has no order
        (Some(vec![0]), FIRST, Some(vec![0])),
        (Some(vec![]), FIRST, Some(vec![])),
        (None, FIRST, None),
        (Some(vec![0, FIRST]), 0, Some(vec![0, FIRST, OURS])),
    ] {
        let world = World::with_loader(NEW);
        world.settle();
        world.forget();
        match &before {
            Some(order) => world.set("BootOrder", &order.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>()),
            None => fs::remove_file(world.variable("BootOrder")).unwrap(),
        }
        world.set("BootCurrent", &first.to_le_bytes());
        world.settle();
        let on_trial = world.get("BootOrder");
        assert!(on_trial.is_none_or(|order| order.first() != Some(&OURS)), "{before:?} and on trial");
        assert!(world.restart(Does::Work));
        world.settle();
        world.have(NEW, Some(OLD));
        assert_eq!(world.get("BootOrder"), after, "{before:?}");
    }
}

#[test]
fn the_only_loader_that_works_is_not_written_over() {
    let world = World::with_loader(NEW);
    world.settle();
    world.restart(Does::Work);
    world.settle();
    // the first has gone bad, and the firmware came to the end of its order
    world.set("BootCurrent", &OURS.to_le_bytes());
    world.starts.set(9);
    world.records().set_loader(NEWER).unwrap();
    world.settle();
    world.have(NEW, Some(OLD));
    assert_eq!((world.get("BootNext"), world.state()), (None, None));
    // nor is it removed when the first is damaged
    Device::new(&world.disk).replace_loader(Arch::Amd64, b"damaged").unwrap();
    world.records().set_loader(OLD).unwrap();
    world.forget();
    world.have(b"damaged", Some(OLD));
}
