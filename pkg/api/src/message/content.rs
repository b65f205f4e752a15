//! `containerd.services.content.v1`.

use super::{FieldMask, Labels};
use prost::Message;

/// The path of the service's methods.
pub const SERVICE: &str = "/containerd.services.content.v1.Content/";

/// `Info`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Info {
    /// Digest.
    #[prost(string, tag = "1")]
    pub digest: String,
    /// Length in bytes.
    #[prost(int64, tag = "2")]
    pub size: i64,
    /// Labels.
    #[prost(btree_map = "string, string", tag = "5")]
    pub labels: Labels,
}

/// `UpdateRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct UpdateRequest {
    /// The new values.
    #[prost(message, optional, tag = "1")]
    pub info: Option<Info>,
    /// Which of them.
    #[prost(message, optional, tag = "2")]
    pub update_mask: Option<FieldMask>,
}

/// `UpdateResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct UpdateResponse {
    /// The blob.
    #[prost(message, optional, tag = "1")]
    pub info: Option<Info>,
}

/// `WriteAction.COMMIT`: write what comes along and finish.
pub const COMMIT: i32 = 2;

/// `WriteContentRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct WriteContentRequest {
    /// `WriteAction`.
    #[prost(int32, tag = "1")]
    pub action: i32,
    /// Name of this writing.
    #[prost(string, tag = "2")]
    pub r#ref: String,
    /// Whole length.
    #[prost(int64, tag = "3")]
    pub total: i64,
    /// Expected digest.
    #[prost(string, tag = "4")]
    pub expected: String,
    /// Where the bytes go.
    #[prost(int64, tag = "5")]
    pub offset: i64,
    /// The bytes.
    #[prost(bytes = "vec", tag = "6")]
    pub data: Vec<u8>,
    /// Labels.
    #[prost(btree_map = "string, string", tag = "7")]
    pub labels: Labels,
}

/// `WriteContentResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct WriteContentResponse {
    /// Digest of what was written.
    #[prost(string, tag = "6")]
    pub digest: String,
}
