//! The messages, with the names and tags of containerd 1.7's `api/**/*.proto` and of Kubernetes' `cri-api` (runtime.v1).
//! Fields that are neither set nor read are left out: protobuf skips them.

use prost::Message;
use std::collections::BTreeMap;

/// Labels, annotations: text to text.
pub type Labels = BTreeMap<String, String>;

/// `google.protobuf.Empty`.
#[derive(Clone, PartialEq, Message)]
pub struct Empty {}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Timestamp {
    /// Seconds since 1970.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds beside them.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Any {
    /// Name of the type.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// Its bytes; JSON for OCI runtime specifications.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// `google.protobuf.FieldMask`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct FieldMask {
    /// `labels`, `labels.<key>`, …
    #[prost(string, repeated, tag = "1")]
    pub paths: Vec<String>,
}

/// `containerd.types.Mount`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Mount {
    /// `overlay`, `bind`, …
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// What is mounted.
    #[prost(string, tag = "2")]
    pub source: String,
    /// Where below the root; empty for the root itself.
    #[prost(string, tag = "3")]
    pub target: String,
    /// As in fstab.
    #[prost(string, repeated, tag = "4")]
    pub options: Vec<String>,
}

/// `containerd.types.Descriptor`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Descriptor {
    /// Media type.
    #[prost(string, tag = "1")]
    pub media_type: String,
    /// Digest.
    #[prost(string, tag = "2")]
    pub digest: String,
    /// Length in bytes.
    #[prost(int64, tag = "3")]
    pub size: i64,
    /// Annotations.
    #[prost(btree_map = "string, string", tag = "5")]
    pub annotations: Labels,
}

pub mod snapshot;
pub use snapshot::{StatSnapshotRequest, StatSnapshotResponse};
pub mod content;
pub mod cri;
pub mod image;
pub mod task;
