//! What a plan says.

use crate::world::{World, graph, source};
use graph::{Graph, Reason, State};
use std::fs;

fn kube(w: &World, src: &str, level: u32) -> Graph {
    let (path, digest) = source(w, "agent.rs", src);
    let compile = w.join("compile/kube", "c").file("src", path, digest).at("pkg/kube/pkg.yml", Some(3));
    let layer = w.join("layer/kube", "l").from("bin", "compile/kube", "out");
    let store = w.join("store", &level.to_string()).from("kube", "layer/kube", "out");
    graph([compile, layer, store, w.join("aside", "")])
}

#[test]
fn a_plan_runs_nothing_and_says_why_each_step_would_run() {
    let w = World::new();
    assert_eq!(
        w.plan(&kube(&w, "v1", 3), "store"),
        "3 steps: 0 cached, 1 to run, 2 after those\n\
         compile/kube (pkg/kube/pkg.yml:3)\n    never built\n\
         layer/kube\n    never built\n    unknown until compile/kube has run\n\
         store\n    never built\n    unknown until layer/kube has run"
    );
    assert_eq!(w.runs.take(), [""; 0]);
    w.run(&kube(&w, "v1", 3), "store").unwrap();
    assert_eq!(w.plan(&kube(&w, "v1", 3), "store"), "3 steps: 3 cached, 0 to run");
    let path = w.root().join("agent.rs").display().to_string();
    assert_eq!(
        w.plan(&kube(&w, "v2", 9), "store"),
        format!(
            "3 steps: 0 cached, 1 to run, 2 after those\n\
             compile/kube (pkg/kube/pkg.yml:3)\n    input `src` changed: {path}\n\
             layer/kube\n    unknown until compile/kube has run\n\
             store\n    params.text \"3\" → \"9\"\n    unknown until layer/kube has run"
        )
    );
    assert_eq!(
        w.plan(&kube(&w, "v1", 9), "store"),
        "3 steps: 2 cached, 1 to run\nstore\n    params.text \"3\" → \"9\""
    );
}

#[test]
fn a_plan_compares_with_what_was_used_last_not_with_what_ran_last() {
    let w = World::new();
    w.run(&kube(&w, "v1", 3), "store").unwrap();
    w.run(&kube(&w, "v1", 4), "store").unwrap();
    w.run(&kube(&w, "v1", 3), "store").unwrap();
    assert!(w.plan(&kube(&w, "v1", 5), "store").contains("\"3\" → \"5\""));
}

#[test]
fn damage_in_the_cache_is_told() {
    let w = World::new();
    let g = kube(&w, "v1", 3);
    let built = w.run(&g, "store").unwrap();
    let path = built.path(&w.cache(), &"layer/kube".into(), "out").unwrap();
    let size = fs::metadata(&path).unwrap().len();
    fs::remove_file(&path).unwrap();
    assert!(w.plan(&g, "store").contains("layer/kube\n    output `out` is missing from the cache"));
    fs::write(&path, "x").unwrap();
    let text = format!("layer/kube\n    output `out` is damaged: 1 bytes in the cache, should be {size}");
    assert!(w.plan(&g, "store").contains(&text));
    w.run(&g, "store").unwrap();
    let key = match &g.plan(&w.cache(), &["layer/kube".into()]).unwrap().get(&"layer/kube".into()).unwrap().state {
        State::Cached { key } => *key,
        other => panic!("{other:?}"),
    };
    let record = w.root().join(format!("cache/steps/{}.json", key.hex()));
    fs::write(&record, "{half").unwrap();
    assert!(w.plan(&g, "store").contains("layer/kube\n    unchanged, but no longer in the cache"));
}

#[test]
fn causes_come_deepest_first_and_leave_out_what_is_cached_or_beside() {
    let w = World::new();
    w.run(&kube(&w, "v1", 3), "store").unwrap();
    let plan = kube(&w, "v2", 3).plan(&w.cache(), &["store".into(), "aside".into()]).unwrap();
    let ids = |id: &str| plan.causes(&id.into()).iter().map(|p| p.id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids("store"), ["compile/kube", "layer/kube", "store"]);
    assert_eq!(ids("aside"), ["aside"]);
    assert_eq!(ids("nothing"), [""; 0]);
    let State::WillRun { reasons, .. } = &plan.causes(&"store".into())[0].state else { panic!() };
    assert!(matches!(&reasons[..], [Reason::Input { label, .. }] if label == "src"));
}

#[test]
fn a_plan_is_data_too() {
    let w = World::new();
    let json = serde_json::to_value(kube(&w, "v1", 3).plan(&w.cache(), &["store".into()]).unwrap()).unwrap();
    assert_eq!(json["steps"][0]["state"], "will-run");
    assert_eq!(json["steps"][0]["reasons"][0]["reason"], "never-built");
    assert_eq!(json["steps"][1]["after"][0], "compile/kube");
}

#[test]
fn an_output_that_a_step_does_not_have_is_an_error_naming_those_it_has() {
    let w = World::new();
    let g = graph([w.join("a", ""), w.join("b", "").from("x", "a", "tar")]);
    let text = w.run(&g, "b").unwrap_err().to_string();
    assert_eq!(text, "step `b` failed: input `x`: step `a` has no output `tar`, only: out");
}
