//! The artefact's OCI documents (image-spec 1.1, manifest.md and image-layout.md, "Guidelines for Artifact Usage").

use crate::{Error, Update};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use store::Descriptor;
use types::{Arch, Digest, Flavour};

/// The artefact type.
pub const ARTIFACT: &str = "application/vnd.evek.update.v1";
/// Media type of `update.json`.
pub const UPDATE: &str = "application/vnd.evek.update.v1+json";
/// Media type of `signatures.json`.
pub const SIGNATURES: &str = "application/vnd.evek.update.signatures.v1+json";
/// Media type of every other blob.
pub const BLOB: &str = "application/vnd.evek.blob";
/// Annotation of a manifest in `index.json`: the image.
pub const IMAGE: &str = "org.evek.image";
/// Annotation: its version alone, without flavour and architecture.
pub const VERSION: &str = "org.opencontainers.image.version";

/// A manifest of an update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    schema_version: u32,
    media_type: String,
    #[serde(default)]
    artifact_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

impl Manifest {
    /// The manifest of an update and its signatures.
    #[must_use]
    pub fn new(update: &Update, signatures: &[u8]) -> Self {
        let descriptor = |media_type: &str, digest, size| Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            annotations: BTreeMap::new(),
        };
        let whole = |media_type, bytes: &[u8]| descriptor(media_type, Digest::of(bytes), bytes.len() as u64);
        let mut layers = vec![whole(SIGNATURES, signatures)];
        layers.extend(update.blobs().iter().map(|blob| descriptor(BLOB, blob.digest, blob.size.0)));
        Self {
            schema_version: 2,
            media_type: store::MANIFEST.to_owned(),
            artifact_type: ARTIFACT.to_owned(),
            config: whole(UPDATE, &update.json()),
            layers,
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`Error::Document`], also for a manifest of another artefact type.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let bad = |problem: String| Error::Document { what: "manifest", problem };
        let manifest: Self = serde_json::from_slice(bytes).map_err(|e| bad(e.to_string()))?;
        if manifest.config.media_type != UPDATE {
            return Err(bad(format!("it is of `{}`, not of an update", manifest.config.media_type)));
        }
        Ok(manifest)
    }

    /// Its bytes as a file.
    ///
    /// # Panics
    /// Never: its maps have string keys.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("its maps have string keys")
    }

    /// `update.json`.
    #[must_use]
    pub const fn update(&self) -> &Descriptor {
        &self.config
    }

    /// `signatures.json`.
    ///
    /// # Errors
    /// [`Error::Document`], if there are none.
    pub fn signatures(&self) -> Result<&Descriptor, Error> {
        let found = self.layers.iter().find(|layer| layer.media_type == SIGNATURES);
        found.ok_or_else(|| Error::Document { what: "manifest", problem: "the update is not signed".to_owned() })
    }
}

/// The updates of a folder or tar file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    schema_version: u32,
    media_type: String,
    /// A manifest each.
    pub manifests: Vec<Descriptor>,
}

impl Default for Index {
    fn default() -> Self {
        Self { schema_version: 2, media_type: store::INDEX.to_owned(), manifests: Vec::new() }
    }
}

impl Index {
    /// Reads `index.json`.
    ///
    /// # Errors
    /// [`Error::Document`].
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(bytes).map_err(|e| Error::Document { what: "index.json", problem: e.to_string() })
    }

    /// Its bytes as a file.
    ///
    /// # Panics
    /// Never: its maps have string keys.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("its maps have string keys")
    }

    /// Adds an update; replaces one of the same image.
    pub fn add(&mut self, update: &Update, manifest: &[u8]) {
        let is_same = |d: &Descriptor| d.annotations.get(IMAGE) == Some(&update.image);
        self.manifests.retain(|d| !is_same(d));
        self.manifests.push(Descriptor {
            media_type: store::MANIFEST.to_owned(),
            digest: Digest::of(manifest),
            size: manifest.len() as u64,
            annotations: BTreeMap::from([
                (IMAGE.to_owned(), update.image.clone()),
                (VERSION.to_owned(), update.version.clone()),
                (store::NAME_ANNOTATION.to_owned(), update.image.clone()),
            ]),
        });
        self.manifests.sort_by(|a, b| a.annotations.cmp(&b.annotations));
    }

    /// The newest update for a flavour and architecture, by its annotations. They are not signed: the caller must
    /// compare them with the update's own document.
    #[must_use]
    pub fn newest(&self, flavour: Flavour, arch: Arch) -> Option<&Descriptor> {
        let end = format!("-{flavour}-{arch}");
        let fits =
            self.manifests.iter().filter(|d| d.annotations.get(IMAGE).is_some_and(|image| image.ends_with(&end)));
        let version = |d: &Descriptor| d.annotations.get(VERSION).cloned().unwrap_or_default();
        fits.max_by(|a, b| slots::compare(&version(a), &version(b)))
    }
}
