//! A slot's bytes: the store as plain EROFS, and the verity tree behind it.

use defs::ImageConfig;
use graph::{Ctx, StepError};
use oci::{
    image::{ImageSpec, Layer},
    layer::LayerDigest,
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufWriter},
};
use store::{NewImage, Role, ServiceSpec};
use types::{Arch, Bytes, Digest};

/// The version of the step: raise it when the same layers would give another store.
pub(crate) const VERSION: u32 = 2;

/// An image of the store.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Image {
    /// Full name, `evek.local/kube:0.1.0`.
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) config: ImageConfig,
    /// The names of its layers, the lowest first: inputs `tar/<name>` and `erofs/<name>`.
    pub(crate) layers: Vec<String>,
    pub(crate) service: Option<ServiceSpec>,
}

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Store {
    pub(crate) arch: Arch,
    pub(crate) images: Vec<Image>,
}

/// The kernel's arguments for a slot.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Root {
    /// Root hash of the verity tree.
    pub root_hash: Digest,
    /// Length of the store, in blocks of 4096 bytes.
    pub data_blocks: u64,
}

/// The parts of a store, which a device fetches one by one.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct StoreParts {
    /// `index.json`.
    pub index: String,
    /// Manifests and configurations, as JSON.
    pub documents: Vec<String>,
    /// Layers, with their sizes.
    pub layers: Vec<(Digest, Bytes)>,
}

/// Inputs `tar/<layer>`, `erofs/<layer>`; outputs `slot`, `root` ([`Root`] as JSON) and `store` ([`StoreParts`] as JSON).
pub(crate) fn slot(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let params: Store = ctx.params()?;
    let images = params.images.iter().map(|image| new_image(ctx, params.arch, image)).collect::<Result<Vec<_>, _>>()?;
    let layout = store::plan(&images)?;
    let parts = StoreParts {
        index: String::from_utf8(layout.index.clone())?,
        documents: layout.documents.values().cloned().map(String::from_utf8).collect::<Result<_, _>>()?,
        layers: layout.layers.iter().map(|(digest, size)| (*digest, *size)).collect(),
    };
    ctx.put("store", &serde_json::to_vec(&parts)?)?;
    let contents = slots::Contents::new(&layout, |digest| ctx.cas().path(digest))?;
    let path = ctx.out_blob("slot");
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    let mut out = BufWriter::with_capacity(1 << 20, &file);
    contents.plan()?.write(&mut out)?;
    io::Write::flush(&mut out)?;
    drop(out);
    ctx.check()?;
    let verity = verity::append(&file)?;
    let root = Root { root_hash: verity.root_hash, data_blocks: verity.data_blocks };
    ctx.put("root", &serde_json::to_vec(&root)?)?;
    Ok(())
}

fn new_image(ctx: &Ctx<'_>, arch: Arch, image: &Image) -> Result<NewImage, StepError> {
    let mut layers = Vec::new();
    let mut blobs = Vec::new();
    for layer in &image.layers {
        let size = |label: &str| -> Result<Bytes, StepError> { Ok(Bytes(fs::metadata(ctx.input(label)?)?.len())) };
        let (tar, erofs) = (format!("tar/{layer}"), format!("erofs/{layer}"));
        let digest = ctx.input_digest(&tar)?;
        layers.push(Layer::tar(LayerDigest { digest, size: size(&tar)? }, layer));
        blobs.push((ctx.input_digest(&erofs)?, size(&erofs)?));
    }
    let spec = ImageSpec {
        name: image.name.clone(),
        arch,
        config: image.config.clone(),
        layers,
        annotations: BTreeMap::new(),
    };
    Ok(NewImage {
        name: image.name.parse()?,
        role: image.role,
        config: oci::image::Image::new(spec)?.config,
        layers: blobs,
        service: image.service.clone(),
    })
}
