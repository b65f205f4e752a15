use crate::{Deb, Located};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `xtask/toolbox.yml`: the Debian packages that build steps run their programs from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Toolbox {
    /// Names that any set may take from the backports suite, with their dependencies.
    #[serde(default)]
    pub backports: Vec<Located<String>>,
    /// The sets by name. A step names its set.
    pub sets: BTreeMap<String, ToolSet>,
}

/// One set of tools: a file tree that sandboxes run in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolSet {
    /// Debian packages by name. Their dependencies come along. A restriction such as `[amd64]` is about the host.
    pub debs: Vec<Located<Deb>>,
    /// Debian packages to leave out although others depend on them, here and in everything on top: name → reason.
    #[serde(default)]
    pub without: BTreeMap<String, Located<String>>,
    /// Symbolic links that a package script would have made: path → target, such as `/usr/bin/cc: gcc`.
    #[serde(default)]
    pub links: BTreeMap<String, Located<String>>,
    /// Names that this set takes from the backports suite.
    #[serde(default)]
    pub backports: Vec<Located<String>>,
}
