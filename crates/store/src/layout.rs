use crate::{
    CONFIG, EROFS_LAYER, Error, INDEX, ImageConfig, ImageName, MANIFEST, NAME_ANNOTATION, ROLE_ANNOTATION, Role,
    SERVICE_ANNOTATION, ServiceSpec,
    document::{Descriptor, Index, Manifest},
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use types::{Bytes, Digest};

/// The bytes of `/oci-layout`, in every store.
pub const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// An image to be put into a store.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// Its full name.
    pub name: ImageName,
    /// Its purpose.
    pub role: Role,
    /// The bytes of its configuration (OCI image-spec, config.md).
    pub config: Vec<u8>,
    /// Its EROFS layers, bottom first, as many as the configuration has `diff_ids`.
    pub layers: Vec<(Digest, Bytes)>,
    /// How it is run; for [`Role::Service`] only.
    pub service: Option<ServiceSpec>,
}

/// Everything that a store holds: small files as bytes, layers by digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The bytes of `/oci-layout`.
    pub oci_layout: Vec<u8>,
    /// The bytes of `/index.json`.
    pub index: Vec<u8>,
    /// Manifests and configurations, to lie at `/blobs/sha256/<hex>`.
    pub documents: BTreeMap<Digest, Vec<u8>>,
    /// EROFS layers with their sizes, to lie at `/blobs/sha256/<hex>`; each once, however many images share it.
    pub layers: BTreeMap<Digest, Bytes>,
}

fn json<T: Serialize>(what: &str, value: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|source| Error::Json { what: what.to_owned(), source })
}

/// Words the documents of a store that holds these images. Equal images in any order give equal bytes.
///
/// # Errors
/// When a name occurs twice, the number of layers differs from the configuration's, the root is not one, or service
/// specifications are not exactly with the services.
pub fn plan(images: &[NewImage]) -> Result<Layout, Error> {
    let roots = images.iter().filter(|i| i.role == Role::Root).count();
    if roots != 1 {
        return Err(Error::Roots { found: roots });
    }
    let mut names = BTreeSet::new();
    let mut documents = BTreeMap::new();
    let mut layers = BTreeMap::new();
    let mut manifests = Vec::new();
    for image in images {
        if !names.insert(&image.name) {
            return Err(Error::Twice { name: image.name.to_string() });
        }
        let manifest = json(image.name.as_str(), &manifest(image)?)?;
        layers.extend(image.layers.iter().copied());
        documents.insert(Digest::of(&image.config), image.config.clone());
        manifests.push(Descriptor {
            media_type: MANIFEST.to_owned(),
            digest: Digest::of(&manifest),
            size: manifest.len() as u64,
            annotations: BTreeMap::from([
                (NAME_ANNOTATION.to_owned(), image.name.to_string()),
                (ROLE_ANNOTATION.to_owned(), image.role.as_str().to_owned()),
            ]),
        });
        documents.insert(Digest::of(&manifest), manifest);
    }
    manifests.sort_by(|a, b| a.annotations.cmp(&b.annotations));
    Ok(Layout {
        oci_layout: OCI_LAYOUT.to_vec(),
        index: json("index.json", &Index { schema_version: 2, media_type: INDEX.to_owned(), manifests })?,
        documents,
        layers,
    })
}

fn manifest(image: &NewImage) -> Result<Manifest, Error> {
    let what = format!("configuration of {}", image.name);
    let config: ImageConfig =
        serde_json::from_slice(&image.config).map_err(|source| Error::Json { what: what.clone(), source })?;
    if config.rootfs.diff_ids.len() != image.layers.len() {
        return Err(Error::Unexpected {
            what,
            field: "number of rootfs.diff_ids",
            found: config.rootfs.diff_ids.len().to_string(),
            expected: format!("{}, one a layer", image.layers.len()),
        });
    }
    if image.service.is_some() != (image.role == Role::Service) {
        return Err(Error::Spec { name: image.name.to_string(), role: image.role });
    }
    let mut annotations = BTreeMap::new();
    if let Some(service) = &image.service {
        let text =
            serde_json::to_string(service).map_err(|source| Error::Json { what: image.name.to_string(), source })?;
        annotations.insert(SERVICE_ANNOTATION.to_owned(), text);
    }
    let descriptor = |media_type: &str, digest, size| Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        annotations: BTreeMap::new(),
    };
    Ok(Manifest {
        schema_version: 2,
        media_type: MANIFEST.to_owned(),
        config: descriptor(CONFIG, Digest::of(&image.config), image.config.len() as u64),
        layers: image.layers.iter().map(|(digest, size)| descriptor(EROFS_LAYER, *digest, size.0)).collect(),
        annotations,
    })
}
