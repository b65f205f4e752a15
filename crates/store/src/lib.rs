//! The store of a slot: an OCI image layout whose layers are EROFS blobs, and the specifications of its services.
//!
//! ```text
//! /oci-layout                     {"imageLayoutVersion": "1.0.0"}
//! /index.json                     one manifest an image; annotations: full name, role
//! /blobs/sha256/<64 hex>          manifests, configs, EROFS layers
//!
//! builder:  NewImage… ─► plan ─► Layout (every small file, every layer by digest)
//! device:   Store::open ─► Image (name, role, layers with chain ids, ServiceSpec)
//! ```
//! Builder and device share this crate. It does not mount, run or fetch anything, and it never reads a layer.

mod document;
mod error;
mod image;
mod layout;
mod name;
pub mod service;
mod unit;

pub use document::{Descriptor, ImageConfig, RunConfig};
pub use error::Error;
pub use image::{Image, Layer, Store};
pub use layout::{Layout, NewImage, OCI_LAYOUT, plan};
pub use name::{ImageName, ImageNameError};
pub use service::ServiceSpec;
pub use unit::{unit_name, unit_text};

use types::{Digest, Hasher};

/// Annotation of an image's descriptor in `index.json`: the image's purpose, see [`Role`].
pub const ROLE_ANNOTATION: &str = "org.evek.role";
/// Annotation of a service's manifest: its [`ServiceSpec`] as JSON.
pub const SERVICE_ANNOTATION: &str = "org.evek.service";
/// Annotation of an image's descriptor in `index.json`: its full name (OCI image-spec, annotations.md).
pub const NAME_ANNOTATION: &str = "org.opencontainers.image.ref.name";
/// Media type of a layer that is an EROFS image.
pub const EROFS_LAYER: &str = "application/vnd.evek.layer.v1.erofs";
/// Media type of a manifest (OCI image-spec, media-types.md).
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an image's configuration (OCI image-spec, media-types.md).
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of `index.json` (OCI image-spec, media-types.md).
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The purpose of an image in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The device's root file system; exactly one.
    Root,
    /// A service, in the namespace `services` of the services' containerd.
    Service,
    /// An image for Kubernetes, in the namespace `k8s.io` of its containerd.
    Payload,
}

impl Role {
    /// The word in the annotation.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Service => "service",
            Self::Payload => "payload",
        }
    }
}

/// The chain id of every layer, bottom first: the name of a layer *together with all below it* (OCI image-spec,
/// config.md, "Layer ChainID"). `diff_ids` are the digests of the uncompressed tars, bottom first.
#[must_use]
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut below: Option<Digest> = None;
    diff_ids
        .iter()
        .map(|diff| {
            let chain = below.map_or(*diff, |below| {
                let mut hasher = Hasher::default();
                hasher.update(format!("{below} {diff}").as_bytes());
                hasher.finish()
            });
            below = Some(chain);
            chain
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn chain_ids_are_those_of_the_image_spec() {
        let [a, b] = [Digest::of(b"a"), Digest::of(b"b")];
        assert_eq!(chain_ids(&[]), vec![]);
        // checked with: printf 'sha256:ca97… sha256:3e23…' | sha256sum
        let chain: Digest = "51c0c8ace48498d6f5fee6b0592cc06f2da0f3cbe09c5a34a97dce85c3889676".parse().unwrap();
        assert_eq!(chain_ids(&[a, b]), vec![a, chain]);
    }
}
