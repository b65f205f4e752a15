//! The snapshotter as a gRPC service.

use crate::{layers::Layers, snapshotter::Snapshotter};
use api::{
    Code, Reply, Service, Status, decode,
    message::{
        Empty,
        snapshot::{
            CommitSnapshotRequest, ListSnapshotsResponse, MountsResponse, PrepareSnapshotRequest, SERVICE,
            StatSnapshotRequest, StatSnapshotResponse, UpdateSnapshotRequest, UsageResponse,
        },
    },
};
use bytes::Bytes;
use std::sync::{Mutex, PoisonError};

/// How many snapshots go into one message of the list.
const BATCH: usize = 100;

pub(crate) struct Snapshots<L>(Mutex<Snapshotter<L>>);

impl<L> Snapshots<L> {
    pub(crate) const fn new(snapshotter: Snapshotter<L>) -> Self {
        Self(Mutex::new(snapshotter))
    }
}

impl<L: Layers> Service for Snapshots<L> {
    fn call(&self, method: &str, request: Bytes) -> Result<Reply, Status> {
        let mut it = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unknown = || Status::new(Code::Unimplemented, format!("no method {method}"));
        let stat = || decode::<StatSnapshotRequest>(&request).map(|r| r.key);
        match method.strip_prefix(SERVICE).ok_or_else(unknown)? {
            "Prepare" => {
                let r: PrepareSnapshotRequest = decode(&request)?;
                it.prepare(&r.key, &r.parent, r.labels).map(|mounts| Reply::one(&MountsResponse { mounts }))
            }
            "View" => {
                let r: PrepareSnapshotRequest = decode(&request)?;
                it.view(&r.key, &r.parent, r.labels).map(|mounts| Reply::one(&MountsResponse { mounts }))
            }
            "Mounts" => it.mounts(&stat()?).map(|mounts| Reply::one(&MountsResponse { mounts })),
            "Commit" => {
                let r: CommitSnapshotRequest = decode(&request)?;
                it.commit(&r.name, &r.key, r.labels).map(|()| Reply::one(&Empty {}))
            }
            "Remove" => it.remove(&stat()?).map(|()| Reply::one(&Empty {})),
            "Stat" => it.stat(&stat()?).map(|info| Reply::one(&StatSnapshotResponse { info: Some(info) })),
            "Update" => {
                let r: UpdateSnapshotRequest = decode(&request)?;
                let info = r.info.ok_or_else(|| Status::new(Code::InvalidArgument, "no snapshot named"))?;
                let info = it.update(info, &r.update_mask.unwrap_or_default().paths)?;
                Ok(Reply::one(&StatSnapshotResponse { info: Some(info) }))
            }
            "List" => {
                let batches: Vec<_> =
                    it.list().chunks(BATCH).map(|info| ListSnapshotsResponse { info: info.to_vec() }).collect();
                Ok(Reply::stream(&batches))
            }
            "Usage" => {
                let usage = it.usage(&stat()?)?;
                Ok(Reply::one(&UsageResponse { size: usage.bytes as i64, inodes: usage.inodes as i64 }))
            }
            // a removed snapshot's files are deleted already
            "Cleanup" => Ok(Reply::one(&Empty {})),
            _ => Err(unknown()),
        }
    }
}
