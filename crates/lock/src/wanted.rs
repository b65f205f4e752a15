use crate::VendorKind;
use std::path::PathBuf;
use types::{Arch, Digest};

/// The inputs that the definitions name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Sets of Debian packages. A set comes after its base.
    pub sets: Vec<WantedSet>,
    /// Source archives.
    pub vendors: Vec<WantedVendor>,
}

impl Wanted {
    /// The set of this name and architecture.
    #[must_use]
    pub fn set(&self, name: &str, arch: Arch) -> Option<&WantedSet> {
        self.sets.iter().find(|s| s.name == name && s.arch == arch)
    }
}

/// A set of Debian packages that are resolved together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedSet {
    /// Its name, such as `base` or `toolbox/rust`.
    pub name: String,
    /// The architecture of roots that name none.
    pub arch: Arch,
    /// The base: a set of the same architecture whose packages are present already.
    pub base: Option<String>,
    /// The roots: packages that definitions name.
    pub roots: Vec<Root>,
    /// Names to resolve from backports.
    pub backports: Vec<String>,
    /// Packages to leave out although others depend on them, here and in every set on top of this one.
    pub without: Vec<Root>,
}

/// A package that a definition names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// `name`, or `name:arm64` for the package of another architecture.
    pub name: String,
    /// The definition, relative to the project.
    pub file: PathBuf,
    /// The line in it, counted from 1.
    pub line: u32,
}

/// A source archive that a definition needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedVendor {
    /// `go/kube/k3s`, `cargo/pkg`
    pub name: String,
    /// The client that makes it.
    pub kind: VendorKind,
    /// Digest over its manifests: `go.mod` and `go.sum`, `Cargo.lock`.
    pub manifest: Digest,
    /// The manifest, relative to the project.
    pub file: PathBuf,
}
