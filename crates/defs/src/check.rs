//! References between definitions, and the rules that types cannot express.

use crate::{
    Definitions, DiskLayout, EnrollKeys, Error, Hv, ImageDef, KernelSource, Located, OptionValue, Package,
    PartitionType, Place, Problem, deb, hv::part_of,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Component, Path},
};
use store::ServiceSpec;
use yaml::Source;

/// The recovery key of P3, and the device's key for ssh.
const SECRETS: [&str; 2] = ["/persist/vault", "/persist/ssh"];

/// The texts of all definition files, for the lines in errors.
#[derive(Debug, Default)]
pub(crate) struct Sources(BTreeMap<String, Source>);

impl Sources {
    pub(crate) fn add(&mut self, source: Source) {
        self.0.insert(source.file.clone(), source);
    }

    fn error(&self, at: &Place, problem: Problem) -> Error {
        match self.0.get(&*at.file) {
            Some(source) => source.error(at.clone(), problem),
            None => Error { at: at.clone(), problem, source: None },
        }
    }

    fn find(&self, word: &str, from: &Place) -> Place {
        self.0.get(&*from.file).map_or_else(|| from.clone(), |source| source.find(word, from))
    }
}

/// Every broken rule, in the order of the files.
pub(crate) fn all(defs: &Definitions, sources: &Sources) -> Vec<Error> {
    let mut check = Check { defs, sources, errors: vec![] };
    for (folder, package) in &defs.packages {
        check.package(folder, package);
    }
    for hv in defs.flavours.values() {
        check.must_fit(hv);
        for name in &hv.packages {
            let Some(package) = check.known_package(name) else { continue };
            if package.service.is_none() {
                check.rule(&name.at, format!("{name} cannot be a service: pkg/{name}/pkg.yml has no `service:`"));
            }
        }
        check.known_packages(&hv.payload);
        check.known_packages(&hv.rootfs.packages);
        check.folder("hv", hv.rootfs.files.as_ref());
        for name in &hv.packages {
            check.comes_along(name, &hv.packages);
        }
    }
    if let Some(base) = &defs.rootfs.base {
        check.known_packages(std::slice::from_ref(base));
    }
    check.base(defs.rootfs.base.as_ref(), "");
    check.known_packages(&defs.rootfs.packages);
    check.folder("rootfs", defs.rootfs.files.as_ref());
    check.kernel();
    check.known_layout(&defs.rootfs.layout);
    defs.layouts.values().for_each(|layout| check.layout(layout));
    defs.images.values().for_each(|image| check.image(image));
    check.deb_names(&defs.toolbox.backports);
    for set in defs.toolbox.sets.values() {
        check.deb_names(&set.backports);
    }
    // a wrong name among the packages would give wrong errors about budgets
    if check.errors.is_empty() {
        for (flavour, hv) in &defs.flavours {
            check.budgets(&format!("hv/{flavour}.yml"), hv);
        }
    }
    check.errors
}

struct Check<'a> {
    defs: &'a Definitions,
    sources: &'a Sources,
    errors: Vec<Error>,
}

impl<'a> Check<'a> {
    fn rule(&mut self, at: &Place, text: String) {
        self.errors.push(self.sources.error(at, Problem::Rule(text)));
    }

    fn package(&mut self, folder: &str, package: &'a Package) {
        if *package.name != folder {
            self.rule(&package.name.at, format!("the name must be that of the folder, `{folder}`"));
        }
        if !is_name(&package.name) {
            let text = "a package's name has lower-case letters, digits and dashes, and starts with a letter";
            self.rule(&package.name.at, text.to_owned());
        }
        self.base(package.base.as_ref(), &package.name);
        self.folder(&format!("pkg/{folder}"), package.files.as_ref());
        for go in &package.go {
            self.folder(&format!("pkg/{folder}"), Some(&go.dir));
        }
        for other in package.rust.iter().filter_map(|program| program.package.as_ref()) {
            self.known_package(other);
        }
        if let Some(initramfs) = package.initramfs.as_ref().filter(|_| package.rust.is_empty()) {
            self.rule(&initramfs.at, "an initramfs needs a program to begin with, in `rust`".to_owned());
        }
        if let Some(guest) = &package.guest
            && self.known_package(guest).is_some_and(|other| other.initramfs.is_none())
        {
            self.rule(&guest.at, format!("{guest} cannot be a guest: pkg/{guest}/pkg.yml has no `initramfs:`"));
        }
        if let Some(service) = &package.service {
            if service.exec.is_empty() {
                self.rule(&service.at, "a service needs a program to run in `exec`".to_owned());
            }
            for name in &service.after {
                let at = self.sources.find("after", &service.at);
                let name = Located::new(name.clone(), self.sources.find(name, &at));
                let Some(other) = self.known_package(&name) else { continue };
                if other.service.is_none() {
                    self.rule(&name.at, format!("nothing can start after {name}: it is no service"));
                }
            }
            self.mounts(service);
        }
    }

    /// No service sees the secrets of the device. A privileged service is the device: it has all capabilities, and a mount more
    /// or less hides nothing from it.
    fn mounts(&mut self, service: &Located<ServiceSpec>) {
        let from = self.sources.find("mounts", &service.at);
        for mount in &service.mounts {
            let source = Path::new(&mount.source);
            let inside = |secret: &&str| source.starts_with(secret) || Path::new(secret).starts_with(source);
            let problem = if source.components().any(|part| part == Component::ParentDir) {
                format!("`{}` is written without `..`", mount.source)
            } else if let Some(secret) = SECRETS.iter().find(|secret| inside(secret) && !service.privileged) {
                let source = &mount.source;
                format!(
                    "`{source}` shows the service {secret}, a secret of the device: mount the folders that it needs"
                )
            } else {
                continue;
            };
            // one path may be the beginning of another
            let words = [format!("{},", mount.source), format!("{}}}", mount.source), mount.source.clone()];
            let found = words.iter().map(|word| self.sources.find(word, &from)).find(|at| *at != from);
            self.rule(&found.unwrap_or_else(|| from.clone()), problem);
        }
    }

    fn base(&mut self, base: Option<&'a Located<String>>, of: &'a str) {
        let mut seen = BTreeSet::from([of]);
        let mut next = base;
        while let Some(name) = next {
            if !seen.insert(name) {
                // a ring further down is reported at a package within it
                if *name.value == *of {
                    self.rule(&name.at, format!("{name} is, by its own base, on top of itself"));
                }
                return;
            }
            let Some(base) = self.known_package(name) else { return };
            if base.service.is_some() {
                return self.rule(&name.at, format!("{name} cannot be a base: it is a service"));
            }
            next = base.base.as_ref();
        }
    }

    fn known_packages(&mut self, names: &[Located<String>]) {
        for name in names {
            self.known_package(name);
        }
    }

    fn known_package(&mut self, name: &Located<String>) -> Option<&'a Package> {
        self.known("package", &self.defs.packages, name)
    }

    fn known<T>(&mut self, what: &'static str, all: &'a BTreeMap<String, T>, name: &Located<String>) -> Option<&'a T> {
        let found = all.get(&name.value);
        if found.is_none() {
            let problem = Problem::UnknownName { what, name: name.value.clone(), known: all.keys().cloned().collect() };
            self.errors.push(self.sources.error(&name.at, problem));
        }
        found
    }

    /// A service's `after` names must be in the same flavour, or it would wait for ever.
    fn comes_along(&mut self, name: &Located<String>, all: &[Located<String>]) {
        let Some(service) = self.defs.packages.get(&name.value).and_then(|p| p.service.as_ref()) else { return };
        for after in &service.after {
            let is_service = self.defs.packages.get(after).is_some_and(|p| p.service.is_some());
            if is_service && !all.iter().any(|n| n.value == *after) {
                self.rule(&name.at, format!("{name} starts after {after}, which this flavour does not have"));
            }
        }
    }

    fn known_layout(&mut self, name: &Located<String>) -> Option<&'a DiskLayout> {
        self.known("layout", &self.defs.layouts, name)
    }

    fn layout(&mut self, layout: &DiskLayout) {
        let mut numbers = BTreeSet::new();
        for partition in &layout.partitions {
            if partition.number.value == 0 || !numbers.insert(partition.number.value) {
                self.rule(&partition.number.at, format!("partition number {} is 0 or taken", partition.number));
            }
            if !is_guid(&partition.guid) {
                let text = format!("`{}` is not a GUID such as 5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6", partition.guid);
                self.rule(&partition.guid.at, text);
            }
        }
    }

    /// An image names partitions by their labels, so a layout must not use a label twice.
    fn image(&mut self, image: &ImageDef) {
        let Some(layout) = self.known_layout(&image.layout) else { return };
        if image.shim {
            let at = |word| self.sources.find(word, &image.layout.at);
            let (enroll, shim) = (at("enroll_keys"), at("shim"));
            if image.enroll_keys != EnrollKeys::Off {
                let text =
                    "firmware that takes over the owner's keys no longer starts shim: `enroll_keys: off`, or no shim";
                self.rule(&enroll, text.to_owned());
            }
            if self.defs.kernel.shim.is_empty() {
                self.rule(&shim, "kernel/kernel.yml names no packages with shim, in `shim`".to_owned());
            }
        }
        let mut labels = BTreeSet::new();
        for partition in &layout.partitions {
            if !labels.insert(&partition.label.value) {
                self.rule(&partition.label.at, format!("two partitions are labelled `{}`", partition.label));
            }
        }
        for (label, content) in image.content.iter().filter(|(label, _)| !labels.contains(label)) {
            let known = labels.iter().map(|l| (*l).clone()).collect();
            let problem = Problem::UnknownName { what: "partition", name: label.clone(), known };
            self.errors.push(self.sources.error(&self.sources.find(label, &content.at), problem));
        }
    }

    fn must_fit(&mut self, hv: &Hv) {
        for (role, name) in &hv.must_fit {
            self.known_layout(name);
            if *role == PartitionType::Persist {
                self.rule(&name.at, "no image is written into a partition of type persist".to_owned());
            }
        }
    }

    /// There is a budget for each measured part, and none for anything else.
    fn budgets(&mut self, file: &str, hv: &Hv) {
        let parts = self.defs.measured(hv);
        let at = self.sources.find("budgets", &Place { line: 1, ..Place::file(file) });
        for (name, limit) in hv.budgets.iter().filter(|(name, _)| !parts.contains(part_of(name).0)) {
            // on its own line, or on that of its limit
            let at = self.sources.find(name, &Place { line: limit.at.line, column: 0, file: limit.at.file.clone() });
            let problem = Problem::UnknownName {
                what: "part to have a budget",
                name: name.clone(),
                known: parts.iter().cloned().collect(),
            };
            self.errors.push(self.sources.error(&at, problem));
        }
        let missing: Vec<&str> = parts.iter().filter(|p| !hv.budgets.contains_key(*p)).map(String::as_str).collect();
        if !missing.is_empty() {
            self.rule(&at, format!("each part has a budget, and there is none for {}", missing.join(", ")));
        }
    }

    fn deb_names(&mut self, names: &[Located<String>]) {
        for name in names {
            if !deb::is_name(name) {
                self.rule(&name.at, format!("`{name}` is not the name of a Debian package"));
            }
        }
    }

    fn kernel(&mut self) {
        let kernel = &self.defs.kernel;
        for arch in kernel.arch.values() {
            self.fragments(&arch.fragments);
        }
        if let Some(build) = &kernel.build {
            self.fragments(&build.fragments);
        } else if kernel.source == KernelSource::Build {
            let at = self.sources.find("source", &Place::file("kernel/kernel.yml"));
            self.rule(&at, "a kernel that is built needs `build:` to say how".to_owned());
        }
        for option in self.defs.lint.needs.iter().flat_map(|n| &n.options) {
            if option.name.starts_with("CONFIG_") {
                self.rule(&option.name.at, format!("`{}` is written without `CONFIG_` here", option.name));
            }
            if option.is.contains(&OptionValue::M) != option.module.is_some() {
                let text = format!("{}: `module` names what `m` makes, and only where `is` allows `m`", option.name);
                self.rule(&option.name.at, text);
            }
        }
    }

    fn fragments(&mut self, names: &[Located<String>]) {
        for name in names {
            if !self.defs.root.join("kernel").join(&name.value).is_file() {
                self.rule(&name.at, format!("there is no file kernel/{name}"));
            }
        }
    }

    fn folder(&mut self, parent: &str, name: Option<&Located<String>>) {
        let Some(name) = name else { return };
        let folder = Path::new(parent).join(&name.value);
        if !self.defs.root.join(&folder).is_dir() {
            self.rule(&name.at, format!("there is no folder {}", folder.display()));
        }
    }
}

/// Whether a text is a GUID (RFC 9562 §4).
fn is_guid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|p| p.len()).eq([8, 4, 4, 4, 12])
        && parts.iter().all(|part| part.chars().all(|c| c.is_ascii_hexdigit()))
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}
