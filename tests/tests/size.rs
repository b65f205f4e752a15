//! The sizes of an image: as a page in a real browser, and as a limit that a build keeps.

use boot_tests::{Ran, browser, checkout, variable};
use serde_json::Value;
use std::{fs, os::unix::fs::symlink, path::Path, process::Command};
use types::{Arch, Flavour};

const TOO_LARGE: i32 = 11;

fn xtask(args: &[&str]) -> Command {
    let mut command = Command::new(variable("EVEK_XTASK"));
    command.args(args).arg("--offline");
    command
}

fn sizes() -> Value {
    let ran = Ran::of(&mut xtask(&["size", "--hv", "kvm", "--json"]));
    ran.must(0, &[]);
    serde_json::from_str(&ran.stdout).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn parts_add_up_to_the_very_files_of_the_image() {
    fn check(node: &Value) {
        let Some(children) = node["children"].as_array() else { return };
        for size in ["stored", "plain"] {
            let sum: u64 = children.iter().filter_map(|c| c[size].as_u64()).sum();
            assert_eq!(Some(sum), node[size].as_u64(), "{size} of {}", node["name"]);
        }
        children.iter().for_each(check);
    }
    let sizes = sizes();
    check(&sizes["tree"]);
    let image = boot_tests::described(&boot_tests::image(Flavour::Kvm, Arch::Amd64));
    let written = |label: &str| {
        // sizes are those of parts without signatures
        let unsigned = image.blobs.iter().find(|(id, _)| label == "EFI System" && id.starts_with("esp/"));
        let written = image.partitions.iter().find(|p| p.label == label).map(|p| p.written.0);
        unsigned.map(|(_, blob)| blob.size.0).or(written)
    };
    for (part, label) in [("store", "IMGA"), ("esp", "EFI System"), ("config", "CONFIG")] {
        let parts = sizes["tree"]["children"].as_array().into_iter().flatten();
        let stored = parts.filter(|p| p["name"] == part).find_map(|p| p["stored"].as_u64());
        assert_eq!(stored, written(label), "{part}");
        assert!(stored.is_some(), "{part} is there");
    }
}

#[test]
fn the_page_of_sizes_draws_and_zooms_in_a_browser() {
    let folder = tempfile::tempdir().expect("there is a temporary folder");
    let page = folder.path().join("sizes.html");
    let ran = Ran::of(&mut xtask(&["size", "--hv", "kvm", "--html", &page.to_string_lossy()]));
    ran.must(0, &[]);
    let html = fs::read_to_string(&page).expect("it was written");
    let user = html.replace("</body>", &format!("<script>{}</script></body>", include_str!("size/user.js")));
    fs::write(&page, user).expect("the folder can be written");

    let seen = browser::open(folder.path(), "sizes.html");
    let console: Vec<_> = seen.log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(console.is_empty(), "the page says nothing on the console: {console:?}");
    let seen: Value = serde_json::from_str(&seen.text("seen")).unwrap_or_else(|e| panic!("{e}"));
    let [start, inside, back, plain] = ["start", "inside", "back", "plain"].map(|name| &seen[name]);
    for view in [start, inside, back, plain] {
        assert_eq!(view["outside"], 0, "every rectangle is inside of the picture: {view}");
        assert!(view["filled"].as_f64().is_some_and(|f| (0.97..=1.01).contains(&f)), "they fill it: {view}");
        assert!(view["largest"].as_u64().is_some_and(|n| (3..=12).contains(&n)), "the largest are listed: {view}");
    }
    assert!(start["rectangles"].as_u64().is_some_and(|n| n > 30), "{start}");
    let first = start["top"][0].as_str().unwrap_or_default();
    assert!(first.starts_with("store, partition, ") && first.contains(" MiB, "), "{first}");
    assert!(seen["tip"].as_str().is_some_and(|tip| tip.contains("in the image,")), "{}", seen["tip"]);
    assert!(inside["here"].as_str().is_some_and(|here| here.starts_with("store ")), "a click goes in: {inside}");
    assert!(
        inside["top"].as_array().is_some_and(|top| top.len() > 2) && inside["top"] != start["top"],
        "and shows what is in it"
    );
    assert_eq!(back, start, "Escape goes out again");
    assert_ne!(plain["top"], start["top"], "unpacked sizes are others");
}

/// Another checkout that is this one but for one file. `dist` is its own.
fn checkout_with(file: &str, text: &str, into: &Path) {
    let at = Path::new(file);
    let folder = at.parent().expect("it is in a folder");
    for (from, to) in [(checkout(), into.to_owned()), (checkout().join(folder), into.join(folder))] {
        fs::create_dir_all(&to).expect("the folder can be made");
        for item in fs::read_dir(from).expect("it is a folder") {
            let item = item.expect("it can be read");
            let name = item.file_name();
            if name != "dist" && name != "target" && Path::new(&name) != folder && item.path() != checkout().join(file)
            {
                symlink(item.path(), to.join(name)).expect("the link can be made");
            }
        }
    }
    fs::write(into.join(file), text).expect("it can be written");
}

#[test]
fn an_image_over_its_budget_is_not_published_and_the_ten_largest_are_named() {
    let before = fs::read_to_string(checkout().join("hv/kvm.yml")).expect("there is one");
    let lowered = before.replace("  store: 290MiB", "  store: 9MiB");
    assert_ne!(before, lowered);
    let line = lowered.lines().position(|l| l == "  store: 9MiB").expect("it is there") + 1;
    let other = tempfile::tempdir().expect("there is a temporary folder");
    checkout_with("hv/kvm.yml", &lowered, other.path());
    let ran = Ran::of(xtask(&["image", "--hv", "kvm"]).env("EVEK_ROOT", other.path()));
    let place = format!("hv/kvm.yml:{line}:10: `store` is over its budget by 1");
    ran.must(TOO_LARGE, &[&place, "and may take 9.0 MiB; its largest parts:", "rootfs › containerd", "xtask size"]);
    let parts: Vec<_> = ran.stderr.lines().filter(|l| l.starts_with("  ") && l.contains(" MiB  ")).collect();
    assert_eq!(parts.len(), 10, "{parts:?}");
    assert!(!other.path().join("dist").exists(), "nothing is published");
}

#[test]
fn an_image_that_no_longer_fits_a_layout_that_it_must_fit_is_not_published() {
    let layout = fs::read_to_string(checkout().join("layouts/eve-1.0.0.yml")).expect("there is one");
    let other = tempfile::tempdir().expect("there is a temporary folder");
    checkout_with("layouts/eve-1.0.0.yml", &layout.replace("size: 300MiB", "size: 30MiB"), other.path());
    let ran = Ran::of(xtask(&["image", "--hv", "kvm"]).env("EVEK_ROOT", other.path()));
    ran.must(TOO_LARGE, &["hv/kvm.yml:", "does not fit the slot of layouts/eve-1.0.0.yml", "there are 30.0 MiB"]);
}
