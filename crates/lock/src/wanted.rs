use crate::VendorKind;
use std::path::PathBuf;
use types::{Arch, Digest};

/// What the definitions ask for.
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
    /// A set of the same architecture whose packages are there already.
    pub base: Option<String>,
    /// The packages asked for by name.
    pub roots: Vec<Root>,
    /// Names that are taken from backports.
    pub backports: Vec<String>,
    /// Packages that are left out although something depends on them, here and in every set that stands on this one.
    pub without: Vec<Root>,
}

/// A package asked for by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// `name`, or `name:arm64` for another architecture beside.
    pub name: String,
    /// The definition that asks, relative to the project.
    pub file: PathBuf,
    /// The line in it, counted from 1.
    pub line: u32,
}

/// A source archive that a definition asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedVendor {
    /// `go/kube/k3s`, `cargo/pkg`
    pub name: String,
    /// Which client makes it.
    pub kind: VendorKind,
    /// Digest over the manifests that it is made for: `go.mod` and `go.sum`, `Cargo.lock`.
    pub manifest: Digest,
    /// The manifest, relative to the project.
    pub file: PathBuf,
}
