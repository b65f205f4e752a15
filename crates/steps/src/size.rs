//! Measures the parts of an image, by reading its blobs.

use crate::slot::Root;
use ::size::{Kind, Node};
use graph::{Ctx, StepError};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::Path,
};
use types::Bytes;

/// The version of the step: raise it when the same blobs would give another tree.
pub(crate) const VERSION: u32 = 1;

/// The inputs' names.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Size {
    /// A component's layers, in the order in which they lie on each other.
    pub(crate) components: BTreeMap<String, Vec<LayerOf>>,
}

/// A layer of a component: inputs `erofs/<name>` and, where it is of Debian packages, `origins/<name>`.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct LayerOf {
    pub(crate) name: String,
    /// The images of the store with this layer.
    pub(crate) images: Vec<String>,
}

/// The Debian package of each file, as `debs` steps write it.
pub(crate) type Origins = BTreeMap<String, Vec<String>>;

/// Inputs of [`LayerOf`], `root`, `slot`, `initrd`, `uki`, `esp`, `config`; output `tree` ([`Node`] as JSON).
pub(crate) fn size(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let params: Size = ctx.params()?;
    let components = params.components.iter().map(|(name, layers)| component(ctx, name, layers));
    let components = components.collect::<Result<Vec<_>, _>>()?;
    let partition = |name: &str, stored, rest, parts| Node::whole(Kind::Partition, name, stored, rest, parts);
    let tree = Node::sum(
        Kind::Image,
        "image",
        vec![
            store(ctx, components)?,
            partition("esp", length(ctx, "esp")?, "boot loader and file system", vec![uki(ctx)?]),
            partition("config", length(ctx, "config")?, "file system", vec![]),
        ],
    );
    ctx.put("tree", &serde_json::to_vec(&tree)?)?;
    Ok(())
}

fn length(ctx: &Ctx<'_>, label: &str) -> Result<Bytes, StepError> {
    Ok(Bytes(fs::metadata(ctx.input(label)?)?.len()))
}

/// The slot: its components, then documents, file system and verity tree.
fn store(ctx: &Ctx<'_>, components: Vec<Node>) -> Result<Node, StepError> {
    let root: Root = serde_json::from_slice(&fs::read(ctx.input("root")?)?)?;
    let slot = length(ctx, "slot")?;
    let tree = Bytes(slot.0.saturating_sub(root.data_blocks * erofs::BLOCK));
    let mut parts = components;
    parts.push(Node::leaf(Kind::Structure, "dm-verity tree", tree, Bytes(0)));
    Ok(Node::whole(Kind::Partition, "store", slot, "OCI documents and file system", parts))
}

fn component(ctx: &Ctx<'_>, name: &str, layers: &[LayerOf]) -> Result<Node, StepError> {
    let layers = layers.iter().map(|of| {
        ctx.check()?;
        let node = layer(ctx, &of.name)?;
        Ok(if of.images.len() > 1 { node.noted(format!("shared by {}", of.images.join(", "))) } else { node })
    });
    Ok(Node::sum(Kind::Component, name, layers.collect::<Result<Vec<_>, StepError>>()?))
}

/// A layer with the blocks of each file. Files of Debian packages come by package.
fn layer(ctx: &Ctx<'_>, name: &str) -> Result<Node, StepError> {
    let blob = format!("erofs/{name}");
    let files = erofs::files(&ctx.input(&blob)?)?.into_iter().map(|f| (f.path, f.stored, f.plain));
    let origins = format!("origins/{name}");
    let parts = if ctx.labels(&origins).any(|label| label == origins) {
        let origins: Origins = serde_json::from_slice(&fs::read(ctx.input(&origins)?)?)?;
        by_package(files, &origins)
    } else {
        Node::folders(files)
    };
    Ok(Node::whole(Kind::Layer, name, length(ctx, &blob)?, "inodes, folders and padding", parts))
}

fn by_package(files: impl Iterator<Item = (String, Bytes, Bytes)>, origins: &Origins) -> Vec<Node> {
    let package_of: BTreeMap<&str, &str> =
        origins.iter().flat_map(|(package, paths)| paths.iter().map(move |p| (p.as_str(), package.as_str()))).collect();
    let mut packages: BTreeMap<Option<&str>, Vec<_>> = BTreeMap::new();
    for file in files {
        packages.entry(package_of.get(file.0.as_str()).copied()).or_default().push(file);
    }
    let node = |(package, files): (Option<&str>, Vec<_>)| match package {
        Some(name) => Node::sum(Kind::Package, name, Node::folders(files)),
        None => Node::sum(Kind::Folder, "made by the build", Node::folders(files)),
    };
    packages.into_iter().map(node).collect()
}

/// The EFI program by its sections; the initramfs also by its unpacked files.
fn uki(ctx: &Ctx<'_>) -> Result<Node, StepError> {
    let image = fs::read(ctx.input("uki")?)?;
    let initrd = ctx.labels("initrd").next().map(|label| ctx.input(label)).transpose()?;
    let unpacked = initrd.map_or(Ok(0), |path| unpacked(&path))?;
    let mut parts = Vec::new();
    for section in boot::pe::sections(&image)? {
        let stored = Bytes(section.data.len() as u64);
        let (name, plain) = match section.name {
            ".linux" | ".kernel" => ("kernel", stored),
            ".initrd" | ".ramdisk" => ("initramfs", Bytes(unpacked.max(stored.0))),
            ".ucode" => ("microcode", stored),
            _ => continue,
        };
        parts.push(Node::leaf(Kind::File, name, stored, plain));
    }
    Ok(Node::whole(Kind::File, "uki", Bytes(image.len() as u64), "EFI stub and texts", parts))
}

/// The unpacked length of a zstd archive.
fn unpacked(archive: &Path) -> io::Result<u64> {
    io::copy(&mut zstd::Decoder::new(File::open(archive)?)?, &mut io::sink())
}
