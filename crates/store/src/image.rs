use crate::{
    CONFIG, Descriptor, EROFS_LAYER, Error, INDEX, ImageConfig, ImageName, MANIFEST, NAME_ANNOTATION, ROLE_ANNOTATION,
    Role, SERVICE_ANNOTATION, ServiceSpec, chain_ids,
    document::{Index, LayoutVersion, Manifest},
};
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};
use types::{Bytes, Digest};

/// One EROFS layer of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layer {
    /// The digest of the EROFS blob.
    pub blob: Digest,
    /// The size of the EROFS blob.
    pub size: Bytes,
    /// The digest of the same layer as uncompressed tar.
    pub diff_id: Digest,
    /// The name of this layer together with all below it.
    pub chain_id: Digest,
}

/// One image of a store, with every reference verified but the layers' bytes, which dm-verity verifies.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its full name.
    pub name: ImageName,
    /// Its purpose.
    pub role: Role,
    /// The manifest's descriptor, without annotations.
    pub manifest: Descriptor,
    /// The configuration's descriptor.
    pub config: Descriptor,
    /// The configuration.
    pub document: ImageConfig,
    /// Its layers, bottom first.
    pub layers: Vec<Layer>,
    /// How it is run; `Some` exactly for [`Role::Service`].
    pub service: Option<ServiceSpec>,
}

impl Image {
    /// The name of all layers together; `None` for an image without layers.
    #[must_use]
    pub fn top(&self) -> Option<Digest> {
        self.layers.last().map(|l| l.chain_id)
    }
}

/// An opened store.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
    images: Vec<Image>,
}

impl Store {
    /// Reads and checks `index.json`, every manifest and every configuration below `path`, the folder where the store is
    /// mounted.
    ///
    /// # Errors
    /// When a file is missing, malformed, or not what its digest promises.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let version: LayoutVersion = parse("oci-layout", &read(&path.join("oci-layout"))?)?;
        expect("oci-layout", "imageLayoutVersion", &version.image_layout_version, "1.0.0")?;
        let index: Index = parse("index.json", &read(&path.join("index.json"))?)?;
        expect("index.json", "schemaVersion", &index.schema_version.to_string(), "2")?;
        expect("index.json", "mediaType", &index.media_type, INDEX)?;
        let images = index.manifests.into_iter().map(|d| image(path, d)).collect::<Result<Vec<_>, _>>()?;
        let mut names = BTreeSet::new();
        if let Some(twice) = images.iter().find(|i| !names.insert(&i.name)) {
            return Err(Error::Twice { name: twice.name.to_string() });
        }
        let roots = images.iter().filter(|i| i.role == Role::Root).count();
        if roots != 1 {
            return Err(Error::Roots { found: roots });
        }
        Ok(Self { path: path.to_owned(), images })
    }

    /// The folder given to [`Store::open`].
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All images, in the order of `index.json`.
    #[must_use]
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// The root image.
    ///
    /// # Panics
    /// Never: [`Store::open`] has counted the roots.
    #[must_use]
    pub fn root(&self) -> &Image {
        self.images.iter().find(|i| i.role == Role::Root).expect("an opened store has one root")
    }

    /// The service of that package, with its specification.
    ///
    /// # Errors
    /// [`Error::NoService`] with the names of those that are there.
    pub fn service(&self, package: &str) -> Result<(&Image, &ServiceSpec), Error> {
        self.services().find(|(image, _)| image.name.package() == package).ok_or_else(|| Error::NoService {
            package: package.to_owned(),
            services: self.services().map(|(image, _)| image.name.package().to_owned()).collect(),
        })
    }

    /// All services with their specifications.
    pub fn services(&self) -> impl Iterator<Item = (&Image, &ServiceSpec)> {
        self.images.iter().filter_map(|i| i.service.as_ref().map(|s| (i, s)))
    }

    /// Where a blob lies.
    #[must_use]
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        blob_path(&self.path, digest)
    }

    /// The bytes of a manifest or configuration.
    ///
    /// # Errors
    /// When it cannot be read, or has other bytes than its digest promises.
    pub fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        document(&self.path, descriptor)
    }
}

fn blob_path(store: &Path, digest: &Digest) -> PathBuf {
    store.join("blobs/sha256").join(digest.hex())
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|source| Error::Json { what: what.to_owned(), source })
}

fn expect(what: &str, field: &'static str, found: &str, expected: &str) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    let (what, found, expected) = (what.to_owned(), found.to_owned(), expected.to_owned());
    Err(Error::Unexpected { what, field, found, expected })
}

fn document(store: &Path, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
    let path = blob_path(store, &descriptor.digest);
    let bytes = read(&path)?;
    let found = Digest::of(&bytes);
    if found != descriptor.digest {
        return Err(Error::Mismatch { what: path.display().to_string(), expected: descriptor.digest, found });
    }
    expect(&path.display().to_string(), "size", &bytes.len().to_string(), &descriptor.size.to_string())?;
    Ok(bytes)
}

fn image(store: &Path, mut descriptor: Descriptor) -> Result<Image, Error> {
    let annotations = std::mem::take(&mut descriptor.annotations);
    let what = format!("index.json, {}", descriptor.digest);
    let annotation = |key: &'static str| {
        annotations.get(key).ok_or_else(|| Error::Unexpected {
            what: what.clone(),
            field: key,
            found: String::new(),
            expected: "a value".to_owned(),
        })
    };
    let name: ImageName = annotation(NAME_ANNOTATION)?.parse()?;
    let role = match annotation(ROLE_ANNOTATION)?.as_str() {
        "root" => Role::Root,
        "service" => Role::Service,
        "payload" => Role::Payload,
        other => {
            return Err(Error::Unexpected {
                what,
                field: ROLE_ANNOTATION,
                found: other.to_owned(),
                expected: "root, service or payload".to_owned(),
            });
        }
    };
    expect(&what, "mediaType", &descriptor.media_type, MANIFEST)?;
    let what = format!("manifest of {name}");
    let manifest: Manifest = parse(&what, &document(store, &descriptor)?)?;
    expect(&what, "schemaVersion", &manifest.schema_version.to_string(), "2")?;
    expect(&what, "mediaType", &manifest.media_type, MANIFEST)?;
    expect(&what, "config.mediaType", &manifest.config.media_type, CONFIG)?;
    for layer in &manifest.layers {
        expect(&what, "layers.mediaType", &layer.media_type, EROFS_LAYER)?;
    }
    let config: ImageConfig = parse(&format!("configuration of {name}"), &document(store, &manifest.config)?)?;
    let diff_ids = &config.rootfs.diff_ids;
    expect(&what, "number of layers", &manifest.layers.len().to_string(), &diff_ids.len().to_string())?;
    let layers = (manifest.layers.iter().zip(diff_ids).zip(chain_ids(diff_ids)))
        .map(|((layer, diff_id), chain_id)| Layer {
            blob: layer.digest,
            size: Bytes(layer.size),
            diff_id: *diff_id,
            chain_id,
        })
        .collect();
    let service: Option<ServiceSpec> = match manifest.annotations.get(SERVICE_ANNOTATION) {
        Some(text) => Some(parse(&format!("service specification of {name}"), text.as_bytes())?),
        None => None,
    };
    if service.is_some() != (role == Role::Service) {
        return Err(Error::Spec { name: name.to_string(), role });
    }
    Ok(Image { name, role, manifest: descriptor, config: manifest.config, document: config, layers, service })
}

#[cfg(test)]
#[path = "tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
