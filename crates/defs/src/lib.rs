//! The definitions of images, as typed and strict YAML.
//!
//! ```text
//! pkg/<name>/pkg.yml ─► Package     rootfs/rootfs.yml ─► Rootfs     kernel/kernel.yml ─► Kernel
//! hv/<flavour>.yml   ─► Hv          images/<name>.yml ─► ImageDef   kernel/lint.yml   ─► Lint
//! layouts/<name>.yml ─► DiskLayout  xtask/toolbox.yml ─► Toolbox
//!                                      │
//!                       Definitions::read(root): all of them, checked against each other
//! ```
//! An unknown field, an unknown name or a broken rule is an error with file, line, column, the text of the line and the
//! allowed values. All errors are reported, not only the first. Strings that can prove wrong much later (names of
//! Debian packages, of units) are [`Located`]: they carry their file and line.
//!
//! Deliberately absent: any other input than the definition files; resolving, planning, building.

mod accounts;
mod check;
mod deb;
mod glob;
mod hv;
mod image;
mod kernel;
mod layout;
mod package;
mod reference;
mod schema;
mod system;
mod toolbox;

pub use accounts::{Group, User};
pub use deb::{BadDeb, Deb};
pub use glob::{BadGlob, PathGlob};
pub use hv::{Hv, HvKernel, HvRootfs, Xen, XenArch};
pub use image::{EnrollKeys, Format, ImageDef, ImageKind, Partition, PartitionContent, PartitionType};
pub use kernel::{
    ConfigBase, Kernel, KernelArch, KernelBuild, KernelSource, Lint, Modules, NeededOption, Needs, OptionValue,
};
pub use layout::{DiskLayout, EveVersion, FlavourName, LayoutPartition};
pub use package::{GoProgram, GuestInitramfs, ImageConfig, Package, Program};
pub use reference::reference;
pub use schema::{DefKind, schema};
pub use system::{Rootfs, Units};
pub use toolbox::{ToolSet, Toolbox};
pub use yaml::{Error, Located, Place, Problem};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use check::Sources;
use serde::de::DeserializeOwned;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use types::Flavour;
use yaml::Source;

/// Every definition of a repository, checked against each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definitions {
    /// The top of the repository.
    pub root: PathBuf,
    /// Packages by name.
    pub packages: BTreeMap<String, Package>,
    /// The base operating system.
    pub rootfs: Rootfs,
    /// The kernel.
    pub kernel: Kernel,
    /// The kernel options that programs need.
    pub lint: Lint,
    /// Disk images by name.
    pub images: BTreeMap<String, ImageDef>,
    /// Layouts of disks by name.
    pub layouts: BTreeMap<String, DiskLayout>,
    /// The flavours that this repository has a definition of.
    pub flavours: BTreeMap<Flavour, Hv>,
    /// The build tools.
    pub toolbox: Toolbox,
}

impl Definitions {
    /// Reads and checks every definition below `root`.
    ///
    /// # Errors
    /// All errors, in the order of the files.
    pub fn read(root: &Path) -> Result<Self, Vec<Error>> {
        let mut reader = Reader { root, sources: Sources::default(), errors: vec![] };
        let packages = reader.folder("pkg", |name| Some(format!("pkg/{name}/pkg.yml")), |name, _| Ok(name.to_owned()));
        let flavours = reader.folder(
            "hv",
            |name| name.ends_with(".yml").then(|| format!("hv/{name}")),
            |name, file| {
                let stem = name.trim_end_matches(".yml");
                // an alias such as `k` is for the command line; a file has the flavour's own name
                let flavour: Flavour = stem.parse().map_err(|e: types::UnknownChoice| rule_at(file, e.to_string()))?;
                if flavour.as_str() == stem {
                    Ok(flavour)
                } else {
                    Err(rule_at(file, format!("the file of the flavour {flavour} is hv/{flavour}.yml")))
                }
            },
        );
        let images = reader.folder(
            "images",
            |name| name.ends_with(".yml").then(|| format!("images/{name}")),
            |name, _| Ok(name.trim_end_matches(".yml").to_owned()),
        );
        let layouts = reader.folder(
            "layouts",
            |name| name.ends_with(".yml").then(|| format!("layouts/{name}")),
            |name, _| Ok(name.trim_end_matches(".yml").to_owned()),
        );
        let rootfs = reader.file("rootfs/rootfs.yml");
        let kernel = reader.file("kernel/kernel.yml");
        let lint = reader.file("kernel/lint.yml");
        let toolbox = reader.file("xtask/toolbox.yml");
        let Reader { sources, mut errors, .. } = reader;
        let (Some(rootfs), Some(kernel), Some(lint), Some(toolbox)) = (rootfs, kernel, lint, toolbox) else {
            return Err(errors);
        };
        let mut all =
            Self { root: root.to_owned(), packages, rootfs, kernel, lint, images, layouts, flavours, toolbox };
        all.default_folders();
        // a file that is missing here would give wrong errors about references
        if errors.is_empty() {
            errors = check::all(&all, &sources);
        }
        if errors.is_empty() { Ok(all) } else { Err(errors) }
    }

    /// The definition of a flavour.
    ///
    /// # Errors
    /// When this repository does not define it.
    pub fn flavour(&self, flavour: Flavour) -> Result<&Hv, Error> {
        self.flavours.get(&flavour).ok_or_else(|| {
            let known: Vec<_> = self.flavours.keys().map(|f| f.as_str()).collect();
            rule_at(&format!("hv/{flavour}.yml"), format!("no such file: HV can be {}", known.join(", ")))
        })
    }

    /// The partitions of a disk image.
    #[must_use]
    pub fn partitions(&self, image: &ImageDef) -> Vec<Partition> {
        self.layouts.get(&image.layout.value).map(|layout| image.partitions(layout)).unwrap_or_default()
    }

    /// The folder of a package.
    #[must_use]
    pub fn package_dir(&self, package: &Package) -> PathBuf {
        self.root.join("pkg").join(&package.name.value)
    }

    /// A package and its bases, the lowest first: the order of the layers.
    #[must_use]
    pub fn with_bases<'a>(&'a self, package: &'a Package) -> Vec<&'a Package> {
        let mut chain = vec![package];
        while let Some(base) = chain.last().and_then(|p| p.base.as_ref()).and_then(|b| self.packages.get(&b.value)) {
            chain.push(base);
        }
        chain.reverse();
        chain
    }

    /// The parts of a flavour's image that have a budget each.
    #[must_use]
    pub fn measured(&self, hv: &Hv) -> BTreeSet<String> {
        let packages = hv.packages.iter().chain(&hv.payload).chain(&self.rootfs.base);
        let packages = packages.filter_map(|name| self.packages.get(&name.value));
        let with_bases = packages.flat_map(|package| self.with_bases(package)).map(|p| p.name.value.clone());
        with_bases.chain(["store", "root", "uki", "esp"].map(str::to_owned)).collect()
    }

    /// `files:` defaults to the folder `files` where there is one.
    fn default_folders(&mut self) {
        let root = self.root.clone();
        let default = |folder: String| {
            let at = Place::file(&folder);
            root.join(&folder).join("files").is_dir().then(|| Located::new("files".to_owned(), at))
        };
        for (name, package) in &mut self.packages {
            package.files = package.files.take().or_else(|| default(format!("pkg/{name}")));
        }
        self.rootfs.files = self.rootfs.files.take().or_else(|| default("rootfs".to_owned()));
    }
}

fn rule_at(file: &str, text: String) -> Error {
    Error { at: Place::file(file), problem: Problem::Rule(text), source: None }
}

struct Reader<'a> {
    root: &'a Path,
    sources: Sources,
    errors: Vec<Error>,
}

impl Reader<'_> {
    fn file<T: DeserializeOwned>(&mut self, file: &str) -> Option<T> {
        let parsed = Source::open(self.root, file).and_then(|source| {
            let parsed = source.parse();
            self.sources.add(source);
            parsed
        });
        parsed.map_err(|e| self.errors.push(e)).ok()
    }

    /// Reads the definitions in a folder: `file` gives the path of an item's definition, if it has one, `key` the
    /// definition's name.
    fn folder<K: Ord, T: DeserializeOwned>(
        &mut self,
        folder: &str,
        file: impl Fn(&str) -> Option<String>,
        key: impl Fn(&str, &str) -> Result<K, Error>,
    ) -> BTreeMap<K, T> {
        let mut names: Vec<String> = match fs::read_dir(self.root.join(folder)) {
            Ok(items) => items.filter_map(|i| i.ok()?.file_name().into_string().ok()).collect(),
            Err(e) => {
                let problem = Problem::Unreadable(e.to_string());
                self.errors.push(Error { at: Place::file(folder), problem, source: None });
                return BTreeMap::new();
            }
        };
        names.sort_unstable();
        let mut found = BTreeMap::new();
        for name in names {
            let Some(file) = file(&name).filter(|f| self.root.join(f).is_file()) else { continue };
            match key(&name, &file) {
                Ok(key) => drop(self.file(&file).map(|def| found.insert(key, def))),
                Err(e) => self.errors.push(e),
            }
        }
        found
    }
}
