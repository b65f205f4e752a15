//! What the definitions ask of the lock.

use crate::{Error, sources};
use defs::{Definitions, Located};
use lock::{Root, VendorKind, Wanted, WantedSet, WantedVendor};
use types::{Arch, Digest};

/// The architecture of build tools: where this program runs.
///
/// # Errors
/// When it runs where images cannot be built.
pub fn host() -> Result<Arch, Error> {
    Arch::host().ok_or(Error::Host)
}

/// Debian's suites, by codename, in the order of preference on equal versions.
pub const SUITES: [&str; 4] = ["trixie-security", "trixie-updates", "trixie", "trixie-backports"];

/// The name of the set of a package of `pkg/`.
pub(crate) fn package_set(package: &str) -> String {
    format!("pkg/{package}")
}

/// The input that holds all crates of the device's workspace.
pub(crate) const CARGO: &str = "cargo/pkg";

/// The input that holds all modules of a Go program.
pub(crate) fn go_vendor(package: &str, dir: &str) -> String {
    format!("go/{package}/{dir}")
}

/// Everything that the definitions ask for, for these architectures.
///
/// # Errors
/// When a manifest cannot be read.
pub fn wanted(defs: &Definitions, archs: &[Arch]) -> Result<Wanted, Error> {
    let mut wanted = Wanted::default();
    for &arch in archs {
        device_sets(defs, arch, &mut wanted.sets);
    }
    let host = host()?;
    for (name, set) in &defs.toolbox.sets {
        let backports: Vec<_> = defs.toolbox.backports.iter().chain(&set.backports).map(|n| n.value.clone()).collect();
        wanted.sets.push(WantedSet { backports, ..set_of(&format!("toolbox/{name}"), host, None, &set.debs) });
    }
    let manifest = |files: &[&str]| -> Result<Digest, Error> {
        let digests: Result<Vec<_>, _> = files.iter().map(|f| sources::file(&defs.root.join(f))).collect();
        Ok(Digest::of(digests?.iter().map(Digest::hex).collect::<String>().as_bytes()))
    };
    let file = "pkg/Cargo.lock";
    let digest = manifest(&[file])?;
    wanted.vendors.push(WantedVendor {
        name: CARGO.into(),
        kind: VendorKind::Cargo,
        manifest: digest,
        file: file.into(),
    });
    for package in defs.packages.values() {
        for program in &package.go {
            let folder = format!("pkg/{}/{}", package.name, program.dir);
            let (go_mod, go_sum) = (format!("{folder}/go.mod"), format!("{folder}/go.sum"));
            wanted.vendors.push(WantedVendor {
                name: go_vendor(&package.name, &program.dir),
                kind: VendorKind::Go,
                manifest: manifest(&[&go_mod, &go_sum])?,
                file: go_mod.into(),
            });
        }
    }
    Ok(wanted)
}

fn device_sets(defs: &Definitions, arch: Arch, sets: &mut Vec<WantedSet>) {
    // bases come before what stands on them: packages without a base first
    let mut packages: Vec<_> = defs.packages.values().collect();
    packages.sort_by_key(|p| (defs.with_bases(p).len(), p.name.value.clone()));
    for package in
        packages.into_iter().filter(|p| !p.debs.is_empty() && p.arch.as_ref().is_none_or(|a| a.contains(&arch)))
    {
        let base = base_with_debs(defs, package.base.as_ref());
        sets.push(set_of(&package_set(&package.name), arch, base, &package.debs));
    }
    let base = base_with_debs(defs, defs.rootfs.base.as_ref());
    sets.push(set_of("rootfs", arch, base, &defs.rootfs.debs));
    for (flavour, hv) in defs.flavours.iter().filter(|(_, hv)| !hv.rootfs.debs.is_empty()) {
        sets.push(set_of(&format!("rootfs/{flavour}"), arch, Some("rootfs".into()), &hv.rootfs.debs));
    }
    if let Some(kernel) = defs.kernel.arch.get(&arch) {
        sets.push(set_of("kernel", arch, None, &kernel.debs));
    }
    if !defs.kernel.firmware.is_empty() {
        sets.push(set_of("firmware", arch, None, &defs.kernel.firmware));
    }
    sets.push(set_of("boot", arch, None, &defs.kernel.boot));
}

/// The set of the nearest base that has packages of its own.
pub(crate) fn base_with_debs(defs: &Definitions, base: Option<&Located<String>>) -> Option<String> {
    let package = defs.packages.get(&base?.value)?;
    let chain = defs.with_bases(package);
    chain.iter().rev().find(|p| !p.debs.is_empty()).map(|p| package_set(&p.name))
}

fn set_of(name: &str, arch: Arch, base: Option<String>, debs: &[Located<String>]) -> WantedSet {
    let root = |deb: &Located<String>| Root { name: deb.value.clone(), file: (*deb.at.file).into(), line: deb.at.line };
    WantedSet { name: name.to_owned(), arch, base, roots: debs.iter().map(root).collect(), backports: Vec::new() }
}
