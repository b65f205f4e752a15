//! What one definition says about another, and the rules that types cannot express.

use crate::{Definitions, Error, Located, Package, Place, Problem, read::Source};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

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
        for name in &hv.packages {
            let Some(package) = check.known_package(name) else { continue };
            if package.service.is_none() {
                check.rule(&name.at, format!("{name} cannot be a service: pkg/{name}/pkg.yml has no `service:`"));
            }
        }
        check.known_packages(&hv.payload);
        check.known_packages(&hv.rootfs.packages);
        check.deb_names(&hv.rootfs.debs);
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
    check.deb_names(&defs.rootfs.debs);
    check.folder("rootfs", defs.rootfs.files.as_ref());
    check.deb_names(&defs.kernel.firmware);
    check.deb_names(&defs.kernel.boot);
    defs.kernel.arch.values().for_each(|arch| check.deb_names(&arch.debs));
    for image in defs.images.values() {
        let (mut numbers, mut labels) = (BTreeSet::new(), BTreeSet::new());
        for partition in &image.partitions {
            if partition.number.value == 0 || !numbers.insert(partition.number.value) {
                check.rule(&partition.number.at, format!("partition number {} is 0 or taken", partition.number));
            }
            if !labels.insert(&partition.label.value) {
                check.rule(&partition.label.at, format!("two partitions are labelled `{}`", partition.label));
            }
        }
    }
    check.deb_names(&defs.toolbox.backports);
    for set in defs.toolbox.sets.values() {
        check.deb_names(&set.debs);
        check.deb_names(&set.backports);
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
        self.deb_names(&package.debs);
        self.folder(&format!("pkg/{folder}"), package.files.as_ref());
        for go in &package.go {
            self.folder(&format!("pkg/{folder}"), Some(&go.dir));
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
        }
    }

    fn base(&mut self, base: Option<&'a Located<String>>, of: &'a str) {
        let mut seen = BTreeSet::from([of]);
        let mut next = base;
        while let Some(name) = next {
            if !seen.insert(name) {
                // a ring further down is reported by who is in it
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
        let found = self.defs.packages.get(&name.value);
        if found.is_none() {
            let known = self.defs.packages.keys().cloned().collect();
            let problem = Problem::UnknownName { what: "package", name: name.value.clone(), known };
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

    fn deb_names(&mut self, names: &[Located<String>]) {
        for name in names {
            // Debian Policy §5.6.1, with an optional `:arch`
            let (package, arch) = name.split_once(':').unwrap_or((name, "all"));
            let ok = package.len() >= 2
                && package.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && package.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c))
                && is_name(arch);
            if !ok {
                self.rule(&name.at, format!("`{name}` is not the name of a Debian package"));
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

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}
