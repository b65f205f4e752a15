//! The layers of a package: Debian packages, Go programs, then its own programs and files.

use super::{Layer, Planner, params};
use crate::{
    Error,
    layers::Debs,
    own_layer::{self, OwnLayer},
    wanted::package_set,
};
use defs::{Deb, Located, Package};
use graph::Step;
use std::collections::BTreeMap;

impl<'p> Planner<'p> {
    /// The layers of a package with those of its bases, the lowest first.
    pub(super) fn package(&mut self, package: &Package) -> Result<Vec<Layer>, Error> {
        let mut below = Vec::new();
        let defs = &self.project.defs;
        for package in defs.with_bases(package) {
            let name = &package.name.value;
            let file = format!("pkg/{name}/pkg.yml");
            let mut users = (package.users.clone(), package.groups.clone());
            if Deb::any_for(&package.debs, self.arch()) {
                let (users, groups) = std::mem::take(&mut users);
                let debs = Debs {
                    arch: self.arch(),
                    drop: self.dropped(package),
                    alternatives: package.alternatives.clone(),
                    links: package.links.clone(),
                    users,
                    groups,
                    caps: BTreeMap::new(),
                    foreign: package.foreign.clone(),
                    prefer: package.prefer.clone(),
                };
                let layer = self.debs(name, &package_set(name), &below, &debs, &file)?;
                below.push(layer);
            }
            for program in &package.go {
                let bin = self.go(package, program)?;
                let path = format!("{}/{}", program.path.trim_matches('/'), program.bin);
                let top =
                    OwnLayer { programs: BTreeMap::from([("program/bin".into(), path)]), ..self.empty_own_layer() };
                let step = Step::new(
                    self.id(&format!("go-layer/{name}/{}", program.bin)),
                    "top",
                    own_layer::VERSION,
                    own_layer::own_layer,
                )
                .from("program/bin", bin, "bin")
                .at(&file, Some(program.bin.at.line));
                let tar = self.add(params(step, &top))?;
                let layer = self.erofs(name, &format!("{name}/{}", program.bin), tar)?;
                below.push(layer);
            }
            if let Some(layer) = self.package_layer(package, &below, users)? {
                below.push(layer);
            }
        }
        Ok(below)
    }

    /// The dropped paths of a package: its own list and those of its bases.
    pub(super) fn dropped(&self, package: &Package) -> Vec<Located<defs::PathGlob>> {
        self.project.defs.with_bases(package).iter().flat_map(|p| p.drop.clone()).collect()
    }

    pub(super) fn empty_own_layer(&self) -> OwnLayer {
        OwnLayer {
            arch: self.arch(),
            programs: BTreeMap::new(),
            blobs: BTreeMap::new(),
            links: BTreeMap::new(),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            caps: BTreeMap::new(),
            folders: Vec::new(),
            texts: BTreeMap::new(),
            units: Vec::new(),
            foreign: Vec::new(),
        }
    }

    /// A package's Rust programs and files; `None` when it has neither.
    pub(super) fn package_layer(
        &mut self,
        package: &Package,
        below: &[Layer],
        (users, groups): (BTreeMap<String, defs::User>, BTreeMap<String, defs::Group>),
    ) -> Result<Option<Layer>, Error> {
        let name = &package.name.value;
        let mut top = OwnLayer { users, groups, caps: package.caps.clone(), ..self.empty_own_layer() };
        if !Deb::any_for(&package.debs, self.arch()) {
            top.links = package.links.clone();
        }
        let mut step = Step::new(self.id(&format!("top/{name}")), "top", own_layer::VERSION, own_layer::own_layer);
        step = step.at(format!("pkg/{name}/pkg.yml"), None);
        step = self.programs_and_files(step, &mut top, package, 0)?;
        if let Some(guest) = &package.guest {
            step = self.guest(step, &mut top, guest)?;
        }
        if step.inputs.is_empty() && top.links.is_empty() && top.users.is_empty() && top.groups.is_empty() {
            return Ok(None);
        }
        let step = self.on(params(step, &top), below);
        let tar = self.add(step)?;
        self.erofs(name, &format!("{name}/top"), tar).map(Some)
    }

    pub(super) fn programs_and_files(
        &mut self,
        mut step: Step,
        top: &mut OwnLayer,
        package: &Package,
        n: usize,
    ) -> Result<Step, Error> {
        let name = &package.name.value;
        for program in &package.rust {
            // a program may come from another package's crate
            let owner = match &program.package {
                Some(other) => self.known_package(&other.value)?,
                None => package,
            };
            let compiled = self.rust(owner)?;
            let label = format!("program/{}", program.bin);
            let path = format!("{}/{}", program.path.trim_matches('/'), program.bin);
            top.programs.insert(label.clone(), path);
            step = step.from(label, compiled, program.bin.value.clone());
        }
        top.foreign.extend(package.foreign.iter().cloned());
        if let Some(files) = &package.files {
            step = self.files(step, &format!("files/{n:02}-{name}"), &format!("pkg/{name}/{files}"))?;
        }
        Ok(step)
    }

    /// This build's kernel and the initramfs of a package, for guests.
    fn guest(&mut self, step: Step, top: &mut OwnLayer, name: &Located<String>) -> Result<Step, Error> {
        let package = self.known_package(&name.value)?;
        let (Some(initramfs), Some(init)) = (&package.initramfs, package.rust.first()) else {
            return Err(Error::NoPackage { name: name.value.clone() });
        };
        let own = initramfs.arch.get(&self.arch()).cloned().unwrap_or_default();
        let modules = [initramfs.modules.clone(), own].concat();
        let kernel = self.kernel()?;
        let program = (self.rust(package)?, init.bin.value.as_str());
        let file = format!("pkg/{name}/pkg.yml");
        let initramfs = self.initramfs_of(self.id(&format!("initramfs/{name}")), &kernel, program, modules, &file)?;
        for (input, file) in [("guest/vmlinuz", "vmlinuz"), ("guest/initrd", "initrd")] {
            top.blobs.insert(input.to_owned(), format!("usr/share/guest/{file}"));
        }
        Ok(step.from("guest/vmlinuz", kernel.own, "vmlinuz").from("guest/initrd", initramfs, "initrd"))
    }

    fn known_package(&self, name: &str) -> Result<&'p Package, Error> {
        self.project.defs.packages.get(name).ok_or_else(|| Error::NoPackage { name: name.to_owned() })
    }
}
