//! `containerd.services.snapshots.v1`.

use super::{FieldMask, Labels, Mount, Timestamp};
use prost::{Enumeration, Message};

/// The path of the service's methods.
pub const SERVICE: &str = "/containerd.services.snapshots.v1.Snapshots/";

/// The kind of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Kind {
    /// Not said.
    Unknown = 0,
    /// Read-only.
    View = 1,
    /// Writable.
    Active = 2,
    /// Finished; may be a parent.
    Committed = 3,
}

/// `Info`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Info {
    /// Its key.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its parent's key, or empty.
    #[prost(string, tag = "2")]
    pub parent: String,
    /// Its kind.
    #[prost(enumeration = "Kind", tag = "3")]
    pub kind: i32,
    /// Made when.
    #[prost(message, optional, tag = "4")]
    pub created_at: Option<Timestamp>,
    /// Labels changed when.
    #[prost(message, optional, tag = "5")]
    pub updated_at: Option<Timestamp>,
    /// Labels.
    #[prost(btree_map = "string, string", tag = "6")]
    pub labels: Labels,
}

/// `PrepareSnapshotRequest` and `ViewSnapshotRequest`, which are alike.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct PrepareSnapshotRequest {
    /// Name of the snapshotter.
    #[prost(string, tag = "1")]
    pub snapshotter: String,
    /// Key of what is to be made.
    #[prost(string, tag = "2")]
    pub key: String,
    /// Key of a committed snapshot, or empty.
    #[prost(string, tag = "3")]
    pub parent: String,
    /// Labels.
    #[prost(btree_map = "string, string", tag = "4")]
    pub labels: Labels,
}

/// `PrepareSnapshotResponse`, `ViewSnapshotResponse` and `MountsResponse`, which are alike.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct MountsResponse {
    /// How to mount it.
    #[prost(message, repeated, tag = "1")]
    pub mounts: Vec<Mount>,
}

/// `StatSnapshotRequest`, `RemoveSnapshotRequest`, `MountsRequest` and `UsageRequest`, which are alike.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StatSnapshotRequest {
    /// Name of the snapshotter.
    #[prost(string, tag = "1")]
    pub snapshotter: String,
    /// Key.
    #[prost(string, tag = "2")]
    pub key: String,
}

/// `CommitSnapshotRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CommitSnapshotRequest {
    /// Name of the snapshotter.
    #[prost(string, tag = "1")]
    pub snapshotter: String,
    /// Key of the committed snapshot.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Key of the active snapshot.
    #[prost(string, tag = "3")]
    pub key: String,
    /// Labels.
    #[prost(btree_map = "string, string", tag = "4")]
    pub labels: Labels,
}

/// `StatSnapshotResponse` and `UpdateSnapshotResponse`, which are alike.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StatSnapshotResponse {
    /// The snapshot.
    #[prost(message, optional, tag = "1")]
    pub info: Option<Info>,
}

/// `UpdateSnapshotRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct UpdateSnapshotRequest {
    /// Name of the snapshotter.
    #[prost(string, tag = "1")]
    pub snapshotter: String,
    /// The new values.
    #[prost(message, optional, tag = "2")]
    pub info: Option<Info>,
    /// Which of them; all labels where absent.
    #[prost(message, optional, tag = "3")]
    pub update_mask: Option<FieldMask>,
}

/// `ListSnapshotsRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListSnapshotsRequest {
    /// Name of the snapshotter.
    #[prost(string, tag = "1")]
    pub snapshotter: String,
    /// Filters, of which one must match.
    #[prost(string, repeated, tag = "2")]
    pub filters: Vec<String>,
}

/// `ListSnapshotsResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListSnapshotsResponse {
    /// Some of them.
    #[prost(message, repeated, tag = "1")]
    pub info: Vec<Info>,
}

/// `UsageResponse`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct UsageResponse {
    /// Bytes.
    #[prost(int64, tag = "1")]
    pub size: i64,
    /// Files.
    #[prost(int64, tag = "2")]
    pub inodes: i64,
}
