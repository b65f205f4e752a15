//! Collecting, verifying and replaying.

use crate::world::{World, graph};
use graph::{Cache, Event, Options, OutputKind, Step};
use std::{
    collections::BTreeSet,
    fs,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};
use types::{Bytes, Cancel, Digest};

/// Each blob takes one block at least, so sizes are in blocks of this.
const BIG: usize = 1 << 20;

fn big(w: &World, id: &str) -> Step {
    w.join(id, &id.repeat(BIG))
}

#[test]
fn the_least_recently_used_goes_first_until_the_limit_is_kept() {
    let w = World::new();
    let one = |id: &str| w.run(&graph([big(&w, id)]), id).unwrap().path(&w.cache(), &id.into(), "out").unwrap();
    let mut paths = Vec::new();
    for id in ["a", "b", "c"] {
        paths.push(one(id));
        thread::sleep(Duration::from_millis(20));
    }
    one("a"); // used again, though made first
    let cache = w.cache();
    let swept = cache.gc(Bytes::mib(2) + Bytes(1 << 16), &BTreeSet::new()).unwrap();
    assert_eq!((swept.records, swept.outputs), (1, 1));
    assert!(swept.left <= Bytes::mib(2) + Bytes(1 << 16) && swept.freed >= Bytes::mib(1), "{swept:?}");
    let there: Vec<_> = paths.iter().map(|p| p.exists()).collect();
    assert_eq!(there, [true, false, true]);
    drop(cache);
    w.runs.take();
    one("a");
    one("b");
    assert_eq!(w.runs.take(), ["b"]);
}

#[test]
fn what_nothing_refers_to_goes_first_and_what_is_kept_stays() {
    let w = World::new();
    let cas_put = |text: &str| w.cache().cas().put(text.as_bytes()).unwrap();
    let (input, orphan, locked) = (cas_put("an input"), cas_put("an orphan"), cas_put("a locked input"));
    w.run(&graph([w.join("a", "").blob("deb", input)]), "a").unwrap();
    let cache = w.cache();
    let keep = BTreeSet::from([locked]);
    let swept = cache.gc(Bytes::gib(1), &keep).unwrap();
    assert_eq!((swept.records, swept.outputs), (0, 1));
    assert!(!cache.cas().has(&orphan));
    assert!(cache.cas().has(&locked) && cache.cas().has(&input), "a used input stays with the step that used it");
    let swept = cache.gc(Bytes(0), &keep).unwrap();
    assert_eq!(swept.records, 1);
    assert!(cache.cas().has(&locked) && !cache.cas().has(&input));
}

#[test]
fn an_output_that_a_kept_record_shares_stays() {
    let w = World::new();
    let same = |id: &str| Step::new(id, "same", 1, |ctx| ctx.put("out", &[7; BIG]).map(drop)).param("id", id);
    w.run(&graph([same("a")]), "a").unwrap();
    thread::sleep(Duration::from_millis(20));
    w.run(&graph([same("b"), big(&w, "c").from("b", "b", "out")]), "c").unwrap();
    thread::sleep(Duration::from_millis(20));
    let built = w.run(&graph([same("b")]), "b").unwrap();
    let cache = w.cache();
    // `a` goes, then `c`; what `b` made is what `a` made
    let swept = cache.gc(Bytes::mib(1) + Bytes(1 << 16), &BTreeSet::new()).unwrap();
    assert_eq!((swept.records, swept.outputs), (2, 1));
    assert!(built.path(&cache, &"b".into(), "out").unwrap().exists());
}

#[test]
fn trees_are_collected_too() {
    let w = World::new();
    let step = Step::new("t", "tree", 1, |ctx| Ok(fs::write(ctx.out_tree("root")?.join("x"), [1; BIG])?));
    let built = w.run(&graph([step]), "t").unwrap();
    let cache = w.cache();
    let path = built.path(&cache, &"t".into(), "root").unwrap();
    assert_eq!(cache.gc(Bytes::gib(1), &BTreeSet::new()).unwrap().outputs, 0);
    assert!(path.exists());
    assert!(cache.gc(Bytes(0), &BTreeSet::new()).unwrap().freed >= Bytes::mib(1));
    assert!(!path.exists());
}

#[test]
fn a_cache_in_use_is_not_collected_and_stays_locked() {
    let w = World::new();
    let (one, two) = (w.cache(), w.cache());
    for _ in 0..2 {
        let text = one.gc(Bytes(0), &BTreeSet::new()).unwrap_err().to_string();
        assert!(text.contains("in use by another build"), "{text}");
        // the refused change must leave its process a user
        assert!(two.gc(Bytes(0), &BTreeSet::new()).is_err());
    }
    drop(two);
    one.gc(Bytes(0), &BTreeSet::new()).unwrap();
}

#[test]
fn verify_removes_what_is_broken_and_nothing_else() {
    let w = World::new();
    let tree = Step::new("t", "tree", 1, |ctx| Ok(fs::write(ctx.out_tree("root")?.join("x"), b"good")?));
    let g = graph([w.join("a", "good"), w.join("b", "fine"), tree]);
    let built = w.run_with(&g, &["a", "b", "t"], &Options::default(), &Cancel::default()).unwrap();
    let cache = w.cache();
    assert_eq!(cache.verify().unwrap(), []);
    let path = |id: &str, name: &str| built.path(&cache, &id.into(), name).unwrap();
    fs::remove_file(path("a", "out")).unwrap();
    fs::write(path("a", "out"), b"evil").unwrap();
    fs::write(path("t", "root").join("x"), b"evil").unwrap();
    let broken = cache.verify().unwrap();
    let kinds: BTreeSet<_> = broken.iter().map(|b| b.kind).collect();
    assert_eq!((broken.len(), kinds), (2, BTreeSet::from([OutputKind::Blob, OutputKind::Tree])));
    assert!(broken.iter().any(|b| b.digest == Digest::of(b"good")));
    assert!(!path("a", "out").exists() && !path("t", "root").exists() && path("b", "out").exists());
    drop(cache);
    w.runs.take();
    w.run_with(&g, &["a", "b", "t"], &Options::default(), &Cancel::default()).unwrap();
    assert_eq!(w.runs.take(), ["a"]);
}

#[test]
fn a_replay_tells_an_honest_step_from_one_that_is_not() {
    let w = World::new();
    let count = AtomicU32::new(0);
    let clock = Step::new("clock", "clock", 1, move |ctx| {
        ctx.put("time", count.fetch_add(1, Ordering::SeqCst).to_string().as_bytes())?;
        ctx.put("name", b"clock")?;
        Ok(())
    });
    let g =
        graph([w.join("base", "x"), w.join("honest", "y").from("b", "base", "out"), clock.from("b", "base", "out")]);
    let built = w.run_with(&g, &["honest", "clock"], &Options::default(), &Cancel::default()).unwrap();
    w.runs.take();
    let cache: Cache = w.cache();
    let replay =
        |id: &str| g.replay(&cache, &id.into(), &Options::default(), &|_: &Event| {}, &Cancel::default()).unwrap();
    assert!(replay("honest").same());
    assert_eq!(w.runs.take(), ["honest"], "what it needs is cached");
    let other = replay("clock");
    assert!(!other.same());
    let differs: Vec<_> = other.outputs.iter().filter(|o| o.before != o.after).map(|o| o.name.as_str()).collect();
    assert_eq!(differs, ["time"]);
    assert!(other.outputs.iter().all(|o| o.before.is_some() && o.after.is_some()));
    // the record of the first run stays
    let again = w.run_with(&g, &["clock"], &Options::default(), &Cancel::default()).unwrap();
    assert_eq!(again.get(&"clock".into(), "time"), built.get(&"clock".into(), "time"));
}

#[test]
fn a_replay_of_what_never_ran_is_not_called_the_same() {
    let w = World::new();
    let g = graph([w.join("a", "x")]);
    let replay = g.replay(&w.cache(), &"a".into(), &Options::default(), &|_: &Event| {}, &Cancel::default()).unwrap();
    assert!(!replay.same());
}
