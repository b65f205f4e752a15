//! Updates: what a device needs to have another image in its other slot, as an OCI artefact, and who may say so.
//!
//! ```text
//!  index.json ─► manifest ─┬─ config: update.json [Update]: version, root hash, every other blob by digest
//!                          ├─ signatures.json [Signatures]: by the update key over update.json, and by db over that key
//!                          ├─ kernel image, boot loader: signed for the firmware
//!                          └─ the store: index, manifests, configurations, EROFS layers, as they are in the slot
//! ```
//! The blobs are an OCI image layout's (OCI image-spec, image-layout.md), in a folder, a tar file or a registry. A device fetches
//! those that it does not have; of the kernel image, only the [chunks](chunk::chunks) that differ from its own.
//!
//! [`challenge`] is what registries ask for, of who pushes and who pulls. Deliberately absent: reading from anywhere, and writing
//! slots.

pub mod challenge;
pub mod chunk;
mod document;
mod error;
pub mod oci;
mod signed;

pub use document::{Blob, FORMAT, Program, Update};
pub use error::Error;
pub use signed::{Request, Signatures, check};
