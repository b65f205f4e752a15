//! Failures, cancelling, crashes and full disks.

use crate::world::{World, graph};
use graph::{Cache, Error, Event, FailureClass, Input, Options, Step, StepError};
use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use types::{Cancel, Digest};

fn failures(result: Result<graph::Built, Error>) -> Vec<graph::Failure> {
    match result {
        Err(Error::Failed(failures)) => failures,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_failure_names_the_step_its_source_and_the_end_of_its_log() {
    let w = World::new();
    let step = Step::new("layer/kube", "bad", 1, |ctx| {
        for i in 0..50 {
            ctx.log(&format!("line {i}"));
        }
        writeln!(ctx.log_file()?, "from a child")?;
        Err(StepError::msg("mkfs.erofs: exit code 1"))
    });
    let g = graph([step.at("pkg/kube/pkg.yml", Some(7)), w.join("after", "").from("x", "layer/kube", "out")]);
    let failure = failures(w.run(&g, "after")).remove(0);
    assert_eq!(failure.class, FailureClass::Step);
    assert_eq!(failure.tail.len(), 30);
    assert_eq!(failure.tail[29], "from a child");
    assert_eq!(failure.tail[28], "line 49");
    let text = failure.to_string();
    assert!(
        text.starts_with("step `layer/kube` failed (from pkg/kube/pkg.yml:7): mkfs.erofs: exit code 1\n"),
        "{text}"
    );
    assert!(text.contains("logs/layer%2fkube.log"), "{text}");
    assert_eq!(w.runs.take(), [""; 0], "nothing runs after it");
    let summary = w.events.lock().unwrap().last().cloned().unwrap();
    assert!(matches!(summary, Event::Summary { failed: 1, skipped: 1, ran: 0, .. }), "{summary:?}");
    // nothing of it is remembered
    failures(w.run(&g, "after"));
}

#[test]
fn what_runs_beside_a_failure_finishes_and_is_kept_and_all_failures_are_told() {
    let w = World::new();
    let slow = |id: &str, fails: bool, ms: u64| {
        let (runs, name) = (w.runs.clone(), id.to_owned());
        Step::new(id, "slow", 1, move |ctx| {
            thread::sleep(Duration::from_millis(ms));
            runs.add(&name);
            if fails {
                return Err(StepError::msg("no"));
            }
            ctx.put("out", b"x")?;
            Ok(())
        })
        .param("id", id)
    };
    let all = [slow("a", true, 10), slow("b", false, 150), slow("c", true, 150), slow("d", false, 10)];
    let g = graph(all);
    let options = Options { jobs: 3, ..Options::default() };
    let failed = failures(w.run_with(&g, &["a", "b", "c", "d"], &options, &Cancel::default()));
    let names: Vec<_> = failed.iter().map(|f| f.id.as_str()).collect();
    assert_eq!(names, ["a", "c"]);
    let mut ran = w.runs.take();
    ran.sort();
    assert_eq!(ran, ["a", "b", "c"], "`d` never began");
    w.run(&g, "b").unwrap();
    assert_eq!(w.runs.take(), [""; 0], "`b` was kept");
}

#[test]
fn a_panic_is_a_failure_like_any_other() {
    let w = World::new();
    let g = graph([Step::new("a", "panic", 1, |_| panic!("index out of {}", "range"))]);
    let text = failures(w.run(&g, "a"))[0].error.clone();
    assert_eq!(text, "the step's code panicked: index out of range");
}

#[test]
fn broken_promises_and_missing_inputs_are_failures() {
    let w = World::new();
    let gone = Digest::of(b"gone");
    let cases = [
        (
            Step::new("a", "x", 1, |ctx| ctx.out_tree("root").map(|_| drop(ctx.out_blob("tar")))),
            "promised output `tar` and did not write it",
        ),
        (Step::new("a", "x", 2, |ctx| ctx.input("nothing").map(drop)), "asks for an input `nothing`"),
        (Step::new("a", "x", 3, |ctx| ctx.input("deb").map(drop)).blob("deb", gone), "fetch the inputs again"),
        (
            Step::new("a", "x", 4, |ctx| {
                ctx.put("out", b"1")?;
                fs::write(ctx.out_blob("out"), b"2")?;
                Ok(())
            }),
            "gives output `out` twice",
        ),
    ];
    for (step, words) in cases {
        let failure = failures(w.run(&graph([step]), "a")).remove(0);
        assert!(failure.error.contains(words), "{}", failure.error);
    }
}

#[test]
fn an_input_with_a_changed_byte_is_found_when_a_step_reads_it() {
    let world = World::new();
    let digest = world.cache().cas().put(b"input").unwrap();
    let path = world.cache().cas().path(&digest);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, b"inpux").unwrap();
    let graph = graph([world.join("reader", "").input("deb/x", Input::Blob(digest))]);
    let error = world.run(&graph, "reader").unwrap_err();
    let Error::Failed(failures) = &error else { panic!("{error}") };
    assert_eq!(failures[0].class, FailureClass::Input);
    let found = Digest::of(b"inpux");
    let text = format!("input `deb/x` is damaged: {} has the digest {found}, expected {digest}", path.display());
    assert!(error.to_string().contains(&text), "{error}");
}

#[test]
fn a_full_disk_is_told_as_such_and_the_cache_stays_sound() {
    let w = World::new();
    let full = |fill: bool| {
        Step::new("a", "fill", 1, move |ctx| {
            let path = ctx.out_blob("out");
            fs::write(&path, b"half")?;
            if fill {
                // the kernel's own full disk
                fs::OpenOptions::new().write(true).open("/dev/full")?.write_all(b"x")?;
            }
            Ok(())
        })
    };
    let failure = failures(w.run(&graph([full(true)]), "a")).remove(0);
    assert_eq!(failure.class, FailureClass::DiskFull);
    assert!(failure.error.contains("cargo xtask gc"), "{}", failure.error);
    let built = w.run(&graph([full(false)]), "a").unwrap();
    assert_eq!(w.text(&built, "a"), "half");
}

#[test]
fn cancelling_stops_what_runs_and_begins_nothing() {
    let w = World::new();
    let waits = Step::new("a", "wait", 1, |ctx| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            ctx.check()?;
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    });
    let g = graph([waits, w.join("b", "").from("a", "a", "out"), w.join("c", "")]);
    let cancel = Cancel::default();
    let start = Instant::now();
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(50));
            cancel.cancel();
        });
        w.run_with(&g, &["b", "c"], &Options { jobs: 1, ..Options::default() }, &cancel)
    });
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(w.runs.take(), [""; 0]);
    let summary = w.events.lock().unwrap().last().cloned().unwrap();
    assert!(matches!(summary, Event::Summary { cancelled: true, failed: 0, .. }), "{summary:?}");
}

#[test]
fn a_step_that_ends_well_after_it_was_cancelled_is_not_believed() {
    let w = World::new();
    let cancel = Cancel::default();
    let inner = cancel.clone();
    let step = Step::new("a", "x", 1, move |ctx| {
        inner.cancel();
        ctx.put("out", b"half")?;
        Ok(())
    });
    let g = graph([step]);
    let result = w.run_with(&g, &["a"], &Options::default(), &cancel);
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    assert!(w.plan(&g, "a").contains("never built"));
}

/// Not a test of its own: the process that the next test kills.
#[test]
fn killed_process() {
    let Ok(dir) = std::env::var("GRAPH_TEST_KILLED") else { return };
    let cache = Cache::open(dir.as_ref()).unwrap();
    let step = Step::new("a", "half", 1, |ctx| {
        fs::write(ctx.out_blob("out"), b"half")?;
        fs::create_dir(ctx.out_tree("root")?.join("usr"))?;
        fs::write(ctx.scratch()?.join("x"), b"x")?;
        fs::write(ctx.cas().tmp().join(".tmpAbandoned"), b"x")?;
        ctx.log("ready");
        thread::sleep(Duration::from_secs(60));
        Ok(())
    });
    graph([step]).run(&cache, &["a".into()], &Options::default(), &|_: &Event| {}, &Cancel::default()).unwrap();
}

#[test]
fn a_killed_build_leaves_only_temporary_files_and_the_next_one_sweeps_them() {
    let w = World::new();
    let root = w.root().join("cache");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "failing::killed_process", "--nocapture"])
        .env("GRAPH_TEST_KILLED", &root)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while fs::read_to_string(root.join("logs/a.log")).unwrap_or_default() != "ready\n" {
        assert!(Instant::now() < deadline, "the other process never got ready");
        thread::sleep(Duration::from_millis(10));
    }
    let temporary = || fs::read_dir(root.join("tmp")).unwrap().count();
    {
        let _beside = Cache::open(&root).unwrap();
        assert_eq!(temporary(), 3, "what a living process makes is left alone: its folder, its file, our folder");
        let text = _beside.gc(types::Bytes(0), &Default::default()).unwrap_err().to_string();
        assert!(text.contains("in use by another build"), "{text}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let cache = Cache::open(&root).unwrap();
    assert_eq!(temporary(), 1, "only our own folder");
    for folder in ["steps", "trees", "last"] {
        assert_eq!(fs::read_dir(root.join(folder)).unwrap().count(), 0, "{folder}");
    }
    drop(cache);
    assert_eq!(temporary(), 0);
}

#[test]
fn nothing_temporary_is_left_after_success_or_failure() {
    let w = World::new();
    let cache = w.cache();
    let make = |fails: bool| {
        Step::new("a", "x", u32::from(fails), move |ctx| {
            fs::write(ctx.scratch()?.join("x"), b"x")?;
            fs::write(ctx.out_blob("out"), b"x")?;
            fs::write(ctx.out_tree("root")?.join("x"), b"x")?;
            if fails { Err(StepError::msg("no")) } else { Ok(()) }
        })
    };
    for fails in [false, true] {
        let result =
            graph([make(fails)]).run(&cache, &["a".into()], &Options::default(), &|_: &Event| {}, &Cancel::default());
        assert_eq!(result.is_err(), fails);
        let session = fs::read_dir(w.root().join("cache/tmp")).unwrap().next().unwrap().unwrap().path();
        assert_eq!(fs::read_dir(session).unwrap().count(), 0);
    }
}
