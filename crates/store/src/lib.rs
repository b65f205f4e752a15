//! The store of a slot: an OCI image layout whose layers are EROFS blobs, and how its images are to be run.
//!
//! ```text
//! /oci-layout                     {"imageLayoutVersion": "1.0.0"}
//! /index.json                     one manifest an image; annotations: full name, role
//! /blobs/sha256/<64 hex>          manifests, configs, EROFS layers
//! ```
//! Builder and device share this crate. It does not mount, run or fetch anything.

pub mod service;

pub use service::ServiceSpec;

/// Annotation of an image's descriptor in `index.json`: what the image is for, see [`Role`].
pub const ROLE_ANNOTATION: &str = "org.evek.role";
/// Annotation of a service's manifest: its [`ServiceSpec`] as JSON.
pub const SERVICE_ANNOTATION: &str = "org.evek.service";
/// Annotation of an image's descriptor in `index.json`: its full name (OCI image-spec, annotations.md).
pub const NAME_ANNOTATION: &str = "org.opencontainers.image.ref.name";
/// Media type of a layer that is an EROFS image.
pub const EROFS_LAYER: &str = "application/vnd.evek.layer.v1.erofs";

/// What an image in the store is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The device's root file system; exactly one.
    Root,
    /// A service in the system containerd's namespace `services`.
    Service,
    /// An image for Kubernetes, in containerd's namespace `k8s.io`.
    Payload,
}
