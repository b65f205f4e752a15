use crate::{Located, Units};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::Bytes;

/// `hv/<flavour>.yml`: what one hypervisor flavour adds to the base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hv {
    /// One line for people.
    pub summary: String,
    /// Packages that run as services on the device.
    #[serde(default)]
    pub packages: Vec<Located<String>>,
    /// Packages whose images Kubernetes finds in the store.
    #[serde(default)]
    pub payload: Vec<Located<String>>,
    /// What is added to the root image.
    #[serde(default)]
    pub rootfs: HvRootfs,
    /// What is added for the kernel.
    #[serde(default)]
    pub kernel: HvKernel,
    /// Kernel settings: name → value.
    #[serde(default)]
    pub sysctl: BTreeMap<String, String>,
    /// Largest allowed sizes: name of an artefact (`root`, `store`, `uki`, or a package) → size.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, crate::schema::SizeText>")]
    pub budgets: BTreeMap<String, Bytes>,
}

/// What a flavour adds to the root image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HvRootfs {
    /// Further Debian packages.
    #[serde(default)]
    pub debs: Vec<Located<String>>,
    /// Debian alternatives: path of the common name → path of the program that takes the role.
    #[serde(default)]
    pub alternatives: BTreeMap<String, Located<String>>,
    /// Further packages of `pkg/` whose programs and files go into the root image itself.
    #[serde(default)]
    pub packages: Vec<Located<String>>,
    /// Further units.
    #[serde(default)]
    pub units: Units,
    /// Folder below `hv/` with files to put into the root image as they are.
    #[serde(default)]
    pub files: Option<Located<String>>,
}

/// What a flavour adds for the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HvKernel {
    /// Further arguments of the kernel.
    #[serde(default)]
    pub cmdline: Vec<String>,
    /// Further modules that the first stage loads.
    #[serde(default)]
    pub initramfs: Vec<Located<String>>,
    /// Modules that systemd loads at boot (modules-load.d).
    #[serde(default)]
    pub load: Vec<Located<String>>,
}
