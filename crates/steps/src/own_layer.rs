//! Own layers: the topmost layer of a package or of the root, with our own programs and files, links, enabled units and
//! accounts. The names of their steps begin with `top/`.

use crate::layers::{lower, write_layer};
use defs::{Group, Located, PathGlob, Units, User};
use graph::{Ctx, StepError};
use std::{collections::BTreeMap, fs};
use tree::{Entry, Tree, TreePath};
use types::Arch;

/// The version of the step: raise it when the same programs and files would give another layer.
pub(crate) const VERSION: u32 = 1;

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct OwnLayer {
    pub(crate) arch: Arch,
    /// Programs: label of the input → path, such as `usr/bin/kube`.
    pub(crate) programs: BTreeMap<String, String>,
    /// Other files: label of the input → path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) blobs: BTreeMap<String, String>,
    pub(crate) links: BTreeMap<String, Located<String>>,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) caps: BTreeMap<String, Located<String>>,
    /// Empty folders.
    pub(crate) folders: Vec<String>,
    /// Small files generated from the definitions: path → text.
    pub(crate) texts: BTreeMap<String, String>,
    /// Units, in the order of enabling; a later default target wins.
    pub(crate) units: Vec<Units>,
    /// Files whose architecture is not checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) foreign: Vec<Located<PathGlob>>,
}

/// Inputs `lower/…`, `program/…`, others that the parameters name, and `files/<n>` (folders of the source tree, later
/// ones win); output `tar`.
pub(crate) fn own_layer(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let params: OwnLayer = ctx.params()?;
    let lower = lower(ctx)?;
    let mut full = lower.clone();
    for label in ctx.labels("files/") {
        full.merge(Tree::from_folder(&ctx.input(label)?)?)?;
    }
    for (mode, files) in [(0o755, &params.programs), (0o644, &params.blobs)] {
        for (label, path) in files {
            let file = ctx.input(label)?;
            let len = fs::metadata(&file)?.len();
            full.insert(TreePath::new(path)?, Entry::file_from(mode, file, len))?;
        }
    }
    for folder in &params.folders {
        full.insert(TreePath::new(folder)?, Entry::dir(0o755))?;
    }
    for (path, text) in &params.texts {
        full.insert(TreePath::new(path)?, Entry::file(0o644, text.clone().into_bytes()))?;
    }
    oci::finish::alternatives::links(&mut full, &params.links)?;
    if !params.users.is_empty() || !params.groups.is_empty() {
        oci::finish::accounts::apply(&mut full, &params.users, &params.groups)?;
    }
    oci::finish::capabilities::apply(&mut full, &params.caps)?;
    for units in &params.units {
        oci::finish::units::apply(&mut full, units)?;
    }
    write_layer(ctx, &full, &lower, params.arch, &params.foreign)
}
