//! Updates: the image for a device's other slot as an OCI artefact, with signatures.
//!
//! ```text
//!  index.json ─► manifest ─┬─ config: update.json [Update]: version, root hash, every other blob by digest
//!                          ├─ signatures.json [Signatures]: by the update key over update.json, and by db over that key
//!                          ├─ kernel image, boot loader: signed for the firmware
//!                          └─ the store: index, manifests, configurations, EROFS layers, as they are in the slot
//! ```
//! The blobs form an OCI image layout (OCI image-spec, image-layout.md) in a folder, a tar file or a registry. A device
//! fetches the blobs that it lacks; of the kernel image it fetches only the [chunks](chunk::chunks) that differ from
//! its own.
//!
//! [`challenge`] parses the authentication that registries demand for pushing and pulling. Deliberately absent: reading
//! from any source, and writing slots.

pub mod challenge;
pub mod chunk;
mod document;
mod error;
pub mod oci;
mod signed;

pub use document::{Blob, FORMAT, Program, Update};
pub use error::Error;
pub use signed::{Request, Signatures, check};
