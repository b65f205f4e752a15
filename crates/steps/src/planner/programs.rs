//! Programs of the device, compiled from source archives.

use super::{Planner, params};
use crate::{
    Error,
    programs::{self, Go, Rust},
    sources,
    wanted::{CARGO, go_vendor, host, tools_for},
};
use defs::Package;
use graph::{Step, StepId};
use std::collections::BTreeSet;

impl Planner<'_> {
    pub(super) fn vendor(&mut self, name: &str) -> Result<StepId, Error> {
        let vendor = self.project.lock.vendor(name).ok_or_else(|| Error::NoVendor { name: name.to_owned() })?;
        let step = Step::new(format!("vendor/{name}"), "vendor", programs::VENDOR_VERSION, programs::vendor)
            .blob("tar", vendor.sha256);
        self.add(step)
    }

    pub(super) fn rust_step(&mut self, step: Step, rust: &Rust) -> Result<Step, Error> {
        let (tools, vendor) = (self.toolbox(&tools_for("rust", rust.arch))?, self.vendor(CARGO)?);
        let mut step =
            params(step, rust).from("rust", tools, "root").from("vendor", vendor, "vendor").slots(usize::MAX);
        let mut manifests: BTreeSet<String> = rust.crates.iter().map(|c| format!("{c}/Cargo.toml")).collect();
        manifests.extend(["pkg/Cargo.toml", "pkg/Cargo.lock"].map(str::to_owned));
        for manifest in manifests {
            let path = sources::at(self.project.root(), &manifest);
            let digest = sources::file(&path)?;
            step = step.file(format!("manifest/{manifest}"), path, digest);
        }
        Ok(step)
    }

    /// Compiles a package's crate: outputs by the names of its binaries.
    pub(super) fn rust(&mut self, package: &Package) -> Result<StepId, Error> {
        let root = self.project.root();
        let mut crates = BTreeSet::new();
        for member in sources::members(root)? {
            crates.extend(sources::crates(root, &member)?);
        }
        let crates: Vec<String> = crates.into_iter().collect();
        let arch = self.arch();
        let shared = sources::shared_manifest(root, &crates)?;
        let deps = Rust { arch, package: None, binaries: vec![], crates: crates.clone(), shared: shared.clone() };
        let step = Step::new(self.id("rust-deps"), "rust-deps", programs::RUST_VERSION, programs::rust_deps);
        let step = self.rust_step(step.at("pkg/Cargo.lock", None), &deps)?;
        let deps = self.add(step)?;

        let name = &package.name.value;
        let binaries = package.rust.iter().map(|p| p.bin.value.clone()).collect();
        let rust = Rust { arch, package: Some(name.clone()), binaries, crates, shared };
        let step = Step::new(self.id(&format!("rust/{name}")), "rust", programs::RUST_VERSION, programs::rust);
        let step = self.rust_step(step.at(format!("pkg/{name}/pkg.yml"), None), &rust)?.from("deps", deps, "target");
        // one program leaves processors idle: it and its crates are compiled one after the other
        let mut step = step.slots(1);
        for folder in sources::crates(self.project.root(), &format!("pkg/{name}"))? {
            step = self.files(step, &format!("source/{folder}"), &format!("{folder}/src"))?;
        }
        self.add(step)
    }

    pub(super) fn go(&mut self, package: &Package, program: &defs::GoProgram) -> Result<StepId, Error> {
        let name = &package.name.value;
        let folder = format!("pkg/{name}/{}", program.dir);
        let target = program.package.clone().unwrap_or_else(|| ".".into());
        let go_mod = self.project.root().join(&folder).join("go.mod");
        let go_version = self.go_version()?;
        let vars = crate::go_vars::expand(program, &target, &go_version, &go_mod)?;
        let go = Go {
            arch: self.arch(),
            bin: program.bin.value.clone(),
            package: target,
            tags: program.tags.clone(),
            vars,
            cgo: program.cgo,
        };
        let (tools, vendor) =
            (self.toolbox(&tools_for("go", self.arch()))?, self.vendor(&go_vendor(name, &program.dir))?);
        let step = Step::new(self.id(&format!("go/{name}/{}", program.bin)), "go", programs::GO_VERSION, programs::go)
            .from("go", tools, "root")
            .from("vendor", vendor, "vendor")
            .at(format!("pkg/{name}/pkg.yml"), Some(program.dir.at.line))
            .slots(usize::MAX);
        let step = self.files(params(step, &go), "source", &folder)?;
        self.add(step)
    }

    /// The version of the toolbox's Go in Go's form: `go1.26.11`.
    pub(super) fn go_version(&self) -> Result<String, Error> {
        let (name, host) = (format!("toolbox/{}", tools_for("go", self.arch())), host()?);
        let no_set = || Error::NoSet { set: name.clone(), arch: host };
        let set = self.project.lock.set(&name, host).ok_or_else(no_set)?;
        let deb = self.project.lock.debs_of(set).find(|d| d.name.starts_with("golang-") && d.name.ends_with("-go"));
        let version = &deb.ok_or_else(no_set)?.version;
        Ok(format!("go{}", version.split(['-', '~', '+']).next().unwrap_or(version)))
    }
}
