use crate::{Deb, Located, PartitionType, PathGlob, Units};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::{Arch, Bytes};

/// `hv/<flavour>.yml`: the additions of one flavour to the base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hv {
    /// One line for people.
    pub summary: String,
    /// Packages that run as services on the device.
    #[serde(default)]
    pub packages: Vec<Located<String>>,
    /// Packages whose images are in the store for Kubernetes to run.
    #[serde(default)]
    pub payload: Vec<Located<String>>,
    /// Additions to the root image.
    #[serde(default)]
    pub rootfs: HvRootfs,
    /// Additions for the kernel.
    #[serde(default)]
    pub kernel: HvKernel,
    /// Starts the Xen hypervisor, with this system as its first domain.
    #[serde(default)]
    pub xen: Option<Xen>,
    /// Kernel settings: name → value.
    #[serde(default)]
    pub sysctl: BTreeMap<String, String>,
    /// Largest allowed sizes: part → bytes that the image stores for it. The parts are `store` (everything written into
    /// a slot), `root` (the root image's own layers), `uki`, `esp`, and each package of the flavour, its bases
    /// included. `uki@arm64` replaces `uki` for this architecture.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, crate::schema::SizeText>")]
    pub budgets: BTreeMap<String, Located<Bytes>>,
    /// Layouts whose devices must accept an update of this flavour: partition type → file of `layouts/`.
    #[serde(default)]
    pub must_fit: BTreeMap<PartitionType, Located<String>>,
}

impl Hv {
    /// The budgets that hold on an architecture, by their parts' names.
    pub fn limits(&self, arch: Arch) -> impl Iterator<Item = (&str, &Located<Bytes>)> {
        self.budgets.iter().filter_map(move |(name, limit)| match part_of(name) {
            (part, Some(one)) => (one == arch).then_some((part, limit)),
            (part, None) => (!self.budgets.contains_key(&format!("{part}@{arch}"))).then_some((part, limit)),
        })
    }
}

/// A budget's part, and its architecture when the budget is for one only.
pub(crate) fn part_of(name: &str) -> (&str, Option<Arch>) {
    let one =
        name.split_once('@').and_then(|(part, arch)| Some((part, Arch::ALL.into_iter().find(|a| a.as_str() == arch)?)));
    one.map_or((name, None), |(part, arch)| (part, Some(arch)))
}

/// The Xen hypervisor and its arguments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Xen {
    /// Settings of one architecture.
    #[schemars(with = "BTreeMap<crate::schema::ArchName, XenArch>")]
    pub arch: BTreeMap<Arch, XenArch>,
    /// Arguments of the hypervisor on every architecture.
    #[serde(default)]
    pub cmdline: Vec<String>,
}

/// The hypervisor of one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct XenArch {
    /// Debian packages with the hypervisor as EFI program.
    pub debs: Vec<Located<Deb>>,
    /// Further arguments, such as the serial console's name.
    #[serde(default)]
    pub cmdline: Vec<String>,
}

/// A flavour's additions to the root image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HvRootfs {
    /// Further Debian packages.
    #[serde(default)]
    pub debs: Vec<Located<Deb>>,
    /// Debian packages to leave out although others depend on them, here and in everything on top: name → reason.
    #[serde(default)]
    pub without: BTreeMap<String, Located<String>>,
    /// Debian alternatives: path of the common name → path of the program that takes the role.
    #[serde(default)]
    pub alternatives: BTreeMap<String, Located<String>>,
    /// Further packages of `pkg/` whose programs and files go into the root image itself.
    #[serde(default)]
    pub packages: Vec<Located<String>>,
    /// Files for other processors, such as firmware of guests. The builder does not check their architecture, nor that
    /// of `usr/lib/firmware/**`.
    #[serde(default)]
    pub foreign: Vec<Located<PathGlob>>,
    /// Further units.
    #[serde(default)]
    pub units: Units,
    /// Folder below `hv/` with files to put into the root image as they are.
    #[serde(default)]
    pub files: Option<Located<String>>,
}

/// A flavour's additions for the kernel.
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
