//! Compares an image's sizes with budgets and layouts.

use crate::{Error, Part, Project, Target, Targets};
use ::disk::fat;
use ::size::{Fit, Kind, MustFit, Node, PartFit, Report};
use defs::{Definitions, DiskLayout, PartitionType};
use graph::{Built, Cache};
use std::cmp::Reverse;
use types::Bytes;

/// The sizes of a built image, with the limits of its flavour.
///
/// # Errors
/// When the tree of sizes is missing or unreadable.
pub fn report(
    project: &Project,
    target: Target,
    cache: &Cache,
    targets: &Targets,
    built: &Built,
) -> Result<Report, Error> {
    let sizes = cache.cas().read(&targets.digest(Part::Sizes, built)?)?;
    let step = targets.part(Part::Sizes)?.0;
    let tree: Node =
        serde_json::from_slice(&sizes).map_err(|source| Error::Sizes { step: step.to_string(), source })?;
    let hv = project.defs.flavour(target.flavour)?;
    let limits = hv.limits(target.arch).map(|(name, limit)| (name.to_owned(), limit.at.to_string(), limit.value));
    let must_fit = hv.must_fit.iter().map(|(role, layout)| MustFit {
        part: role.as_str().to_owned(),
        layout: layout.value.clone(),
        place: layout.at.to_string(),
    });
    let fits = (fits(&project.defs, &tree)?, must_fit.collect());
    Ok(Report::new(project.full_version(target), limits, fits, tree))
}

/// An image compared with all layouts: ours, then EVE's, the newest first.
fn fits(defs: &Definitions, tree: &Node) -> Result<Vec<Fit>, Error> {
    let stored = |kind, name| tree.find(kind, name).map_or(Bytes(0), |node| node.stored);
    let own = defs.layouts.get(&defs.rootfs.layout.value);
    let own_esp = own.and_then(|layout| layout.size(PartitionType::Esp)).unwrap_or_default();
    // an update writes its EFI program beside the running one
    let esp = stored(Kind::Partition, "esp").0.saturating_sub(fat::overhead(own_esp)?.0);
    let needs = [
        (PartitionType::Slot, stored(Kind::Partition, "store")),
        (PartitionType::Esp, Bytes(esp) + stored(Kind::File, "uki")),
        (PartitionType::Config, stored(Kind::Partition, "config")),
    ];
    let mut layouts: Vec<_> = defs.layouts.iter().collect();
    layouts.sort_by_key(|(_, layout)| (layout.since.is_some(), Reverse(layout.since)));
    let fit = |(name, layout): (&String, &DiskLayout)| -> Result<Fit, Error> {
        let mut parts = Vec::new();
        for (role, needs) in needs {
            let Some(mut has) = layout.size(role) else { continue };
            if role == PartitionType::Esp {
                has = Bytes(has.0 - fat::overhead(has)?.0);
            }
            parts.push(PartFit { part: role.as_str().to_owned(), needs, has });
        }
        let since = layout.since.map(|v| v.to_string());
        Ok(Fit { layout: name.clone(), summary: layout.summary.clone(), since, parts })
    };
    layouts.into_iter().map(fit).collect()
}
