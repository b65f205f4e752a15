use crate::{Deb, Group, Located, PathGlob, User};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use std::{collections::BTreeMap, fmt};
use store::ServiceSpec;
use types::Arch;

/// `pkg/<name>/pkg.yml`: the content of one OCI image, and how the device runs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// The folder's name; the image is `evek.local/<name>:<version>`.
    pub name: Located<String>,
    /// One line for people.
    pub summary: String,
    /// The package whose layers come first in the image, shared with all others on the same base.
    #[serde(default)]
    pub base: Option<Located<String>>,
    /// Debian packages by name, without version, such as `curl` or `qemu-system-x86 [amd64]`. Their dependencies come
    /// along.
    #[serde(default)]
    pub debs: Vec<Located<Deb>>,
    /// Debian packages to leave out although others depend on them, here and in everything on top: name → reason.
    #[serde(default)]
    pub without: BTreeMap<String, Located<String>>,
    /// Binaries of the Rust crate in this folder: a name, or a name with a place.
    #[serde(default)]
    pub rust: Vec<Program>,
    /// Programs built from Go modules below this folder.
    #[serde(default)]
    pub go: Vec<GoProgram>,
    /// Folder with files to put into the image as they are; `files` where absent and there is one.
    #[serde(default)]
    pub files: Option<Located<String>>,
    /// Users by name.
    #[serde(default)]
    pub users: BTreeMap<String, User>,
    /// Groups by name.
    #[serde(default)]
    pub groups: BTreeMap<String, Group>,
    /// Debian alternatives: path of the common name → the program behind it, as the target of a symbolic link.
    #[serde(default)]
    pub alternatives: BTreeMap<String, Located<String>>,
    /// Symbolic links: path → target.
    #[serde(default)]
    pub links: BTreeMap<String, Located<String>>,
    /// Paths of Debian packages to leave out, such as `usr/share/doc/**`.
    #[serde(default)]
    pub drop: Vec<Located<PathGlob>>,
    /// Files for other processors, such as firmware of guests. The builder does not check their architecture, nor that
    /// of `usr/lib/firmware/**`.
    #[serde(default)]
    pub foreign: Vec<Located<PathGlob>>,
    /// File capabilities: path → capabilities in setcap's notation, such as `cap_net_raw+ep`.
    #[serde(default)]
    pub caps: BTreeMap<String, Located<String>>,
    /// The OCI image configuration.
    #[serde(default)]
    pub image: Option<ImageConfig>,
    /// Tag of the image, such as `1.12.4`; the version of the whole build where absent.
    #[serde(default)]
    pub version: Option<Located<String>>,
    /// How the device runs it; absent for a package without a unit of its own.
    #[serde(default)]
    pub service: Option<Located<ServiceSpec>>,
    /// Builds an initramfs with these modules, whose first program is the package's first binary; see `guest`.
    #[serde(default)]
    pub initramfs: Option<Located<GuestInitramfs>>,
    /// Name of a package with `initramfs`, for a package that runs virtual machines. The builder puts this build's
    /// kernel and the initramfs into the image, as `/usr/share/guest/vmlinuz` and `/usr/share/guest/initrd`.
    #[serde(default)]
    pub guest: Option<Located<String>>,
    /// Architectures it exists for; all where absent.
    #[serde(default)]
    #[schemars(with = "Option<Vec<crate::schema::ArchName>>")]
    pub arch: Option<Vec<Arch>>,
}

/// The modules of a guest's initramfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GuestInitramfs {
    /// Modules to load, by name, in this order. The modules on which they depend come along.
    pub modules: Vec<Located<String>>,
    /// Further modules of one architecture.
    #[serde(default)]
    #[schemars(with = "BTreeMap<crate::schema::ArchName, Vec<String>>")]
    pub arch: BTreeMap<Arch, Vec<Located<String>>>,
}

/// The default folder of programs.
fn usr_bin() -> String {
    "/usr/bin".to_owned()
}

/// A binary of a Rust crate. The name alone is the short form of `{bin: name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Program {
    /// Name of the binary in Cargo.toml.
    pub bin: Located<String>,
    /// Its folder in the image.
    #[schemars(default = "usr_bin")]
    pub path: String,
    /// The package with the crate, where it is another package.
    #[schemars(default)]
    pub package: Option<Located<String>>,
}

impl<'de> Deserialize<'de> for Program {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Long {
            bin: Located<String>,
            #[serde(default = "usr_bin")]
            path: String,
            #[serde(default)]
            package: Option<Located<String>>,
        }
        enum Choice {
            Name(String),
            Long(Long),
        }
        struct Either;
        impl<'de> de::Visitor<'de> for Either {
            type Value = Choice;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a binary, or {bin: name, path: folder, package: name}")
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Choice, E> {
                Ok(Choice::Name(name.to_owned()))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Choice, A::Error> {
                Long::deserialize(de::value::MapAccessDeserializer::new(map)).map(Choice::Long)
            }
        }
        impl<'de> Deserialize<'de> for Choice {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                d.deserialize_any(Either)
            }
        }
        let Located { value, at } = Located::<Choice>::deserialize(d)?;
        Ok(match value {
            Choice::Name(name) => Self { bin: Located::new(name, at), path: usr_bin(), package: None },
            Choice::Long(Long { bin, path, package }) => Self { bin, path, package },
        })
    }
}

/// A program built from a Go module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GoProgram {
    /// Folder of the package that holds `go.mod` and `go.sum`.
    pub dir: Located<String>,
    /// Name of the binary.
    pub bin: Located<String>,
    /// The argument of `go build`; `.` where absent.
    #[serde(default)]
    pub package: Option<String>,
    /// Build tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// String variables set by the linker (`-X`): import path and name → value.
    #[serde(default)]
    pub vars: BTreeMap<String, String>,
    /// Links with C libraries. Where absent, the binary is static and has none.
    #[serde(default)]
    pub cgo: bool,
    /// Its folder in the image.
    #[serde(default = "usr_bin")]
    pub path: String,
}

/// The part of the OCI image configuration with a runtime's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageConfig {
    /// Program and first arguments.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// Further arguments, which the caller of the container may replace.
    #[serde(default)]
    pub cmd: Vec<String>,
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// User by name or number, with `:group` for another group than the user's own; root where absent.
    #[serde(default)]
    pub user: Option<String>,
    /// Folder that the program starts in; `/` where absent.
    #[serde(default)]
    pub workdir: Option<String>,
    /// Labels of the image.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}
