//! `test`: unit tests, bad input, and images booted in QEMU — the same images that users get.
//!
//! ```text
//!   cargo test --no-run ─► programs.rs: unit tests by crate ──────────────────────────────┐
//!   images, toolbox sets ─► programs.rs: the tests of images, one process each ───────────┼─► report.rs: table, verdict
//!                              ▲ skipped when proofs.rs has a success with the same key ──┘
//! ```
//! A test that fails ends nothing: all run, and the report has them all. docs/testing.md says what a key is.

mod programs;
mod proofs;
mod report;

use super::{check, image, keys, tools};
use crate::{
    cli::{Common, Test},
    exit::Exit,
    failure::Failure,
    session::{Session, root},
};
use programs::Program;
use proofs::{Inputs, Proofs};
use report::{Report, Verdict};
use std::{ffi::OsString, fs, time::Instant};
use types::{Arch, Flavour};

/// The images that boot tests boot.
const BOOTED: [(Flavour, Arch); 3] =
    [(Flavour::Kvm, Arch::Amd64), (Flavour::Kubevirt, Arch::Amd64), (Flavour::Xen, Arch::Amd64)];

/// The images that tests marked `#[ignore = "long: make test-all"]` boot beside those.
const BOOTED_BY_LONG: [(Flavour, Arch); 3] =
    [(Flavour::Kvm, Arch::Arm64), (Flavour::Kubevirt, Arch::Arm64), (Flavour::Xen, Arch::Arm64)];

/// The package with the tests of images. Each of its files is a program, so that a change to one file repeats only its tests.
const IMAGES: &str = "tests/";

/// Runs them all and prints the report.
pub(crate) fn test(common: &Common, args: &Test) -> Result<(), Failure> {
    let mut report = Report::new();
    if args.check {
        let (start, checked) = (Instant::now(), check::check());
        report.group("checks", start.elapsed(), &checked);
    }
    let images = match unit_tests(args, &mut report) {
        Ok(images) => images,
        Err(failure) => return report.finish(Some(failure)),
    };
    let ended_by = image_tests(common, args, &images, &mut report).err();
    report.finish(ended_by)
}

/// Compiles all tests and runs those of the crates, ours and the device's for this host; gives the programs of the others.
fn unit_tests(args: &Test, report: &mut Report) -> Result<Vec<Program>, Failure> {
    let mut images = Vec::new();
    for manifest in ["Cargo.toml", "pkg/Cargo.toml"] {
        let start = Instant::now();
        let compiled = programs::compile(manifest)?;
        report.phase(&format!("compile the tests of {manifest}"), start.elapsed());
        for program in compiled {
            match program.name.strip_prefix(IMAGES) {
                Some(_) => images.push(program),
                None => report.unit(&program.name, &program.run_all(args.filter.as_deref())?),
            }
        }
    }
    images.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(images)
}

/// Builds what the tests of images need and runs each test whose success is not known.
fn image_tests(common: &Common, args: &Test, programs: &[Program], report: &mut Report) -> Result<(), Failure> {
    let mut tests = Vec::new();
    for program in programs {
        let file = program.name.strip_prefix(IMAGES).unwrap_or_default();
        let names = program.list(args.all)?;
        tests.extend(names.into_iter().map(|name| (program, format!("{file}::{name}"), name)));
    }
    tests.retain(|(_, test, _)| args.filter.as_deref().is_none_or(|filter| test.contains(filter)));
    if tests.is_empty() {
        return Ok(());
    }
    let session = Session::open(common)?;
    let start = Instant::now();
    let env = environment(&session, args)?;
    report.phase("images and toolbox sets", start.elapsed());
    let inputs = Inputs::new(&env);
    let notes = tempfile::tempdir()?;
    // one machine at a time: two emulated ones on two cores took more than twice as long as one after the other, and a guest's
    // own guest hung
    for (n, (program, test, name)) in tests.iter().enumerate() {
        let proofs = Proofs::new(session.cache.root(), &inputs, &program.file)?;
        let known = if args.again { None } else { proofs.find(test) };
        if let Some(proof) = known {
            report.reused(test, &proof);
            continue;
        }
        eprintln!("test {} of {}: {test}", n + 1, tests.len());
        let notes = notes.path().join(n.to_string());
        fs::write(&notes, "")?;
        let (start, passed) = (Instant::now(), program.run_one(name, &env, &notes)?);
        if session.cancel.is_cancelled() {
            return Err(Failure::new(Exit::Interrupted, "interrupted"));
        }
        let took = start.elapsed();
        if passed {
            proofs.keep(test, &fs::read_to_string(&notes)?, took)?;
        } else {
            proofs.forget(test)?;
        }
        report.test(test, took, if passed { Verdict::Passed } else { Verdict::Failed });
    }
    Ok(())
}

/// Builds the images and toolbox sets; the variables by which tests find them.
fn environment(session: &Session, args: &Test) -> Result<Vec<(&'static str, OsString)>, Failure> {
    let project = session.project()?;
    let long: &[_] = if args.all { &BOOTED_BY_LONG } else { &[] };
    let target = |&(flavour, arch): &(Flavour, Arch)| steps::Target { flavour, arch };
    let targets: Vec<_> = BOOTED.iter().chain(long).map(target).collect();
    image::build(session, &project, &targets)?;
    let mut env = vec![
        ("EVEK_XTASK", std::env::current_exe()?.into_os_string()),
        ("EVEK_DIST", root().join("dist").into_os_string()),
        ("EVEK_VERSION", project.version.clone().into()),
        ("EVEK_TOOLBOX_BROWSER", tools::set(session, &project, "browser")?.into_os_string()),
        ("EVEK_TOOLBOX_ORACLES", tools::set(session, &project, "oracles")?.into_os_string()),
        ("EVEK_KEYS", keys::open(session)?.folder().as_os_str().to_owned()),
        ("EVEK_CACHE", session.cache.cas().root().as_os_str().to_owned()),
    ];
    let emulators = [("EVEK_TOOLBOX_QEMU_AMD64", Arch::Amd64), ("EVEK_TOOLBOX_QEMU_ARM64", Arch::Arm64)];
    for (variable, arch) in emulators.into_iter().filter(|(_, arch)| args.all || *arch == Arch::Amd64) {
        if let vm::Tools::Toolbox { root, .. } = tools::qemu(session, &project, arch)?.0 {
            env.push((variable, root.into_os_string()));
        }
    }
    Ok(env)
}
