//! The inputs that the definitions need from the lock.

use crate::{Error, sources};
use defs::{Deb, Definitions, Located};
use lock::{Root, VendorKind, Wanted, WantedSet, WantedVendor};
use std::collections::BTreeMap;
use types::{Arch, Digest};

/// The architecture of build tools: this host's.
///
/// # Errors
/// On a host that cannot build images.
pub fn host() -> Result<Arch, Error> {
    Arch::host().ok_or(Error::Host)
}

/// Debian's suites, by codename, in the order of preference on equal versions.
pub const SUITES: [&str; 4] = ["trixie-security", "trixie-updates", "trixie", "trixie-backports"];

/// The components of each suite. Packages of the first never depend on the second; only sets of firmware and microcode
/// name packages of it.
pub const COMPONENTS: [&str; 2] = ["main", "non-free-firmware"];

/// The toolbox set of tools that work for one architecture, such as its compilers, linker and emulator: `rust-arm64`.
/// They run on any host; a build fetches and unpacks the sets of its target architectures.
pub fn tools_for(tools: &str, target: Arch) -> String {
    format!("{tools}-{target}")
}

/// The sets of the kernel: its package, its source, firmware for devices, microcode for processors.
pub(crate) const KERNEL: &str = "kernel";
pub(crate) const KERNEL_SOURCE: &str = "kernel-source";
pub(crate) const FIRMWARE: &str = "firmware";
pub(crate) const MICROCODE: &str = "microcode";

/// The sets of the boot loader and of shim.
pub(crate) const BOOT: &str = "boot";
pub(crate) const SHIM: &str = "shim";

/// The name of the set of a package of `pkg/`.
pub(crate) fn package_set(package: &str) -> String {
    format!("pkg/{package}")
}

/// The set that holds the hypervisor.
pub(crate) const HYPERVISOR: &str = "hypervisor";

/// The input with all crates of the device's workspace.
pub(crate) const CARGO: &str = "cargo/pkg";

/// The input with all modules of a Go program.
pub(crate) fn go_vendor(package: &str, dir: &str) -> String {
    format!("go/{package}/{dir}")
}

/// Everything that the definitions name, for these architectures: the device's packages for each, and the toolbox for
/// hosts of each.
///
/// # Errors
/// When a manifest cannot be read.
pub fn wanted(defs: &Definitions, archs: &[Arch]) -> Result<Wanted, Error> {
    let mut wanted = Wanted::default();
    for &arch in archs {
        device_sets(defs, arch, &mut wanted.sets);
    }
    for (name, set) in &defs.toolbox.sets {
        let backports: Vec<_> = defs.toolbox.backports.iter().chain(&set.backports).map(|n| n.value.clone()).collect();
        for &host in archs {
            let wanted_set = set_of(&format!("toolbox/{name}"), host, None, &set.debs, &set.without);
            wanted.sets.push(WantedSet { backports: backports.clone(), ..wanted_set });
        }
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
    let none = BTreeMap::new();
    // bases come before the packages on top of them: packages without a base first
    let mut packages: Vec<_> = defs.packages.values().collect();
    packages.sort_by_key(|p| (defs.with_bases(p).len(), p.name.value.clone()));
    for package in packages
        .into_iter()
        .filter(|p| Deb::any_for(&p.debs, arch) && p.arch.as_ref().is_none_or(|a| a.contains(&arch)))
    {
        let base = base_with_debs(defs, package.base.as_ref(), arch);
        sets.push(set_of(&package_set(&package.name), arch, base, &package.debs, &package.without));
    }
    let base = base_with_debs(defs, defs.rootfs.base.as_ref(), arch);
    sets.push(set_of("rootfs", arch, base, &defs.rootfs.debs, &defs.rootfs.without));
    for (flavour, hv) in defs.flavours.iter().filter(|(_, hv)| Deb::any_for(&hv.rootfs.debs, arch)) {
        let (debs, without) = (&hv.rootfs.debs, &hv.rootfs.without);
        sets.push(set_of(&format!("rootfs/{flavour}"), arch, Some("rootfs".into()), debs, without));
    }
    if let Some(xen) = defs.flavours.values().find_map(|hv| hv.xen.as_ref()?.arch.get(&arch)) {
        sets.push(set_of(HYPERVISOR, arch, None, &xen.debs, &none));
    }
    if let Some(kernel) = defs.kernel.arch.get(&arch) {
        sets.push(set_of(KERNEL, arch, None, &kernel.debs, &none));
        if Deb::any_for(&kernel.microcode, arch) {
            sets.push(set_of(MICROCODE, arch, None, &kernel.microcode, &none));
        }
    }
    if let Some(build) = &defs.kernel.build {
        sets.push(set_of(KERNEL_SOURCE, arch, None, std::slice::from_ref(&build.deb), &none));
    }
    if Deb::any_for(&defs.kernel.firmware, arch) {
        sets.push(set_of(FIRMWARE, arch, None, &defs.kernel.firmware, &none));
    }
    sets.push(set_of(BOOT, arch, None, &defs.kernel.boot, &none));
    if Deb::any_for(&defs.kernel.shim, arch) {
        sets.push(set_of(SHIM, arch, None, &defs.kernel.shim, &none));
    }
}

/// The set of the nearest base that has packages of its own.
pub(crate) fn base_with_debs(defs: &Definitions, base: Option<&Located<String>>, arch: Arch) -> Option<String> {
    let package = defs.packages.get(&base?.value)?;
    let chain = defs.with_bases(package);
    chain.iter().rev().find(|p| Deb::any_for(&p.debs, arch)).map(|p| package_set(&p.name))
}

fn set_of(
    name: &str,
    arch: Arch,
    base: Option<String>,
    debs: &[Located<Deb>],
    without: &BTreeMap<String, Located<String>>,
) -> WantedSet {
    let root = |deb: &Located<Deb>| Root { name: deb.name.clone(), file: (*deb.at.file).into(), line: deb.at.line };
    let roots = debs.iter().filter(|d| d.is_for(arch)).map(root).collect();
    // the reason is on the name's line, or on the next
    let left_out = |(name, why): (&String, &Located<String>)| Root {
        name: name.clone(),
        file: (*why.at.file).into(),
        line: why.at.line,
    };
    let without = without.iter().map(left_out).collect();
    WantedSet { name: name.to_owned(), arch, base, roots, backports: Vec::new(), without }
}
