//! A checkout: its definitions, its lock, and the steps that make an image of it.

use crate::{
    Error,
    disk::{self, Config},
    firmware::{self, Esp, Uki},
    kernel, layers,
    layers::{Debs, Erofs},
    programs::{self, Go, Rust},
    slot::{self, Image, Store},
    sources, toolbox,
    top::{self, Top},
    wanted::{CARGO, go_vendor, host, package_set},
};
use defs::{Definitions, ImageConfig, Located, Package, Units};
use graph::{Graph, Step, StepId};
use lock::Lock;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};
use store::Role;
use types::{Arch, Bytes, Flavour};

/// The name of images in the store: nothing on the network has such a name, so nothing can be pulled by mistake.
const REGISTRY: &str = "evek.local";

/// A checkout with its lock, read and checked.
pub struct Project {
    /// The definitions.
    pub defs: Definitions,
    /// The lock.
    pub lock: Lock,
    /// The version of what is built, `0.1.0`.
    pub version: String,
}

/// What a flavour for an architecture is built as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The flavour.
    pub flavour: Flavour,
    /// The architecture.
    pub arch: Arch,
}

/// The steps whose outputs make up a disk.
#[derive(Debug, Clone)]
pub struct Targets {
    /// Outputs `slot`, `root`.
    pub slot: StepId,
    /// Output `uki`.
    pub uki: StepId,
    /// Output `esp`.
    pub esp: StepId,
    /// Output `config`.
    pub config: StepId,
}

impl Targets {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<StepId> {
        vec![self.slot.clone(), self.uki.clone(), self.esp.clone(), self.config.clone()]
    }
}

/// A layer: the steps that make its tar and its EROFS blob.
#[derive(Debug, Clone)]
struct Layer {
    name: String,
    tar: StepId,
    erofs: StepId,
}

impl Project {
    /// `<version>-<flavour>-<arch>`, from which EVE's tools read the flavour.
    #[must_use]
    pub fn full_version(&self, target: Target) -> String {
        format!("{}-{}-{}", self.version, target.flavour, target.arch)
    }

    /// The steps of an image.
    ///
    /// # Errors
    /// When the lock lacks something, or a source cannot be read.
    pub fn plan(&self, target: Target) -> Result<(Graph, Targets), Error> {
        let mut plan = Planner { project: self, target, graph: Graph::new() };
        let targets = plan.image()?;
        Ok((plan.graph, targets))
    }

    /// A graph that makes one toolbox set, and the step that does: output `root`.
    ///
    /// # Errors
    /// When the lock lacks the set.
    pub fn toolbox(&self, set: &str) -> Result<(Graph, StepId), Error> {
        let target = Target { flavour: Flavour::Kvm, arch: host()? };
        let mut plan = Planner { project: self, target, graph: Graph::new() };
        let id = plan.toolbox(set)?;
        Ok((plan.graph, id))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.defs.root
    }
}

struct Planner<'p> {
    project: &'p Project,
    target: Target,
    graph: Graph,
}

fn json<T: serde::Serialize>(value: &T) -> serde_json::Value {
    serde_json::to_value(value).expect("parameters have string keys only")
}

/// With each field of a parameter struct as a parameter of its own, so that `explain` can name it.
fn params<T: serde::Serialize>(mut step: Step, params: &T) -> Step {
    if let serde_json::Value::Object(fields) = json(params) {
        for (name, value) in fields {
            step = step.param(&name, value);
        }
    }
    step
}

impl Planner<'_> {
    fn arch(&self) -> Arch {
        self.target.arch
    }

    fn id(&self, name: &str) -> StepId {
        format!("{name}@{}", self.arch()).into()
    }

    fn flavoured(&self, name: &str) -> StepId {
        format!("{name}/{}@{}", self.target.flavour, self.arch()).into()
    }

    /// Adds a step unless it is there: layers are shared.
    fn add(&mut self, step: Step) -> Result<StepId, Error> {
        if self.graph.get(&step.id).is_some() {
            return Ok(step.id);
        }
        Ok(self.graph.add(step)?)
    }

    /// With the packages of a set, or those of them that `keep` names, as inputs `deb/…`.
    fn with_debs(&self, mut step: Step, set: &str, arch: Arch, keep: impl Fn(&str) -> bool) -> Result<Step, Error> {
        let lock = &self.project.lock;
        let found = lock.set(set, arch).ok_or_else(|| Error::NoSet { set: set.to_owned(), arch })?;
        for deb in lock.debs_of(found).filter(|d| keep(&d.name)) {
            step = step.blob(format!("deb/{}:{}", deb.name, deb.arch), deb.sha256);
        }
        Ok(step)
    }

    fn toolbox(&mut self, set: &str) -> Result<StepId, Error> {
        let definition =
            self.project.defs.toolbox.sets.get(set).ok_or_else(|| Error::NoTools { set: set.to_owned() })?;
        let links = definition.links.iter().map(|(path, target)| (path.clone(), target.value.clone())).collect();
        let step = Step::new(format!("toolbox/{set}"), "toolbox", toolbox::VERSION, toolbox::run).slots(2);
        let step =
            self.with_debs(params(step, &toolbox::Params { links }), &format!("toolbox/{set}"), host()?, |_| true)?;
        self.add(step.at("xtask/toolbox.yml", None))
    }

    fn erofs(&mut self, name: &str, tar: StepId) -> Result<Layer, Error> {
        let tools = self.toolbox("files")?;
        let step = Step::new(self.id(&format!("erofs/{name}")), "erofs", layers::EROFS_VERSION, layers::erofs)
            .from("tar", tar.clone(), "tar")
            .from("files", tools, "root")
            .slots(usize::MAX);
        let erofs = self.add(params(step, &Erofs { compression: "zstd,3".into(), cluster: 65536 }))?;
        Ok(Layer { name: name.to_owned(), tar, erofs })
    }

    fn on(&self, mut step: Step, below: &[Layer]) -> Step {
        for (n, layer) in below.iter().enumerate() {
            step = step.from(format!("lower/{n:02}"), layer.tar.clone(), "tar");
        }
        step
    }

    /// The layer of a set of Debian packages.
    fn debs(&mut self, set: &str, below: &[Layer], debs: &Debs, file: &str) -> Result<Layer, Error> {
        let name = set.trim_start_matches("pkg/").to_owned();
        let tools = self.toolbox("files")?;
        let step = Step::new(self.id(&format!("debs/{name}")), "debs", layers::DEBS_VERSION, layers::debs)
            .from("files", tools, "root")
            .at(file, None)
            .slots(2);
        let step = self.with_debs(self.on(params(step, debs), below), set, self.arch(), |_| true)?;
        let tar = self.add(step)?;
        self.erofs(&name, tar)
    }

    /// The layers of a package with those of its bases, the lowest first.
    fn package(&mut self, package: &Package) -> Result<Vec<Layer>, Error> {
        let mut below = Vec::new();
        let defs = &self.project.defs;
        for package in defs.with_bases(package) {
            let name = &package.name.value;
            let file = format!("pkg/{name}/pkg.yml");
            let mut users = (package.users.clone(), package.groups.clone());
            if !package.debs.is_empty() {
                let (users, groups) = std::mem::take(&mut users);
                let debs = Debs {
                    arch: self.arch(),
                    drop: self.dropped(package),
                    alternatives: package.alternatives.clone(),
                    links: package.links.clone(),
                    users,
                    groups,
                    caps: BTreeMap::new(),
                };
                let layer = self.debs(&package_set(name), &below, &debs, &file)?;
                below.push(layer);
            }
            for program in &package.go {
                let bin = self.go(package, program)?;
                let path = format!("{}/{}", program.path.trim_matches('/'), program.bin);
                let top = Top { programs: BTreeMap::from([("program/bin".into(), path)]), ..self.empty_top() };
                let step =
                    Step::new(self.id(&format!("go-layer/{name}/{}", program.bin)), "top", top::VERSION, top::top)
                        .from("program/bin", bin, "bin")
                        .at(&file, Some(program.bin.at.line));
                let tar = self.add(params(step, &top))?;
                let layer = self.erofs(&format!("{name}/{}", program.bin), tar)?;
                below.push(layer);
            }
            if let Some(layer) = self.package_top(package, &below, users)? {
                below.push(layer);
            }
        }
        Ok(below)
    }

    /// The paths not taken for a package: its own list and those of its bases.
    fn dropped(&self, package: &Package) -> Vec<Located<defs::PathGlob>> {
        self.project.defs.with_bases(package).iter().flat_map(|p| p.drop.clone()).collect()
    }

    fn empty_top(&self) -> Top {
        Top {
            arch: self.arch(),
            programs: BTreeMap::new(),
            links: BTreeMap::new(),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            caps: BTreeMap::new(),
            folders: Vec::new(),
            texts: BTreeMap::new(),
            units: Vec::new(),
        }
    }

    /// A package's Rust programs and files; `None` when it has neither.
    fn package_top(
        &mut self,
        package: &Package,
        below: &[Layer],
        (users, groups): (BTreeMap<String, defs::User>, BTreeMap<String, defs::Group>),
    ) -> Result<Option<Layer>, Error> {
        let name = &package.name.value;
        let mut top = Top { users, groups, caps: package.caps.clone(), ..self.empty_top() };
        if package.debs.is_empty() {
            top.links = package.links.clone();
        }
        let mut step = Step::new(self.id(&format!("top/{name}")), "top", top::VERSION, top::top);
        step = step.at(format!("pkg/{name}/pkg.yml"), None);
        step = self.programs_and_files(step, &mut top, package, 0)?;
        if step.inputs.is_empty() && top.links.is_empty() && top.users.is_empty() && top.groups.is_empty() {
            return Ok(None);
        }
        let step = self.on(params(step, &top), below);
        let tar = self.add(step)?;
        self.erofs(&format!("{name}/top"), tar).map(Some)
    }

    fn programs_and_files(
        &mut self,
        mut step: Step,
        top: &mut Top,
        package: &Package,
        n: usize,
    ) -> Result<Step, Error> {
        let name = &package.name.value;
        if !package.rust.is_empty() {
            let compiled = self.rust(package)?;
            for program in &package.rust {
                let label = format!("program/{}", program.bin);
                let path = format!("{}/{}", program.path.trim_matches('/'), program.bin);
                top.programs.insert(label.clone(), path);
                step = step.from(label, compiled.clone(), program.bin.value.clone());
            }
        }
        if let Some(files) = &package.files {
            step = self.files(step, &format!("files/{n:02}-{name}"), &format!("pkg/{name}/{files}"))?;
        }
        Ok(step)
    }

    fn files(&self, step: Step, label: &str, folder: &str) -> Result<Step, Error> {
        let path = self.project.root().join(folder);
        Ok(step.file(label, path.clone(), sources::folder(&path)?))
    }

    fn vendor(&mut self, name: &str) -> Result<StepId, Error> {
        let vendor = self.project.lock.vendor(name).ok_or_else(|| Error::NoVendor { name: name.to_owned() })?;
        let step = Step::new(format!("vendor/{name}"), "vendor", programs::VENDOR_VERSION, programs::vendor)
            .blob("tar", vendor.sha256);
        self.add(step)
    }

    fn rust_step(&mut self, step: Step, rust: &Rust) -> Result<Step, Error> {
        let (tools, vendor) = (self.toolbox("rust")?, self.vendor(CARGO)?);
        let mut step =
            params(step, rust).from("rust", tools, "root").from("vendor", vendor, "vendor").slots(usize::MAX);
        let mut manifests: BTreeSet<String> = rust.crates.iter().map(|c| format!("{c}/Cargo.toml")).collect();
        manifests.extend(["Cargo.toml", "pkg/Cargo.toml", "pkg/Cargo.lock"].map(str::to_owned));
        for manifest in manifests {
            let path = sources::at(self.project.root(), &manifest);
            let digest = sources::file(&path)?;
            step = step.file(format!("manifest/{manifest}"), path, digest);
        }
        Ok(step)
    }

    /// Compiles a package's crate: outputs by the names of its binaries.
    fn rust(&mut self, package: &Package) -> Result<StepId, Error> {
        let root = self.project.root();
        let mut crates = BTreeSet::new();
        for member in sources::members(root)? {
            crates.extend(sources::crates(root, &member)?);
        }
        let crates: Vec<String> = crates.into_iter().collect();
        let arch = self.arch();
        let deps = Rust { arch, package: None, binaries: vec![], crates: crates.clone() };
        let step = Step::new(self.id("rust-deps"), "rust-deps", programs::RUST_VERSION, programs::rust_deps);
        let step = self.rust_step(step.at("pkg/Cargo.lock", None), &deps)?;
        let deps = self.add(step)?;

        let name = &package.name.value;
        let binaries = package.rust.iter().map(|p| p.bin.value.clone()).collect();
        let rust = Rust { arch, package: Some(name.clone()), binaries, crates };
        let step = Step::new(self.id(&format!("rust/{name}")), "rust", programs::RUST_VERSION, programs::rust);
        let mut step =
            self.rust_step(step.at(format!("pkg/{name}/pkg.yml"), None), &rust)?.from("deps", deps, "target");
        for folder in sources::crates(self.project.root(), &format!("pkg/{name}"))? {
            step = self.files(step, &format!("source/{folder}"), &format!("{folder}/src"))?;
        }
        self.add(step)
    }

    fn go(&mut self, package: &Package, program: &defs::GoProgram) -> Result<StepId, Error> {
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
        let (tools, vendor) = (self.toolbox("go")?, self.vendor(&go_vendor(name, &program.dir))?);
        let step = Step::new(self.id(&format!("go/{name}/{}", program.bin)), "go", programs::GO_VERSION, programs::go)
            .from("go", tools, "root")
            .from("vendor", vendor, "vendor")
            .at(format!("pkg/{name}/pkg.yml"), Some(program.dir.at.line))
            .slots(usize::MAX);
        let step = self.files(params(step, &go), "source", &folder)?;
        self.add(step)
    }

    /// The toolbox's Go, as Go names it: `go1.26.11`.
    fn go_version(&self) -> Result<String, Error> {
        let no_set = || Error::NoSet { set: "toolbox/go".into(), arch: self.arch() };
        let set = self.project.lock.set("toolbox/go", host()?).ok_or_else(no_set)?;
        let deb = self.project.lock.debs_of(set).find(|d| d.name.starts_with("golang-") && d.name.ends_with("-go"));
        let version = &deb.ok_or_else(no_set)?.version;
        Ok(format!("go{}", version.split(['-', '~', '+']).next().unwrap_or(version)))
    }

    /// The kernel: outputs `vmlinuz`, `release`, `tar`.
    fn kernel(&mut self) -> Result<StepId, Error> {
        let tools = self.toolbox("files")?;
        let kernel = kernel::Kernel { arch: self.arch(), drop: self.project.defs.kernel.modules.drop.clone() };
        let step = Step::new(self.id("kernel"), "kernel", kernel::KERNEL_VERSION, kernel::kernel)
            .from("files", tools, "root")
            .at("kernel/kernel.yml", None);
        // what the kernel's package depends on makes initramfs archives and the like, which is our work
        let step =
            self.with_debs(params(step, &kernel), "kernel", self.arch(), |name| name.starts_with("linux-image-"))?;
        self.add(step)
    }

    fn initramfs(&mut self, kernel: &StepId) -> Result<StepId, Error> {
        let defs = &self.project.defs;
        let hv = defs.flavour(self.target.flavour)?;
        let own = defs.kernel.arch.get(&self.arch()).map(|a| a.initramfs.clone()).unwrap_or_default();
        let modules = [defs.kernel.initramfs.clone(), own, hv.kernel.initramfs.clone()].concat();
        let init = defs.packages.get("init").ok_or_else(|| Error::NoPackage { name: "init".into() })?;
        let init = self.rust(init)?;
        let step = Step::new(self.flavoured("initramfs"), "initramfs", kernel::INITRAMFS_VERSION, kernel::initramfs)
            .from("modules", kernel.clone(), "tar")
            .from("release", kernel.clone(), "release")
            .from("init", init, "init")
            .at("kernel/kernel.yml", None);
        self.add(params(step, &kernel::Initramfs { modules }))
    }

    /// The layers of the root image, the lowest first.
    fn root_layers(&mut self, kernel: &StepId) -> Result<Vec<Layer>, Error> {
        let defs = &self.project.defs;
        let (rootfs, hv) = (&defs.rootfs, defs.flavour(self.target.flavour)?);
        let mut below = Vec::new();
        let mut drop = rootfs.drop.clone();
        if let Some(base) = rootfs.base.as_ref().and_then(|b| defs.packages.get(&b.value)) {
            drop.extend(self.dropped(base));
            below = self.package(base)?;
        }
        let debs = Debs {
            arch: self.arch(),
            drop,
            alternatives: rootfs.alternatives.clone(),
            links: rootfs.links.clone(),
            users: rootfs.users.clone(),
            groups: rootfs.groups.clone(),
            caps: rootfs.caps.clone(),
        };
        let layer = self.debs("rootfs", &below, &debs, "rootfs/rootfs.yml")?;
        below.push(layer);
        let modules = self.erofs("modules", kernel.clone())?;
        if !hv.rootfs.debs.is_empty() {
            let set = format!("rootfs/{}", self.target.flavour);
            let more = Debs {
                arch: self.arch(),
                drop: debs.drop.clone(),
                alternatives: hv.rootfs.alternatives.clone(),
                links: BTreeMap::new(),
                users: BTreeMap::new(),
                groups: BTreeMap::new(),
                caps: BTreeMap::new(),
            };
            let layer = self.debs(&set, &below, &more, &format!("hv/{}.yml", self.target.flavour))?;
            below.push(layer);
        }
        below.push(modules);
        let top = self.root_top(&below)?;
        below.push(top);
        Ok(below)
    }

    fn root_top(&mut self, below: &[Layer]) -> Result<Layer, Error> {
        let defs = &self.project.defs;
        let (rootfs, hv) = (&defs.rootfs, defs.flavour(self.target.flavour)?);
        let mut top = self.empty_top();
        let mut step =
            Step::new(self.flavoured("top/root"), "top", top::VERSION, top::top).at("rootfs/rootfs.yml", None);
        for (n, name) in rootfs.packages.iter().chain(&hv.rootfs.packages).enumerate() {
            let package =
                defs.packages.get(&name.value).ok_or_else(|| Error::NoPackage { name: name.value.clone() })?;
            step = self.programs_and_files(step, &mut top, package, n)?;
        }
        if let Some(files) = &rootfs.files {
            step = self.files(step, "files/98-rootfs", &format!("rootfs/{files}"))?;
        }
        if let Some(files) = &hv.rootfs.files {
            step = self.files(step, "files/99-hv", &format!("hv/{files}"))?;
        }
        top.folders = rootfs.folders.clone();
        top.texts = crate::texts::root(self.project, self.target)?;
        let mut services = Units::default();
        for name in &hv.packages {
            let unit = store::unit_name(&name.value);
            services.enable.push(Located::new(unit, name.at.clone()));
        }
        top.units = vec![rootfs.units.clone(), hv.rootfs.units.clone(), services];
        let step = self.on(params(step, &top), below);
        let tar = self.add(step)?;
        self.erofs(&format!("root/{}", self.target.flavour), tar)
    }

    fn image(&mut self) -> Result<Targets, Error> {
        let defs = &self.project.defs;
        let hv = defs.flavour(self.target.flavour)?;
        let kernel = self.kernel()?;
        let mut images = Vec::new();
        let root = self.root_layers(&kernel)?;
        let version = &self.project.version;
        let mut layers: BTreeMap<String, Layer> = BTreeMap::new();
        let mut push = |name: &str, tag: &str, role, config: Option<ImageConfig>, of: Vec<Layer>, service| {
            let names = of.iter().map(|l| l.name.clone()).collect();
            layers.extend(of.into_iter().map(|l| (l.name.clone(), l)));
            images.push(Image {
                name: format!("{REGISTRY}/{name}:{tag}"),
                role,
                config: config.unwrap_or_default(),
                layers: names,
                service,
            });
        };
        push("root", version, Role::Root, None, root, None);
        let services = hv.packages.iter().map(|n| (n, Role::Service));
        for (name, role) in services.chain(hv.payload.iter().map(|n| (n, Role::Payload))) {
            let package =
                defs.packages.get(&name.value).ok_or_else(|| Error::NoPackage { name: name.value.clone() })?;
            let tag = package.version.as_ref().map_or(version.as_str(), |v| v.value.as_str());
            let service = if role == Role::Service { package.service.as_ref().map(|s| s.value.clone()) } else { None };
            let of = self.package(package)?;
            push(&name.value, tag, role, package.image.clone(), of, service);
        }
        let mut step = Step::new(self.flavoured("slot"), "slot", slot::VERSION, slot::slot)
            .at(format!("hv/{}.yml", self.target.flavour), None);
        for (name, layer) in layers {
            step =
                step.from(format!("tar/{name}"), layer.tar, "tar").from(format!("erofs/{name}"), layer.erofs, "erofs");
        }
        let slot = self.add(params(step, &Store { arch: self.arch(), images }))?;
        self.disk(&kernel, slot)
    }

    fn disk(&mut self, kernel: &StepId, slot: StepId) -> Result<Targets, Error> {
        let defs = &self.project.defs;
        let hv = defs.flavour(self.target.flavour)?;
        let initramfs = self.initramfs(kernel)?;
        let own = defs.kernel.arch.get(&self.arch()).map(|a| a.cmdline.clone()).unwrap_or_default();
        let cmdline = [own, defs.kernel.cmdline.clone(), hv.kernel.cmdline.clone()].concat();
        let os_release = crate::texts::os_release(self.project, self.target);
        let boot = |name: &str| name == "systemd-boot-efi";
        let step = Step::new(self.flavoured("uki"), "uki", firmware::UKI_VERSION, firmware::uki)
            .from("vmlinuz", kernel.clone(), "vmlinuz")
            .from("release", kernel.clone(), "release")
            .from("initrd", initramfs, "initrd")
            .from("root", slot.clone(), "root")
            .at("kernel/kernel.yml", None);
        let step = params(step, &Uki { arch: self.arch(), cmdline, os_release });
        let step = self.with_debs(step, "boot", self.arch(), boot)?;
        let uki = self.add(step)?;

        let live = defs.images.get("live").ok_or_else(|| Error::NoImage { name: "live".into() })?;
        let size = |role| live.partitions.iter().find(|p| p.role == role && !p.first_boot).map_or(Bytes(0), |p| p.size);
        let name = format!("evek-{}", self.project.full_version(self.target));
        let step = Step::new(self.flavoured("esp"), "esp", firmware::ESP_VERSION, firmware::esp)
            .from("uki", uki.clone(), "uki")
            .at("images/live.yml", None);
        let esp = Esp { arch: self.arch(), name, size: size(defs::PartitionType::Esp) };
        let step = self.with_debs(params(step, &esp), "boot", self.arch(), boot)?;
        let esp = self.add(step)?;
        let step = Step::new("config", "config", disk::CONFIG_VERSION, disk::config).at("images/live.yml", None);
        let config = self.add(params(step, &Config { size: size(defs::PartitionType::Config) }))?;
        Ok(Targets { slot, uki, esp, config })
    }
}
