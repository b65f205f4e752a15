//! The packages of one or more suites, from their `Packages` indexes.

use crate::{
    deb822,
    relation::{self, BadRelation, Relation},
};
use debversion::Version;
use std::{collections::HashMap, fmt};
use types::{Arch, Digest};

/// Which of Debian's two archives, and so which mirror, a suite is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Archive {
    /// The main archive with `-updates` and `-backports`.
    Main,
    /// The security archive.
    Security,
}

impl Archive {
    /// The archive that has the suite of this name.
    #[must_use]
    pub fn of_suite(suite: &str) -> Self {
        if suite.ends_with("-security") { Self::Security } else { Self::Main }
    }
}

/// The text of one `Packages` index.
#[derive(Debug, Clone)]
pub struct Index {
    /// Codename: `trixie-security`.
    pub suite: String,
    /// The architecture that the index is of; it lists packages of `all` too.
    pub arch: Arch,
    /// The uncompressed index.
    pub text: String,
}

impl Index {
    /// Whether packages are taken from it only when asked for by name.
    #[must_use]
    pub fn is_backports(&self) -> bool {
        self.suite.ends_with("-backports")
    }
}

/// What a package is for: one architecture or, without machine code, all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PackageArch {
    /// `Architecture: all`
    All,
    /// `Architecture: amd64` and the like.
    One(Arch),
}

impl PackageArch {
    /// Debian's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::One(arch) => arch.as_str(),
        }
    }
}

impl fmt::Display for PackageArch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::str::FromStr for PackageArch {
    type Err = types::UnknownChoice;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if s == "all" { Ok(Self::All) } else { s.parse().map(Self::One) }
    }
}

/// How a package acts beside others of another architecture (field `Multi-Arch`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MultiArch {
    /// It satisfies its own architecture only.
    No,
    /// It can be installed once for each architecture, in one version.
    Same,
    /// It satisfies dependencies of every architecture.
    Foreign,
    /// It satisfies dependencies of every architecture that say `:any`.
    Allowed,
}

/// One package of one suite.
#[derive(Debug, Clone)]
pub struct Package<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version.
    pub version: Version,
    /// What it is for.
    pub arch: PackageArch,
    /// Codename of the suite that it is in.
    pub suite: &'a str,
    /// Path of the file below the mirror's base.
    pub file: &'a str,
    /// Size of the file.
    pub size: u64,
    /// Digest of the file.
    pub sha256: Digest,
    pub(crate) backports: bool,
    pub(crate) multi_arch: MultiArch,
    pub(crate) priority: u8,
    pub(crate) depends: [&'a str; 2],
    pub(crate) conflicts: [&'a str; 2],
    pub(crate) provides: Vec<Relation<'a>>,
}

impl Package<'_> {
    /// `name:arch=version`, which names a package of the lock.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}:{}={}", self.name, self.arch, self.version)
    }
}

/// A package index that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("index of {suite} for {arch}, line {line}, package {package}: {what}")]
pub struct BadIndex {
    /// The suite.
    pub suite: String,
    /// The architecture of the index.
    pub arch: Arch,
    /// The line that the package starts on.
    pub line: u32,
    /// Its name where there is one.
    pub package: String,
    /// What is wrong.
    pub what: String,
}

/// Every package of some suites, found by name and by what it provides.
#[derive(Debug, Default)]
pub struct Universe<'a> {
    pub(crate) packages: Vec<Package<'a>>,
    by_name: HashMap<&'a str, Vec<u32>>,
    providers: HashMap<&'a str, Vec<u32>>,
}

impl<'a> Universe<'a> {
    /// Reads the indexes. A package in two suites, or as `all` in the index of two architectures, is taken once, for the index
    /// that is given first.
    ///
    /// # Errors
    /// [`BadIndex`] at the first package that lacks a field or has a malformed one.
    pub fn read(indexes: &'a [Index]) -> Result<Self, BadIndex> {
        let mut all = Self::default();
        for index in indexes {
            for stanza in deb822::stanzas(&index.text) {
                let package = read_package(index, &stanza)?;
                all.add(package);
            }
        }
        Ok(all)
    }

    fn add(&mut self, package: Package<'a>) {
        let id = u32::try_from(self.packages.len()).expect("fewer than 2^32 packages");
        let same_name = self.by_name.entry(package.name).or_default();
        let known = same_name.iter().map(|i| &self.packages[*i as usize]);
        if known.clone().any(|k| k.arch == package.arch && k.version == package.version) {
            return;
        }
        same_name.push(id);
        for provided in &package.provides {
            let providers = self.providers.entry(provided.name).or_default();
            if providers.last() != Some(&id) {
                providers.push(id);
            }
        }
        self.packages.push(package);
    }

    /// The packages of this name, of every architecture, suite and version.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Package<'a>> {
        self.ids_named(name).iter().map(|id| &self.packages[*id as usize])
    }

    pub(crate) fn ids_named(&self, name: &str) -> &[u32] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn ids_providing(&self, name: &str) -> &[u32] {
        self.providers.get(name).map_or(&[], Vec::as_slice)
    }

    /// Up to three names that a misspelt one may have meant.
    #[must_use]
    pub fn near(&self, name: &str) -> Vec<String> {
        let limit = name.len() / 4 + 1;
        let mut near: Vec<(usize, &str)> = self
            .by_name
            .keys()
            .filter(|k| k.len().abs_diff(name.len()) <= limit)
            .map(|k| (distance(k.as_bytes(), name.as_bytes()), *k))
            .filter(|(d, _)| *d <= limit)
            .collect();
        near.sort_unstable();
        near.into_iter().take(3).map(|(_, k)| k.to_owned()).collect()
    }
}

/// Levenshtein's distance.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn read_package<'a>(index: &'a Index, stanza: &deb822::Stanza<'a>) -> Result<Package<'a>, BadIndex> {
    let (mut name, mut version, mut arch, mut file, mut size, mut sha256) = ("", "", "", "", "", "");
    let (mut multi_arch, mut priority, mut provides) = ("no", "", "");
    let (mut depends, mut conflicts) = ([""; 2], [""; 2]);
    for (field, value) in stanza.fields() {
        match field {
            "Package" => name = value,
            "Version" => version = value,
            "Architecture" => arch = value,
            "Multi-Arch" => multi_arch = value,
            "Priority" => priority = value,
            "Pre-Depends" => depends[0] = value,
            "Depends" => depends[1] = value,
            "Conflicts" => conflicts[0] = value,
            "Breaks" => conflicts[1] = value,
            "Provides" => provides = value,
            "Filename" => file = value,
            "Size" => size = value,
            "SHA256" => sha256 = value,
            _ => {}
        }
    }
    let bad = |what: String| BadIndex {
        suite: index.suite.clone(),
        arch: index.arch,
        line: stanza.line,
        package: name.to_owned(),
        what,
    };
    if name.is_empty() || file.is_empty() {
        return Err(bad("has no field Package or no field Filename".to_owned()));
    }
    if file.starts_with('/') || file.split('/').any(|part| part == "..") {
        return Err(bad(format!("file {file} is not below the mirror")));
    }
    let provides = relation::parse(provides).map_err(|BadRelation(r)| bad(format!("provides `{r}`")))?;
    Ok(Package {
        name,
        version: version.parse().map_err(|_| bad(format!("version `{version}` is not one")))?,
        arch: arch.parse().map_err(|_| bad(format!("architecture `{arch}` is not known")))?,
        suite: &index.suite,
        file,
        size: size.parse().map_err(|_| bad(format!("size `{size}` is not a number")))?,
        sha256: sha256.parse().map_err(|_| bad(format!("`{sha256}` is not a sha256 digest")))?,
        backports: index.is_backports(),
        multi_arch: match multi_arch {
            "same" => MultiArch::Same,
            "foreign" => MultiArch::Foreign,
            "allowed" => MultiArch::Allowed,
            _ => MultiArch::No,
        },
        priority: ["required", "important", "standard", "optional"].iter().position(|p| *p == priority).unwrap_or(4)
            as u8,
        depends,
        conflicts,
        provides: provides.into_iter().flatten().collect(),
    })
}
