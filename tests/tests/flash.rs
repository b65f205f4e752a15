//! `flash` gives a medium the very disk of an image, or says why not.

use boot_tests::{Checks, Ran, copy_disk, described, image, scratch, xtask};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::Path,
};
use types::{Arch, Flavour};

/// As `xtask` promises them.
const USAGE: i32 = 2;
const MEDIUM: i32 = 13;

fn flash(args: &[&Path]) -> Ran {
    let verb = [Path::new("flash")];
    xtask(&[&verb, args].concat())
}

/// Compares all bytes of two disks, but for holes that both have.
fn same(checks: &mut Checks, what: &str, found: &Path, expected: &Path) {
    let [found, expected] = [found, expected].map(|path| File::open(path).expect("a disk"));
    let sizes = [&found, &expected].map(|file| file.metadata().expect("a size").len());
    checks.equal(&format!("{what}: size"), sizes[0], sizes[1]);
    let extents = |file: &File| disk::extents(file).expect("extents");
    for range in extents(&found).into_iter().chain(extents(&expected)) {
        let read = |file: &File| {
            let mut bytes = vec![0; (range.end - range.start) as usize];
            file.read_exact_at(&mut bytes, range.start).expect("bytes");
            bytes
        };
        checks.that(what, read(&found) == read(&expected), format!("bytes {range:?} differ"));
    }
}

#[test]
fn a_new_file_equals_the_disk_and_nothing_is_lost_by_mistake() {
    let folder = image(Flavour::Kvm, Arch::Amd64);
    let raw = folder.join(&described(&folder).files["raw"]);
    let place = tempfile::tempdir_in(scratch()).expect("a folder");
    let medium = place.path().join("medium");
    let mut checks = Checks::default();

    let written = flash(&[&folder, &medium]);
    checks.equal("it is written", (written.code, written.stderr.contains("of 12.89 GB")), (0, true));
    same(&mut checks, "the medium", &medium, &raw);

    let again = flash(&[&folder, &medium]);
    checks.equal("what exists is not overwritten", again.code, MEDIUM);
    checks.that("and it says what to do", again.stderr.contains("--yes"), &again.stderr);

    // the owner's files, over what is there
    let own = place.path().join("own");
    fs::create_dir(&own).expect("a folder");
    fs::write(own.join("authorized_keys"), "ssh-ed25519 a-key\n").expect("a file");
    let with = flash(&[&raw, &medium, "--yes".as_ref(), "--config".as_ref(), &own]);
    checks.equal("with CONFIG", with.code, 0);
    let config = described(&folder).partitions.into_iter().find(|p| p.label == "CONFIG").expect("a partition");
    let window = disk::Window::new(File::open(&medium).expect("the medium"), config.start, config.size);
    let files = disk::fat::Edit::open(window.expect("a window")).expect("a volume");
    let keys = files.read("authorized_keys").expect("a file");
    checks.equal("CONFIG has the file", keys.as_deref(), Some(&b"ssh-ed25519 a-key\n"[..]));

    let own = flash(&[&folder, &raw, "--yes".as_ref()]);
    checks.equal("the image itself is refused", own.code, USAGE);
    let null = flash(&[&folder, "/dev/null".as_ref()]);
    checks.equal("a device that is no disk is refused", null.code, MEDIUM);
    let loose = place.path().join("disk.raw");
    fs::write(&loose, "a disk").expect("a file");
    let loose = flash(&[&loose, &place.path().join("other")]);
    checks.equal("a disk without its description is refused", loose.code, USAGE);
    checks.that("and it names what lacks", loose.stderr.contains("image.json"), &loose.stderr);
    checks.finish();
}

#[test]
fn a_damaged_image_leaves_a_medium_that_nothing_starts_from() {
    let folder = image(Flavour::Kvm, Arch::Amd64);
    let described = described(&folder);
    let name = &described.files["raw"];
    let place = tempfile::tempdir_in(scratch()).expect("a folder");
    fs::copy(folder.join("image.json"), place.path().join("image.json")).expect("a copy");
    let copy = place.path().join(name);
    let to = copy_disk(&folder, &copy);
    let slot = described.partitions.iter().find(|p| p.label == "IMGA").expect("a slot").start.0;
    to.write_all_at(b"!", slot + 1_000_000).expect("a byte");
    let medium = place.path().join("medium");
    let ran = flash(&[&copy, &medium]);
    let mut checks = Checks::default();
    checks.equal("it ends", ran.code, MEDIUM);
    checks.that("and says why", ran.stderr.contains("the image is damaged: bytes"), &ran.stderr);
    let mut first = [1; 1024];
    File::open(&medium).expect("the medium").read_exact_at(&mut first, 0).expect("its first sectors");
    checks.that("the medium has no table", first.iter().all(|b| *b == 0), "it has one");
    checks.finish();
}
