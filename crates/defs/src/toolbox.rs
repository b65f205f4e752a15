use crate::{Deb, Located};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// `xtask/toolbox.yml`: the Debian packages that build steps run their programs from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Toolbox {
    /// Names that any set may take from the backports suite, with what they need in that version.
    #[serde(default)]
    pub backports: Vec<Located<String>>,
    /// The sets by name; a step names the one it runs in.
    pub sets: BTreeMap<String, ToolSet>,
}

/// One set of tools: a file tree that sandboxes run in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolSet {
    /// Debian packages by name; what they depend on comes with them. A restriction such as `[amd64]` is about the host.
    pub debs: Vec<Located<Deb>>,
    /// Debian packages that are left out although something depends on them, here and in everything on top: name → reason.
    #[serde(default)]
    pub without: BTreeMap<String, Located<String>>,
    /// Symbolic links that a package script would have made: path → target, such as `/usr/bin/cc: gcc`.
    #[serde(default)]
    pub links: BTreeMap<String, Located<String>>,
    /// Debian packages that keep a path which two of them bring, and neither replaces the other: path → package.
    #[serde(default)]
    pub prefer: BTreeMap<String, Located<String>>,
    /// Names that this set takes from the backports suite.
    #[serde(default)]
    pub backports: Vec<Located<String>>,
}
