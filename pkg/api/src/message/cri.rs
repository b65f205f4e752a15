//! `runtime.v1`, Kubernetes' container runtime interface: just enough to list its images.

use prost::Message;

/// Method: which images the runtime knows.
pub const LIST_IMAGES: &str = "/runtime.v1.ImageService/ListImages";

/// `ListImagesResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListImagesResponse {
    /// All of them.
    #[prost(message, repeated, tag = "1")]
    pub images: Vec<Image>,
}

/// `Image`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Image {
    /// Digest of the configuration.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Full names.
    #[prost(string, repeated, tag = "2")]
    pub repo_tags: Vec<String>,
}
