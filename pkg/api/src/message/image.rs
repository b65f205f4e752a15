//! `containerd.services.images.v1`.

use super::{Descriptor, Labels};
use prost::Message;

/// The path of the service's methods.
pub const SERVICE: &str = "/containerd.services.images.v1.Images/";

/// `Image`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Image {
    /// Full name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Labels.
    #[prost(btree_map = "string, string", tag = "2")]
    pub labels: Labels,
    /// The manifest.
    #[prost(message, optional, tag = "3")]
    pub target: Option<Descriptor>,
}

/// `CreateImageRequest`, `UpdateImageRequest` and their responses, which are alike.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ImageMessage {
    /// The image.
    #[prost(message, optional, tag = "1")]
    pub image: Option<Image>,
}

/// `ListImagesRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListImagesRequest {
    /// Filters, of which one must match.
    #[prost(string, repeated, tag = "1")]
    pub filters: Vec<String>,
}

/// `ListImagesResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListImagesResponse {
    /// All of them.
    #[prost(message, repeated, tag = "1")]
    pub images: Vec<Image>,
}

/// `DeleteImageRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DeleteImageRequest {
    /// Full name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Wait until the objects to which only this record referred are collected.
    #[prost(bool, tag = "2")]
    pub sync: bool,
}
