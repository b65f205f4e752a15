//! The file itself: types, reading, writing.

use debian::{Archive, PackageArch};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};
use types::{Arch, Bytes, Digest};

/// The name of the file, at the top of the project.
pub const FILE_NAME: &str = "evek.lock";

const HEADER: &str =
    "# Every input of every build, by digest. Written by `cargo xtask lock update`; not meant to be edited.\n";
const VERSION: u32 = 1;

/// Why the lock cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not there.
    #[error("{} does not exist: run `cargo xtask lock update`", .0.display())]
    Absent(PathBuf),
    /// Reading or writing failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The action that failed.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is not TOML of the expected form. The source's text shows line and column.
    #[error("{}: {}", path.display(), source.to_string().trim_end())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The parser's error, with line and column.
        source: Box<toml::de::Error>,
    },
    /// A later version of this program wrote it.
    #[error("{} has format {found}; this program reads format {VERSION}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// The format in the file.
        found: u32,
    },
    /// A set names a package that no `[[deb]]` describes.
    #[error("{}: set {set} holds {package}, which no [[deb]] describes: run `cargo xtask lock update`", path.display())]
    Dangling {
        /// The file.
        path: PathBuf,
        /// The set.
        set: String,
        /// The package.
        package: String,
    },
}

/// Every input of every build. The default is an empty lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lock {
    debs: BTreeMap<String, Deb>,
    sets: BTreeMap<(String, Arch), Set>,
    vendors: BTreeMap<String, Vendor>,
}

/// A Debian package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deb {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `amd64`, `arm64` or `all`.
    #[serde(with = "text")]
    pub arch: PackageArch,
    /// The suite that has it, by codename.
    pub suite: String,
    /// Its path below the mirror's base.
    pub file: String,
    /// The size of the file.
    pub size: Bytes,
    /// The digest of the file.
    #[serde(with = "hex")]
    pub sha256: Digest,
}

impl Deb {
    /// `name:arch=version`
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}:{}={}", self.name, self.arch, self.version)
    }

    /// The mirror that has it.
    #[must_use]
    pub fn archive(&self) -> Archive {
        Archive::of_suite(&self.suite)
    }
}

/// Packages that were resolved together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// The architecture of roots that name none.
    pub arch: Arch,
    /// The base: the set whose packages it builds on and does not repeat.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Names taken from backports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backports: Vec<String>,
    /// Packages left out, each with the first package that depends on it: `perl-base < debconf:all`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<String>,
    /// The roots: packages that definitions name.
    pub roots: Vec<String>,
    /// Every package of it, without the base's.
    pub packages: Vec<Member>,
}

impl Set {
    /// The names of the packages left out.
    pub fn left_out(&self) -> impl Iterator<Item = &str> {
        self.without.iter().map(|w| w.split_once(" < ").map_or(w.as_str(), |(name, _)| name))
    }
}

/// A package of a set, `curl:amd64=8.14.1-2 < base`: its [`Deb::id`] and, unless it is a root, the package that needs it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// [`Deb::id`]
    pub id: String,
    /// `name:arch` of the package that needs it; none for a root.
    pub needed_by: Option<String>,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.needed_by {
            Some(by) => write!(f, "{} < {by}", self.id),
            None => f.write_str(&self.id),
        }
    }
}

impl FromStr for Member {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let (id, needed_by) = match s.split_once(" < ") {
            Some((id, by)) => (id, Some(by.to_owned())),
            None => (s, None),
        };
        if !id.contains([':']) || !id.contains('=') || id.contains(' ') {
            return Err(format!("`{s}` is not of the form name:arch=version < name:arch"));
        }
        Ok(Self { id: id.to_owned(), needed_by })
    }
}

impl Serialize for Member {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The client that makes a source archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VendorKind {
    /// Go modules.
    Go,
    /// Rust crates.
    Cargo,
}

/// A source archive: the deterministic tar of the sources that a Go or cargo manifest needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vendor {
    /// `go/kube/k3s`, `cargo/pkg`
    pub name: String,
    /// The client that makes it.
    pub kind: VendorKind,
    /// Digest over its manifests.
    #[serde(with = "hex")]
    pub manifest: Digest,
    /// Digest of the tar.
    #[serde(with = "hex")]
    pub sha256: Digest,
    /// Size of the tar.
    pub size: Bytes,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: u32,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    set: Vec<Set>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    vendor: Vec<Vendor>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    deb: Vec<Deb>,
}

impl Lock {
    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Absent`] when it is not there; with line and column when it is malformed.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Self::parse(path, &read_text(path)?)
    }

    /// Reads the text of a lock; `path` is for messages.
    ///
    /// # Errors
    /// As [`Lock::read`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let lock = Self::parse_unchecked(path, text)?;
        for set in lock.sets.values() {
            if let Some(member) = lock.undescribed(set) {
                let set = format!("{} for {}", set.name, set.arch);
                return Err(Error::Dangling { path: path.to_owned(), set, package: member });
            }
        }
        Ok(lock)
    }

    /// Reads a lock file for an update. Leaves out sets with packages that nothing describes, as a merge of two locks
    /// leaves them; the update resolves these sets again.
    ///
    /// # Errors
    /// As [`Lock::read`], except for those sets.
    pub fn read_sound(path: &Path) -> Result<Self, Error> {
        let mut lock = Self::parse_unchecked(path, &read_text(path)?)?;
        let unsound: Vec<_> = lock.sets.iter().filter(|(_, set)| lock.undescribed(set).is_some()).collect();
        let unsound: Vec<_> = unsound.into_iter().map(|(key, _)| key.clone()).collect();
        lock.sets.retain(|key, _| !unsound.contains(key));
        Ok(lock)
    }

    fn undescribed(&self, set: &Set) -> Option<String> {
        set.packages.iter().find(|m| !self.debs.contains_key(&m.id)).map(|m| m.id.clone())
    }

    fn parse_unchecked(path: &Path, text: &str) -> Result<Self, Error> {
        let document: Document =
            toml::from_str(text).map_err(|source| Error::Syntax { path: path.to_owned(), source: Box::new(source) })?;
        if document.format != VERSION {
            return Err(Error::Format { path: path.to_owned(), found: document.format });
        }
        Ok(Self {
            debs: document.deb.into_iter().map(|d| (d.id(), d)).collect(),
            sets: document.set.into_iter().map(|s| ((s.name.clone(), s.arch), s)).collect(),
            vendors: document.vendor.into_iter().map(|v| (v.name.clone(), v)).collect(),
        })
    }

    /// The text of the file: the same lock gives the same bytes.
    #[must_use]
    pub fn to_text(&self) -> String {
        let document = Document {
            format: VERSION,
            set: self.sets.values().cloned().collect(),
            vendor: self.vendors.values().cloned().collect(),
            deb: self.debs.values().cloned().collect(),
        };
        let body = toml::to_string_pretty(&document).expect("the lock's types are all representable in TOML");
        format!("{HEADER}{body}")
    }

    /// Replaces the file, completely or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let io = |action, source| Error::Io { action, path: path.to_owned(), source };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|e| io("create", e))?;
        io::Write::write_all(&mut file, self.to_text().as_bytes()).map_err(|e| io("write", e))?;
        use std::os::unix::fs::PermissionsExt as _;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644)).map_err(|e| io("set the mode of", e))?;
        file.as_file().sync_all().map_err(|e| io("sync", e))?;
        file.persist(path).map_err(|e| io("replace", e.error))?;
        Ok(())
    }

    /// The set of this name and architecture.
    #[must_use]
    pub fn set(&self, name: &str, arch: Arch) -> Option<&Set> {
        self.sets.get(&(name.to_owned(), arch))
    }

    /// Every set, sorted.
    pub fn sets(&self) -> impl Iterator<Item = &Set> {
        self.sets.values()
    }

    /// The packages of a set, without its base's, in the order of their names.
    pub fn debs_of<'l>(&'l self, set: &'l Set) -> impl Iterator<Item = &'l Deb> {
        set.packages.iter().filter_map(|m| self.debs.get(&m.id))
    }

    /// Every package of every set, sorted.
    pub fn debs(&self) -> impl Iterator<Item = &Deb> {
        self.debs.values()
    }

    /// The source archive of this name.
    #[must_use]
    pub fn vendor(&self, name: &str) -> Option<&Vendor> {
        self.vendors.get(name)
    }

    /// Every source archive, sorted.
    pub fn vendors(&self) -> impl Iterator<Item = &Vendor> {
        self.vendors.values()
    }

    /// Adds a source archive; replaces one of the same name.
    pub fn set_vendor(&mut self, vendor: Vendor) {
        self.vendors.insert(vendor.name.clone(), vendor);
    }

    /// Keeps only the source archives of these names.
    pub fn retain_vendors(&mut self, names: &BTreeSet<&str>) {
        self.vendors.retain(|name, _| names.contains(name.as_str()));
    }

    /// The chain of packages that leads from a root to `name` in a set: `[root, …, name]`, each as `name:arch`. Empty when it
    /// is not in the set.
    #[must_use]
    pub fn why(&self, set: &Set, name: &str) -> Vec<String> {
        let key = |id: &str| id.split('=').next().unwrap_or_default().to_owned();
        let is_it = |m: &&Member, name: &str| key(&m.id) == name || key(&m.id).split(':').next() == Some(name);
        let mut chain = Vec::new();
        let mut next = set.packages.iter().find(|m| is_it(m, name));
        while let Some(member) = next {
            chain.push(key(&member.id));
            next = member.needed_by.as_ref().and_then(|by| set.packages.iter().find(|m| key(&m.id) == *by));
            if chain.len() > set.packages.len() {
                break;
            }
        }
        chain.reverse();
        chain
    }

    pub(crate) fn put_set(&mut self, mut set: Set, debs: impl IntoIterator<Item = Deb>) {
        set.packages.sort();
        set.roots.sort();
        set.backports.sort();
        self.debs.extend(debs.into_iter().map(|d| (d.id(), d)));
        self.sets.insert((set.name.clone(), set.arch), set);
    }

    pub(crate) fn retain_sets(&mut self, keep: impl Fn(&Set) -> bool) {
        self.sets.retain(|_, set| keep(set));
    }

    /// Removes packages that no set holds.
    pub(crate) fn drop_unused_debs(&mut self) {
        let used: BTreeSet<&str> = self.sets.values().flat_map(|s| &s.packages).map(|m| m.id.as_str()).collect();
        self.debs.retain(|id, _| used.contains(id.as_str()));
    }
}

fn read_text(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::Absent(path.to_owned()),
        _ => Error::Io { action: "read", path: path.to_owned(), source },
    })
}

mod hex {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use types::Digest;

    pub(super) fn serialize<S: Serializer>(digest: &Digest, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&digest.hex())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Digest, D::Error> {
        Digest::deserialize(d)
    }
}

mod text {
    use serde::{Deserialize as _, Deserializer, Serializer};
    use std::{fmt::Display, str::FromStr};

    pub(super) fn serialize<T: Display, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(value)
    }

    pub(super) fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(d: D) -> Result<T, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}
