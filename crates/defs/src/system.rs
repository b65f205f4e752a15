use crate::{Deb, Group, Located, PathGlob, User};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `rootfs/rootfs.yml`: the base operating system, which every flavour has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rootfs {
    /// One line for people.
    pub summary: String,
    /// The package whose layers come first in the root image, shared with the containers on the same base.
    #[serde(default)]
    pub base: Option<Located<String>>,
    /// Debian packages by name. Their dependencies come along.
    #[serde(default)]
    pub debs: Vec<Located<Deb>>,
    /// Debian packages to leave out although others depend on them, here and in everything on top: name → reason.
    #[serde(default)]
    pub without: BTreeMap<String, Located<String>>,
    /// Packages of `pkg/` whose programs and files go into the root image itself.
    #[serde(default)]
    pub packages: Vec<Located<String>>,
    /// Users by name.
    #[serde(default)]
    pub users: BTreeMap<String, User>,
    /// Groups by name.
    #[serde(default)]
    pub groups: BTreeMap<String, Group>,
    /// Which systemd units start.
    #[serde(default)]
    pub units: Units,
    /// Debian alternatives: path of the common name → the program behind it, as the target of a symbolic link.
    #[serde(default)]
    pub alternatives: BTreeMap<String, Located<String>>,
    /// Symbolic links: path → target.
    #[serde(default)]
    pub links: BTreeMap<String, Located<String>>,
    /// Paths of Debian packages to leave out, such as `usr/share/doc/**`.
    #[serde(default)]
    pub drop: Vec<Located<PathGlob>>,
    /// Conflicts of two Debian packages about one path, where neither replaces the other: path → package that wins.
    #[serde(default)]
    pub prefer: BTreeMap<String, Located<String>>,
    /// Files for other processors, such as firmware of guests. The builder does not check their architecture, nor that
    /// of `usr/lib/firmware/**`.
    #[serde(default)]
    pub foreign: Vec<Located<PathGlob>>,
    /// File capabilities: path → capabilities in setcap's notation, such as `cap_net_raw+ep`.
    #[serde(default)]
    pub caps: BTreeMap<String, Located<String>>,
    /// Folder with files to put into the image as they are; `files` where absent and there is one.
    #[serde(default)]
    pub files: Option<Located<String>>,
    /// Empty folders, such as mount points: nothing can make them later on a read-only root.
    #[serde(default)]
    pub folders: Vec<String>,
    /// The layout of a device's disk, a file of `layouts/`: systemd-repart makes what the disk lacks of it.
    pub layout: Located<String>,
    /// The product's part of the names of devices: they are called `<hostname>-<8 digits>`.
    #[serde(default)]
    pub hostname: Option<String>,
    /// Fields of /etc/os-release; the builder adds the version.
    #[serde(default)]
    pub os_release: BTreeMap<String, String>,
}

/// Which systemd units start, in the terms of `systemctl enable`, `mask` and `set-default`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Units {
    /// Units that the targets in their `[Install]` section start.
    #[serde(default)]
    pub enable: Vec<Located<String>>,
    /// Units that can never start.
    #[serde(default)]
    pub mask: Vec<Located<String>>,
    /// The target that the machine boots to.
    #[serde(default)]
    pub default: Option<Located<String>>,
}
