//! `test`: unit tests, bad input, and images booted in QEMU — the same images that users get.

use super::{image, keys, tools};
use crate::{
    cli::{Common, Test},
    exit::Exit,
    failure::Failure,
    session::{Session, root},
};
use std::process::Command;
use types::{Arch, Flavour};

/// The images that boot tests boot.
const BOOTED: [(Flavour, Arch); 4] = [
    (Flavour::Kvm, Arch::Amd64),
    (Flavour::Kubevirt, Arch::Amd64),
    (Flavour::Xen, Arch::Amd64),
    (Flavour::Kvm, Arch::Arm64),
];

/// The images that tests marked `#[ignore = "long: make test-all"]` boot beside those.
const BOOTED_BY_LONG: [(Flavour, Arch); 2] = [(Flavour::Kubevirt, Arch::Arm64), (Flavour::Xen, Arch::Arm64)];

/// Runs them all; the first group that fails ends it.
pub(crate) fn test(common: &Common, args: &Test) -> Result<(), Failure> {
    let filter: Vec<&str> = args.filter.iter().map(String::as_str).collect();
    cargo(&[&["test", "--release", "--workspace", "--exclude", "boot-tests"], &filter[..]].concat(), &[])?;
    // the device's own programs, for this host
    cargo(&[&["test", "--release", "--workspace", "--manifest-path", "pkg/Cargo.toml"], &filter[..]].concat(), &[])?;

    let session = Session::open(common)?;
    let project = session.project()?;
    let long: &[_] = if args.all { &BOOTED_BY_LONG } else { &[] };
    let target = |&(flavour, arch): &(Flavour, Arch)| steps::Target { flavour, arch };
    let targets: Vec<_> = BOOTED.iter().chain(long).map(target).collect();
    image::build(&session, &project, &targets)?;
    let this = std::env::current_exe()?;
    let mut env = vec![
        ("EVEK_XTASK", this.into_os_string()),
        ("EVEK_DIST", root().join("dist").into_os_string()),
        ("EVEK_VERSION", project.version.clone().into()),
        ("EVEK_TOOLBOX_BROWSER", tools::set(&session, &project, "browser")?.into_os_string()),
        ("EVEK_TOOLBOX_ORACLES", tools::set(&session, &project, "oracles")?.into_os_string()),
        ("EVEK_KEYS", keys::open(&session)?.folder().as_os_str().to_owned()),
        ("EVEK_CACHE", session.cache.cas().root().as_os_str().to_owned()),
    ];
    for (variable, arch) in [("EVEK_TOOLBOX_QEMU_AMD64", Arch::Amd64), ("EVEK_TOOLBOX_QEMU_ARM64", Arch::Arm64)] {
        if let vm::Tools::Toolbox { root, .. } = tools::qemu(&session, &project, arch)?.0 {
            env.push((variable, root.into_os_string()));
        }
    }
    // one machine at a time: two emulated ones on two cores took more than twice as long as one after the other, and a guest's
    // own guest hung. `--workspace`, and not `--package`, because another choice of packages has cargo compile every dependency
    // with other features again
    let tail = ["--", "--test-threads=1", "--nocapture"];
    let ignored: &[&str] = if args.all { &["--include-ignored"] } else { &[] };
    cargo(&[&["test", "--release", "--workspace", "--test", "images"], &filter[..], &tail, ignored].concat(), &env)
}

fn cargo(args: &[&str], env: &[(&str, std::ffi::OsString)]) -> Result<(), Failure> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root()).args(args);
    for (name, value) in env {
        command.env(name, value);
    }
    if command.status()?.success() {
        Ok(())
    } else {
        Err(Failure::new(Exit::Check, format!("cargo {} failed", args.join(" "))))
    }
}
