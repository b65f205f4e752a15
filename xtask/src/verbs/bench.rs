//! `bench`: measures the builds that users wait for. It judges nothing, because tests depend on no clock.

use super::{image::LIVE, modules};
use crate::{
    cli::Common,
    exit::Exit,
    failure::Failure,
    session::{Session, root},
};
use std::{
    ffi::OsStr,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};
use types::{Arch, Flavour};

/// Kinds of steps that assemble images, in contrast to compiling and unpacking tools.
const ASSEMBLY: [&str; 8] = ["debs", "erofs", "top", "kernel", "initramfs", "slot", "uki", "esp"];
const RUNS: usize = 5;

/// Prints a line for each measurement: median, minimum and maximum of several runs, in seconds.
pub(crate) fn bench(common: &Common) -> Result<(), Failure> {
    let session = Session::open(common)?;
    let wanted = [Flavour::Kvm, Flavour::Kubevirt].map(|flavour| steps::Target { flavour, arch: Arch::Amd64 });
    let project = modules::signed(&session, &session.project()?, &wanted)?;
    for target in wanted {
        let (graph, targets) = project.plan(LIVE, target)?;
        session.build(&project, &graph, &targets.all())?;
    }
    drop(session);

    let copy = tempfile::tempdir()?;
    checkout(copy.path())?;
    for hv in ["kvm", "kubevirt"] {
        image(common, copy.path(), hv)?;
        measure(&format!("nothing changed, HV={hv}"), || image(common, copy.path(), hv))?;
    }
    let agent = copy.path().join("pkg/kube/src/main.rs");
    let text = fs::read_to_string(&agent)?;
    let mut n = 0;
    measure("one line of pkg/kube's agent changed, HV=kubevirt", || {
        n += 1;
        let stamp = Instant::now();
        // a constant that the compiler keeps, new in each run
        fs::write(&agent, format!("{text}\n#[used]\nstatic BENCH: &str = \"{n} {stamp:?}\";\n"))?;
        image(common, copy.path(), "kubevirt")
    })?;
    measure("image put together anew from cached inputs and programs, HV=kvm", || {
        let session = Session::open(common)?;
        let (graph, targets) = project.plan(LIVE, steps::Target { flavour: Flavour::Kvm, arch: Arch::Amd64 })?;
        let force = graph.iter().filter(|s| ASSEMBLY.contains(&s.kind)).map(|s| s.id.clone()).collect();
        let options = graph::Options { jobs: session.jobs, force, ..graph::Options::default() };
        graph.run(&session.cache, &targets.all(), &options, &|_: &graph::Event| (), &session.cancel)?;
        Ok(())
    })
}

fn measure(what: &str, mut run: impl FnMut() -> Result<(), Failure>) -> Result<(), Failure> {
    let mut seconds = Vec::new();
    for _ in 0..RUNS {
        let start = Instant::now();
        run()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    println!("{what}: median {:.2} s, {:.2} to {:.2}", seconds[RUNS / 2], seconds[0], seconds[RUNS - 1]);
    Ok(())
}

/// A copy of this checkout's tracked files, in their current state.
fn checkout(to: &Path) -> Result<(), Failure> {
    let list = Command::new("git").current_dir(root()).args(["ls-files", "-z"]).output()?;
    for name in list.stdout.split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let name = Path::new(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name));
        let target = to.join(name);
        fs::create_dir_all(target.parent().unwrap_or(to))?;
        fs::copy(root().join(name), target)?;
    }
    Ok(())
}

/// This program for another checkout, as a user runs it.
fn image(common: &Common, root: &Path, hv: &str) -> Result<(), Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env("EVEK_ROOT", root).args(["image", "--offline", "--hv", hv]);
    if let Some(cache) = &common.cache {
        command.arg("--cache").arg(cache);
    }
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::new(Exit::Other, String::from_utf8_lossy(&output.stderr)))
}
