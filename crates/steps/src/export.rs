//! The images of a flavour as an OCI image layout of tar layers, for skopeo, umoci and registries.

use crate::{
    Error, Part, Targets,
    slot::{Image, Store},
};
use graph::{Built, Cache, Graph};
use oci::{
    image::{ImageSpec, Layer},
    layer::LayerDigest,
};
use std::{collections::BTreeMap, path::Path};

/// Writes the layout into a folder and returns the images' names. The configurations are those of the store: the same
/// images in another packing.
///
/// # Errors
/// When something cannot be written.
pub fn export_oci(
    cache: &Cache,
    graph: &Graph,
    targets: &Targets,
    built: &Built,
    folder: &Path,
) -> Result<Vec<String>, Error> {
    let (slot, _) = targets.part(Part::Slot)?;
    let missing = || graph::Error::UnknownStep { id: slot.clone(), wanted_by: None, like: vec![] };
    let step = graph.get(slot).ok_or_else(missing)?;
    let store: Store = serde_json::from_value(serde_json::Value::Object(step.params.clone()))
        .expect("the planner wrote these parameters from this type");
    let layer = |name: &String| -> Result<Layer, Error> {
        let Some(graph::Input::Step { step, output }) = step.inputs.get(&format!("tar/{name}")) else {
            return Err(missing().into());
        };
        let tar = built.get(step, output).ok_or_else(missing)?;
        Ok(Layer::tar(LayerDigest { digest: tar.digest, size: tar.size }, name))
    };
    let image = |image: &Image| -> Result<oci::image::Image, Error> {
        let layers = image.layers.iter().map(layer).collect::<Result<_, _>>()?;
        let (name, config) = (image.name.clone(), image.config.clone());
        let spec = ImageSpec { name, arch: store.arch, config, layers, annotations: BTreeMap::new() };
        Ok(oci::image::Image::new(spec)?)
    };
    let images = store.images.iter().map(image).collect::<Result<Vec<_>, _>>()?;
    oci::layout::write(folder, &images, |digest| cache.cas().path(digest))?;
    Ok(images.into_iter().map(|i| i.name).collect())
}
