//! What is cached, what runs, and in which order.

use crate::world::{World, graph, source, with};
use graph::{Event, How, Options, OutputKind, Step};
use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};
use types::Cancel;

#[test]
fn a_second_run_runs_nothing_and_gives_the_same() {
    let w = World::new();
    let g = graph([w.join("a", "1"), w.join("b", "2").from("a", "a", "out")]);
    let first = w.run(&g, "b").unwrap();
    assert_eq!(w.runs.take(), ["a", "b"]);
    assert_eq!(w.text(&first, "b"), "12");
    let second = w.run(&g, "b").unwrap();
    assert_eq!(w.runs.take(), [""; 0]);
    assert_eq!(second.outputs, first.outputs);
    assert_eq!((second.ran, second.cached), (0, 2));
}

#[test]
fn every_kind_of_change_runs_the_step_again_and_changing_back_does_not() {
    let w = World::new();
    let blob = |text: &str| w.cache().cas().put(text.as_bytes()).unwrap();
    let (one, two) = (source(&w, "one", "1"), source(&w, "two", "2"));
    let (x, y) = (blob("x"), blob("y"));
    let base = || w.join("step", "t").blob("blob", x).file("file", &one.0, one.1);
    let changed: [(&str, Step); 7] = [
        ("a parameter's value", base().param("text", "u")),
        ("a further parameter", base().param("more", "v")),
        ("a blob", base().blob("blob", y)),
        ("a source file", base().file("file", &two.0, two.1)),
        ("a further input", base().blob("more", y)),
        ("the version", with(base(), |s| s.version = 2)),
        ("the kind", with(base(), |s| s.kind = "other")),
    ];
    w.run(&graph([base()]), "step").unwrap();
    w.runs.take();
    for (what, step) in changed {
        w.run(&graph([step]), "step").unwrap();
        assert_eq!(w.runs.take(), ["step"], "{what}");
        w.run(&graph([base()]), "step").unwrap();
        assert_eq!(w.runs.take(), [""; 0], "back from {what}");
    }
}

#[test]
fn what_a_step_is_called_where_it_is_defined_and_where_a_file_lies_is_not_in_the_key() {
    let w = World::new();
    let (one, other) = (source(&w, "one", "1"), source(&w, "elsewhere", "1"));
    w.run(&graph([w.join("a", "t").file("f", &one.0, one.1)]), "a").unwrap();
    let moved = w.join("b", "t").file("f", &other.0, other.1).at("pkg.yml", Some(3)).slots(2);
    w.runs.take();
    w.run(&graph([moved]), "b").unwrap();
    assert_eq!(w.runs.take(), [""; 0]);
}

#[test]
fn the_same_bytes_stop_the_wave() {
    let w = World::new();
    // `a` ignores its parameter beyond the first letter
    let make = |text: &str| {
        let runs = w.runs.clone();
        let a = Step::new("a", "first", 1, move |ctx| {
            runs.add("a");
            let text = ctx.step().params["text"].as_str().unwrap_or_default()[..1].to_owned();
            ctx.put("out", text.as_bytes())?;
            Ok(())
        });
        graph([a.param("text", text), w.join("b", "!").from("a", "a", "out")])
    };
    w.run(&make("xa"), "b").unwrap();
    w.runs.take();
    w.run(&make("xb"), "b").unwrap();
    assert_eq!(w.runs.take(), ["a"]);
    w.run(&make("ya"), "b").unwrap();
    assert_eq!(w.runs.take(), ["a", "b"]);
}

#[test]
fn two_names_with_one_key_run_once() {
    let w = World::new();
    let slow = |id: &str| {
        let runs = w.runs.clone();
        Step::new(id, "slow", 1, move |ctx| {
            runs.add("slow");
            thread::sleep(Duration::from_millis(100));
            ctx.put("out", b"x")?;
            Ok(())
        })
    };
    let g = graph([
        slow("kvm/layer"),
        slow("xen/layer"),
        w.join("both", "").from("a", "kvm/layer", "out").from("b", "xen/layer", "out"),
    ]);
    let built = w.run_with(&g, &["both"], &Options { jobs: 4, ..Options::default() }, &Cancel::default()).unwrap();
    assert_eq!(w.runs.take(), ["slow", "both"]);
    assert_eq!(w.text(&built, "both"), "xx");
    let shared = |e: &Event| matches!(e, Event::Finished { how: How::Shared, .. });
    assert_eq!(w.events.lock().unwrap().iter().filter(|e| shared(e)).count(), 1);
}

#[test]
fn a_truncated_or_missing_blob_is_made_again() {
    let w = World::new();
    let g = graph([w.join("a", "some text"), w.join("b", "").from("a", "a", "out")]);
    let built = w.run(&g, "b").unwrap();
    let path = built.path(&w.cache(), &"a".into(), "out").unwrap();
    let damages: [fn(&std::path::Path); 2] = [
        |p| {
            fs::remove_file(p).unwrap();
            fs::write(p, b"some").unwrap();
        },
        |p| fs::remove_file(p).unwrap(),
    ];
    for damage in damages {
        w.runs.take();
        damage(&path);
        w.run(&g, "b").unwrap();
        assert_eq!(w.runs.take(), ["a"], "`b` is cached: the bytes are the same again");
        assert_eq!(fs::read(&path).unwrap(), b"some text");
    }
}

#[test]
fn changed_bytes_of_the_same_size_are_found_by_verify_and_made_again() {
    let w = World::new();
    let g = graph([w.join("a", "some text")]);
    let path = w.run(&g, "a").unwrap().path(&w.cache(), &"a".into(), "out").unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"some tex!").unwrap();
    w.runs.take();
    w.run_with(&g, &["a"], &Options { verify: true, ..Options::default() }, &Cancel::default()).unwrap();
    assert_eq!(w.runs.take(), ["a"]);
    assert_eq!(fs::read(&path).unwrap(), b"some text");
    w.run_with(&g, &["a"], &Options { verify: true, ..Options::default() }, &Cancel::default()).unwrap();
    assert_eq!(w.runs.take(), [""; 0]);
}

fn tree_step(w: &World) -> Step {
    let runs = w.runs.clone();
    Step::new("toolbox", "unpack", 1, move |ctx| {
        runs.add("toolbox");
        let tree = ctx.out_tree("root")?;
        fs::create_dir_all(tree.join("usr/bin"))?;
        fs::write(tree.join("usr/bin/tool"), b"tool")?;
        std::os::unix::fs::symlink("usr/bin", tree.join("bin"))?;
        Ok(())
    })
}

#[test]
fn a_folder_is_an_output_like_a_file() {
    use std::os::unix::fs::MetadataExt as _;
    let w = World::new();
    let use_it = Step::new("use", "use", 1, |ctx| {
        let bytes = fs::read(ctx.input("root")?.join("bin/tool"))?;
        ctx.put("out", &bytes)?;
        Ok(())
    });
    let g = graph([tree_step(&w), use_it.from("root", "toolbox", "root")]);
    let built = w.run(&g, "use").unwrap();
    assert_eq!(w.text(&built, "use"), "tool");
    let output = *built.get(&"toolbox".into(), "root").unwrap();
    assert_eq!((output.kind, output.size.0), (OutputKind::Tree, 4));
    let path = w.cache().path(&output);
    assert_eq!(path.join("usr/bin/tool").metadata().unwrap().mtime(), types::EPOCH.cast_signed());
    w.runs.take();
    fs::remove_dir_all(&path).unwrap();
    w.run(&g, "use").unwrap();
    assert_eq!(w.runs.take(), ["toolbox"]);
    // a forced run finds its tree there already
    let options = Options { force: vec!["toolbox".into()], ..Options::default() };
    w.run_with(&g, &["use"], &options, &Cancel::default()).unwrap();
    assert_eq!(w.runs.take(), ["toolbox"]);
    fs::write(path.join("usr/bin/tool"), b"evil").unwrap();
    w.run_with(&g, &["use"], &Options { verify: true, ..Options::default() }, &Cancel::default()).unwrap();
    assert_eq!(w.runs.take(), ["toolbox"]);
    assert_eq!(fs::read(path.join("usr/bin/tool")).unwrap(), b"tool");
}

#[test]
fn a_file_output_keeps_its_holes() {
    use std::os::unix::fs::MetadataExt as _;
    let w = World::new();
    let step = Step::new("disk", "disk", 1, |ctx| {
        let file = fs::File::create(ctx.out_blob("out"))?;
        file.set_len(1 << 26)?;
        Ok(())
    });
    let built = w.run(&graph([step]), "disk").unwrap();
    let meta = built.path(&w.cache(), &"disk".into(), "out").unwrap().metadata().unwrap();
    assert_eq!(meta.len(), 1 << 26);
    assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
}

#[test]
fn steps_run_side_by_side_but_never_more_than_slots_allow() {
    let w = World::new();
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let step = |i: usize, slots: usize| {
        let (now, most) = (now.clone(), most.clone());
        let step = Step::new(format!("s{i}"), "s", 1, move |ctx| {
            let n = now.fetch_add(ctx.slots(), Ordering::SeqCst) + ctx.slots();
            most.fetch_max(n, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(40));
            now.fetch_sub(ctx.slots(), Ordering::SeqCst);
            ctx.put("out", b"")?;
            Ok(())
        });
        step.param("i", i).slots(slots)
    };
    let g = graph((0..6).map(|i| step(i, if i == 3 { usize::MAX } else { 1 })));
    let all: Vec<String> = (0..6).map(|i| format!("s{i}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    w.run_with(&g, &all, &Options { jobs: 3, ..Options::default() }, &Cancel::default()).unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[test]
fn the_longest_way_begins_first_and_the_order_is_always_the_same() {
    for _ in 0..5 {
        let w = World::new();
        // z1 → z2 → end is longer than a → end
        let g = graph([
            w.join("a", "a"),
            w.join("z1", "z"),
            w.join("z2", "zz").from("x", "z1", "out"),
            w.join("b", "b"),
            w.join("end", "").from("a", "a", "out").from("b", "b", "out").from("z", "z2", "out"),
        ]);
        w.run_with(&g, &["end"], &Options { jobs: 1, ..Options::default() }, &Cancel::default()).unwrap();
        assert_eq!(w.runs.take(), ["z1", "a", "b", "z2", "end"]);
    }
}

#[test]
fn a_long_step_is_told_with_its_usual_time_and_a_run_says_how_far_it_is() {
    let w = World::new();
    let (tell, told) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    // runs until the listener has had a pulse
    let step = Step::new("long", "long", 1, move |ctx| {
        told.lock().unwrap().recv().unwrap();
        ctx.put("out", b"")?;
        Ok(())
    });
    let g = graph([step.usually(Duration::from_secs(3600)), w.join("end", "").from("long", "long", "out")]);
    let events = std::sync::Mutex::new(Vec::new());
    let sink = |event: &Event| {
        if matches!(event, Event::Pulse { .. }) {
            // a step that has had its pulse is gone
            let _ = tell.send(());
        }
        events.lock().unwrap().push(event.clone());
    };
    let options = Options { pulse: Duration::from_millis(1), jobs: 1, ..Options::default() };
    let run = || g.run(&w.cache(), &["end".into()], &options, &sink, &Cancel::default()).unwrap();
    run();
    let events = events.lock().unwrap();
    let mut pulses = events.iter().filter_map(|event| match event {
        Event::Pulse { running, done, total, left } => Some((running[0].clone(), *done, *total, *left)),
        _ => None,
    });
    let (running, done, total, left) = pulses.next().unwrap();
    assert_eq!((running.id, running.usual, done, total), ("long".into(), Duration::from_secs(3600), 0, 2));
    assert!(left > Duration::from_secs(3000) && left <= Duration::from_secs(3601), "{left:?}");
    // from then on this machine's own time is known
    assert!(w.cache().usual(&"long".into()).unwrap() < Duration::from_secs(3600));
    assert_eq!(w.cache().usual(&"never".into()), None);
}
