//! The sizes of an image's parts: the tree, budgets, layouts, and renderings.
//!
//! ```text
//! image
//! ├ store   the slot: every component of the flavour, documents and file system, verity tree   ── budget `store`
//! │ ├ root, base, time, kube, …   a component: the layers of one package, or of the root       ── budgets by name
//! │ │ └ layer ─ Debian package ─ folder ─ file
//! ├ esp ─ uki ─ kernel, initramfs, EFI stub                                                    ── budgets `esp`, `uki`
//! └ config
//! ```
//! Every node has two sizes: `stored`, the bytes in the image with its compression, and `plain`, the bytes of its
//! files. Children add up to their parent: inodes, folders, block padding and hash trees are nodes of their own. A
//! layer of several images appears once, in its component.
//!
//! Deliberately absent: reading blobs (`crates/steps` does it and builds the tree), and the values of budgets and
//! layouts.

mod budget;
mod fit;
mod html;
mod text;
mod tree;

pub use budget::{Budget, OverBudget};
pub use fit::{DoesNotFit, Fit, MustFit, PartFit, verdict};
pub use html::page;
pub use text::{Depth, binary, text};
pub use tree::{Kind, Node};

use serde::{Deserialize, Serialize};
use types::Bytes;

/// `size.json`: the sizes of one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// Version of this document's form.
    pub format: u32,
    /// `<version>-<flavour>-<arch>`
    pub version: String,
    /// The budgets.
    pub budgets: Vec<Budget>,
    /// The image compared with the layouts of devices, the newest first.
    pub fits: Vec<Fit>,
    /// The layouts that it must fit.
    pub must_fit: Vec<MustFit>,
    /// The image.
    pub tree: Node,
}

impl Report {
    /// Compares parts with their budgets: name, place of the limit, limit. A missing part has the size 0.
    #[must_use]
    pub fn new(
        version: String,
        limits: impl IntoIterator<Item = (String, String, Bytes)>,
        (fits, must_fit): (Vec<Fit>, Vec<MustFit>),
        tree: Node,
    ) -> Self {
        let budget = |(name, place, limit): (String, String, Bytes)| {
            let size = part_node(&tree, &name).map_or(Bytes(0), |part| part.stored);
            Budget { name, place, limit, size }
        };
        let mut budgets: Vec<Budget> = limits.into_iter().map(budget).collect();
        budgets.sort_by(|a, b| (b.size, &a.name).cmp(&(a.size, &b.name)));
        Self { format: 1, version, budgets, fits, must_fit, tree }
    }

    /// Every part that is over its budget, the largest first.
    #[must_use]
    pub fn over(&self) -> Vec<OverBudget> {
        let parts = self.budgets.iter().filter_map(|budget| Some((budget, part_node(&self.tree, &budget.name)?)));
        parts.filter_map(|(budget, part)| budget.check(part).err()).collect()
    }

    /// Every part that is too large for a layout that it must fit.
    #[must_use]
    pub fn misfits(&self) -> Vec<DoesNotFit> {
        let misfit = |must: &MustFit| {
            let fit = self.fits.iter().find(|fit| fit.layout == must.layout)?;
            let part = fit.part(&must.part).filter(|part| !part.fits())?.clone();
            let node = part_node(&self.tree, if must.part == "slot" { "store" } else { &must.part })?;
            Some(DoesNotFit { must: must.clone(), part, largest: budget::largest(node) })
        };
        self.must_fit.iter().filter_map(misfit).collect()
    }
}

/// The node of a budget: a partition, a component, or the EFI program.
fn part_node<'t>(tree: &'t Node, name: &str) -> Option<&'t Node> {
    [Kind::Partition, Kind::Component, Kind::File].into_iter().find_map(|kind| tree.find(kind, name))
}
