//! An OCI image layout in a folder (OCI image-spec 1.1, image-layout.md), for skopeo, umoci and registries.
//!
//! ```text
//! <folder>/oci-layout  index.json  blobs/sha256/<hex>
//! ```

use crate::{
    Error,
    image::{Image, canonical_json},
};
use oci_spec::image::{ImageIndexBuilder, MediaType};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};
use types::Digest;

/// The content of the file `oci-layout`.
pub const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Writes images into a folder, which is made where needed. `blob` says where the bytes of a layer are.
///
/// # Errors
/// When a layer is not where `blob` says, or something cannot be written.
pub fn write(folder: &Path, images: &[Image], blob: impl Fn(&Digest) -> PathBuf) -> Result<(), Error> {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(at(&blobs))?;
    for image in images {
        for bytes in [&image.config, &image.manifest] {
            put(&blobs.join(Digest::of(bytes).hex()), bytes)?;
        }
        for layer in &image.layers {
            let target = blobs.join(layer.blob.digest.hex());
            if !target.exists() {
                let source = blob(&layer.blob.digest);
                fs::copy(&source, &target).map_err(at(&source))?;
            }
        }
    }
    put(&folder.join("oci-layout"), OCI_LAYOUT)?;
    put(&folder.join("index.json"), &index(images)?)
}

/// The bytes of `index.json`, canonical JSON, images by name.
///
/// # Errors
/// When the OCI types refuse something.
pub fn index(images: &[Image]) -> Result<Vec<u8>, Error> {
    let mut images: Vec<&Image> = images.iter().collect();
    images.sort_by(|a, b| a.name.cmp(&b.name));
    let manifests = images.iter().map(|image| image.descriptor(&BTreeMap::new())).collect::<Result<Vec<_>, _>>()?;
    let bad = |reason: String| Error::Image { what: "index", name: "index.json".to_owned(), reason };
    let index = ImageIndexBuilder::default()
        .schema_version(2_u32)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests)
        .build()
        .map_err(|e| bad(e.to_string()))?;
    canonical_json(&index).map_err(|e| bad(e.to_string()))
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Layout { path, source }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        image::{Layer, tests::spec},
        layer::{tests::sample, write_tar},
    };

    /// skopeo judges such a layout in tests/tests/oracles.rs.
    #[test]
    fn every_blob_has_the_digest_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let tar = folder.path().join("layer.tar");
        let layer = write_tar(&sample(), fs::File::create(&tar).unwrap(), |_| ()).unwrap();
        let image = Image::new(spec(vec![Layer::tar(layer, "time")])).unwrap();
        let layout = folder.path().join("layout");
        write(&layout, &[image], |_| tar.clone()).unwrap();
        let mut names = Vec::new();
        for blob in fs::read_dir(layout.join("blobs/sha256")).unwrap() {
            let blob = blob.unwrap();
            let name = blob.file_name().into_string().unwrap();
            assert_eq!(Digest::of(&fs::read(blob.path()).unwrap()).hex(), name);
            names.push(name);
        }
        assert_eq!(names.len(), 3);
        let index: serde_json::Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "evek.local/time:0.1.0");
    }
}
