use crate::{Deb, FlavourName, Located, PathGlob};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::Arch;

/// `kernel/kernel.yml`: which kernel, with which arguments, modules and firmware.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// One line for people.
    pub summary: String,
    /// Where the kernel comes from.
    #[serde(default)]
    pub source: KernelSource,
    /// How `source: build` builds it. The lock holds the sources in either case.
    #[serde(default)]
    pub build: Option<KernelBuild>,
    /// Settings of one architecture.
    #[schemars(with = "BTreeMap<crate::schema::ArchName, KernelArch>")]
    pub arch: BTreeMap<Arch, KernelArch>,
    /// Arguments of the kernel on every architecture.
    #[serde(default)]
    pub cmdline: Vec<String>,
    /// Modules that the first stage loads, by name. The modules on which they depend come along.
    #[serde(default)]
    pub initramfs: Vec<Located<String>>,
    /// Which modules go into the root image.
    #[serde(default)]
    pub modules: Modules,
    /// Debian packages with firmware files. The image takes only the files that a kept module names.
    #[serde(default)]
    pub firmware: Vec<Located<Deb>>,
    /// Debian packages with the boot loader and the EFI stub of kernel images.
    #[serde(default)]
    pub boot: Vec<Located<Deb>>,
    /// Debian packages with shim and MokManager, signed by others, for images that start with shim.
    #[serde(default)]
    pub shim: Vec<Located<Deb>>,
}

/// Where the kernel comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KernelSource {
    /// Debian's own image package, which `arch.<name>.debs` names.
    #[default]
    Debian,
    /// Compiled from Debian's source package, by the settings in `build`.
    Build,
}

/// How the kernel is built from source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KernelBuild {
    /// The Debian package with the source, such as `linux-source-6.12`.
    pub deb: Located<Deb>,
    /// The configuration that the fragments change.
    #[serde(default)]
    pub base: ConfigBase,
    /// Files beside kernel.yml with options, `CONFIG_X=y` or `# CONFIG_X is not set`; a later line wins. The build
    /// fails when the final configuration differs from one of them.
    #[serde(default)]
    pub fragments: Vec<Located<String>>,
}

/// The configuration to start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConfigBase {
    /// The configuration in Debian's image package: thousands of modules, hours of compiling.
    Debian,
    /// The kernel's own choice for the architecture.
    #[default]
    Defconfig,
    /// Next to nothing: the fragments set everything.
    Tinyconfig,
}

/// The kernel of one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KernelArch {
    /// Debian packages with the kernel and its modules.
    pub debs: Vec<Located<Deb>>,
    /// Fragments for this architecture alone, after those of `build`.
    #[serde(default)]
    pub fragments: Vec<Located<String>>,
    /// Debian packages with microcode that the kernel gives the processor before anything else.
    #[serde(default)]
    pub microcode: Vec<Located<Deb>>,
    /// Further arguments, such as the serial console's name.
    #[serde(default)]
    pub cmdline: Vec<String>,
    /// Further modules that the first stage loads.
    #[serde(default)]
    pub initramfs: Vec<Located<String>>,
}

/// Which modules the image keeps: all that no pattern drops. A module that depends on a dropped one is dropped too.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Modules {
    /// Paths left out, below `usr/lib/modules/<release>/`, such as `kernel/sound/**`.
    #[serde(default)]
    pub drop: Vec<Located<PathGlob>>,
    /// Paths kept although a pattern of `drop` matches them.
    #[serde(default)]
    pub keep: Vec<Located<PathGlob>>,
}

/// `kernel/lint.yml`: the kernel options that the programs of the image need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lint {
    /// One line for people.
    pub summary: String,
    /// The needs, by program.
    pub needs: Vec<Needs>,
}

/// The kernel options that one program, or one part of the image, needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Needs {
    /// The program or part, such as `containerd`.
    pub who: String,
    /// The flavours that contain it; all where absent.
    #[serde(default)]
    #[schemars(with = "Option<Vec<crate::schema::FlavourName>>")]
    pub flavours: Option<Vec<FlavourName>>,
    /// The architectures that need it; all where absent.
    #[serde(default)]
    #[schemars(with = "Option<Vec<crate::schema::ArchName>>")]
    pub arch: Option<Vec<Arch>>,
    /// The options.
    pub options: Vec<NeededOption>,
}

/// A kernel option that must have one of some values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NeededOption {
    /// Its name without `CONFIG_`.
    pub name: Located<String>,
    /// The accepted values.
    #[serde(default = "built_in_or_module")]
    pub is: Vec<OptionValue>,
    /// The module that the option builds, where `m` is accepted. The image must not drop it.
    #[serde(default)]
    pub module: Option<String>,
    /// The reason.
    pub why: String,
}

fn built_in_or_module() -> Vec<OptionValue> {
    vec![OptionValue::Y, OptionValue::M]
}

/// The value of a kernel option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OptionValue {
    /// Built in.
    Y,
    /// A module.
    M,
    /// Not set.
    N,
}

impl OptionValue {
    /// As in a configuration: `y`, `m`, `n`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Y => "y",
            Self::M => "m",
            Self::N => "n",
        }
    }
}
