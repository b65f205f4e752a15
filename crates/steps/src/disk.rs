//! Volumes and whole disks.

use ::disk::{Guid, Layout, Partition, PartitionType, extents, fat};
use defs::{Definitions, ImageDef, PartitionContent};
use graph::{Ctx, StepError};
use std::{
    fs::File,
    path::{Path, PathBuf},
};
use tree::Tree;
use types::{Bytes, Digest};

/// The version of the step: raise it when the same definition would give another CONFIG volume.
pub(crate) const CONFIG_VERSION: u32 = 1;

/// Writes a FAT volume without the free room at its end, which the partition's size restores as a hole.
pub(crate) fn volume(path: &Path, tree: &Tree, size: Bytes, label: &str) -> Result<(), StepError> {
    let file = File::options().read(true).write(true).create_new(true).open(path)?;
    let mut id = [0; 4];
    id.copy_from_slice(&Digest::of(label.as_bytes()).as_bytes()[..4]);
    fat::write(&file, &fat::Volume { size, label: label.to_owned(), id: u32::from_le_bytes(id) }, tree)?;
    let used = extents(&file)?.last().map_or(0, |range| range.end);
    file.set_len(used)?;
    Ok(())
}

/// Writes the EFI system partition of these files, in the form of every image.
///
/// # Errors
/// When the files do not fit, or writing fails.
pub fn esp_volume(path: &Path, files: &Tree, size: Bytes) -> Result<(), StepError> {
    volume(path, files, size, "EFI")
}

/// Writes the partition CONFIG with these files, in the form of every image.
///
/// # Errors
/// When the files do not fit, or writing fails.
pub fn config_volume(path: &Path, files: &Tree, size: Bytes) -> Result<(), StepError> {
    volume(path, files, size, "CONFIG")
}

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Config {
    pub(crate) size: Bytes,
}

/// No inputs; output `config`, an empty volume for the owner's files.
pub(crate) fn config(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let params: Config = ctx.params()?;
    config_volume(&ctx.out_blob("config"), &Tree::default(), params.size)
}

/// The content files of partitions.
pub(crate) struct Contents {
    pub(crate) esp: PathBuf,
    pub(crate) slot: PathBuf,
    pub(crate) config: PathBuf,
    pub(crate) root_hash: Digest,
}

/// A partition's type in the partition table.
pub(crate) fn kind(role: defs::PartitionType) -> PartitionType {
    match role {
        defs::PartitionType::Esp => PartitionType::EfiSystem,
        defs::PartitionType::Slot => PartitionType::Image,
        defs::PartitionType::Config => PartitionType::Config,
        defs::PartitionType::Persist => PartitionType::Persist,
    }
}

/// The disk of an image definition, with its contents.
pub(crate) fn layout(defs: &Definitions, image: &ImageDef, contents: &Contents) -> Layout {
    let partitions = defs.partitions(image).into_iter().map(|p| {
        let (content, guid) = match p.content {
            PartitionContent::Esp => (Some(contents.esp.clone()), None),
            PartitionContent::Store => (Some(contents.slot.clone()), Some(Guid::of_root_hash(contents.root_hash))),
            PartitionContent::Config => (Some(contents.config.clone()), None),
            PartitionContent::Empty => (None, None),
        };
        Partition {
            number: p.number,
            label: p.label.clone(),
            kind: kind(p.role),
            guid: guid.unwrap_or_else(|| Guid::of_name(&p.label)),
            size: p.size,
            attributes: 0,
            content,
        }
    });
    Layout { guid: Guid::of_name("disk"), size: image.size, partitions: partitions.collect() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The layouts repeat type GUIDs for readers; they equal those of the format's crate.
    #[test]
    fn the_layouts_have_the_type_guids_that_are_written() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let defs = Definitions::read(&root).unwrap();
        for (name, layout) in &defs.layouts {
            for partition in &layout.partitions {
                let written: Guid = partition.guid.parse().unwrap();
                assert_eq!(written, kind(partition.role).guid(), "{name}: {}", partition.label);
            }
        }
    }
}
