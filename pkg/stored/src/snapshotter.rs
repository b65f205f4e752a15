//! The rules of a snapshotter (containerd, `snapshots/snapshotter.go`), with the store's layers as snapshots that are
//! always there.

use crate::{
    error::Error,
    layers::Layers,
    state::{Life, Record, State, Usage},
};
use api::{
    Code, Status,
    message::{
        Labels, Mount, Timestamp,
        snapshot::{Info, Kind},
    },
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use store::{Layer, Store};

/// Label of a request for a snapshot that the snapshotter may have already: its value is the chain id.
pub(crate) const REF: &str = "containerd.io/snapshot.ref";

/// Key of the snapshot that a layer of the store is. It names nothing but content, so containerd may remember it over
/// updates of the slot.
fn store_key(chain_id: impl std::fmt::Display) -> String {
    format!("store/{chain_id}")
}

struct StoreSnapshot {
    layer: Layer,
    parent: String,
}

/// Snapshots: the store's layers, and those in the state folder.
pub(crate) struct Snapshotter<L> {
    layers: L,
    store: BTreeMap<String, StoreSnapshot>,
    state: State,
}

fn failed(e: Error) -> Status {
    Status::new(Code::Internal, e.to_string())
}

fn not_found(key: &str) -> Status {
    Status::new(Code::NotFound, format!("snapshot {key} does not exist"))
}

impl<L: Layers> Snapshotter<L> {
    pub(crate) fn open(root: &Path, store: &Store, layers: L) -> Result<Self, Error> {
        let mut known = BTreeMap::new();
        for image in store.images() {
            let mut parent = String::new();
            for layer in &image.layers {
                let key = store_key(layer.chain_id);
                known.entry(key.clone()).or_insert(StoreSnapshot { layer: *layer, parent });
                parent = key;
            }
        }
        let mut state = State::open(root)?;
        state.drop_shadowed(|key| known.contains_key(key));
        Ok(Self { layers, store: known, state })
    }

    /// How many snapshots the store has.
    pub(crate) fn store_len(&self) -> usize {
        self.store.len()
    }

    /// Makes an active snapshot, or says that the store has what the label [`REF`] asks for: containerd then looks for it
    /// with [`Snapshotter::list`] and takes it over under its own name.
    pub(crate) fn prepare(&mut self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>, Status> {
        if let Some(target) = labels.get(REF) {
            let own = store_key(target);
            if self.store.get(&own).is_some_and(|s| s.parent == parent) {
                return Err(Status::new(Code::AlreadyExists, format!("{target} is in the store as {own}")));
            }
        }
        self.make(key, parent, Life::Active, labels)
    }

    /// Makes a read-only snapshot.
    pub(crate) fn view(&mut self, key: &str, parent: &str, labels: Labels) -> Result<Vec<Mount>, Status> {
        self.make(key, parent, Life::View, labels)
    }

    fn make(&mut self, key: &str, parent: &str, life: Life, labels: Labels) -> Result<Vec<Mount>, Status> {
        if self.store.contains_key(key) || self.state.get(key).is_some() {
            return Err(Status::new(Code::AlreadyExists, format!("snapshot {key} exists")));
        }
        let below = self.folders(parent)?;
        self.state.add(key, parent, life, labels, below.first().map(PathBuf::as_path)).map_err(failed)?;
        self.mounts(key)
    }

    /// The folders of a committed snapshot and all below it, top first; none for the empty key.
    fn folders(&self, key: &str) -> Result<Vec<PathBuf>, Status> {
        let mut folders = Vec::new();
        let mut at = key;
        while !at.is_empty() {
            if let Some(snapshot) = self.store.get(at) {
                folders.push(self.layers.folder(&snapshot.layer).map_err(failed)?);
                at = &snapshot.parent;
            } else {
                let record = self.state.get(at).ok_or_else(|| not_found(at))?;
                if record.life != Life::Committed {
                    return Err(Status::new(Code::InvalidArgument, format!("parent {at} is not committed")));
                }
                folders.push(self.state.fs(record));
                at = &record.parent;
            }
        }
        Ok(folders)
    }

    /// How to mount an active snapshot or a view.
    pub(crate) fn mounts(&self, key: &str) -> Result<Vec<Mount>, Status> {
        if self.store.contains_key(key) {
            return Err(Status::new(Code::FailedPrecondition, format!("snapshot {key} is committed")));
        }
        let record = self.state.get(key).ok_or_else(|| not_found(key))?;
        let below = self.folders(&record.parent)?;
        let bind = |folder: &Path, access: &str| Mount {
            r#type: "bind".to_owned(),
            source: folder.display().to_string(),
            target: String::new(),
            options: vec![access.to_owned(), "rbind".to_owned()],
        };
        let mount = match (record.life, below.as_slice()) {
            (Life::Committed, _) => {
                return Err(Status::new(Code::FailedPrecondition, format!("snapshot {key} is committed")));
            }
            (Life::Active, []) => bind(&self.state.fs(record), "rw"),
            (Life::View, []) => bind(&self.state.fs(record), "ro"),
            (Life::View, [only]) => bind(only, "ro"),
            (life, below) => {
                let lower: Vec<_> = below.iter().map(|f| f.display().to_string()).collect();
                let mut options = vec!["index=off".to_owned()];
                if life == Life::Active {
                    options.push(format!("workdir={}", self.state.work(record).display()));
                    options.push(format!("upperdir={}", self.state.fs(record).display()));
                }
                options.push(format!("lowerdir={}", lower.join(":")));
                Mount { r#type: "overlay".to_owned(), source: "overlay".to_owned(), target: String::new(), options }
            }
        };
        Ok(vec![mount])
    }

    /// Makes an active snapshot a committed one.
    pub(crate) fn commit(&mut self, name: &str, key: &str, labels: Labels) -> Result<(), Status> {
        if self.store.contains_key(name) || self.state.get(name).is_some() {
            return Err(Status::new(Code::AlreadyExists, format!("snapshot {name} exists")));
        }
        let record = self.state.get(key).ok_or_else(|| not_found(key))?;
        if record.life != Life::Active {
            return Err(Status::new(Code::FailedPrecondition, format!("snapshot {key} is not active")));
        }
        self.state.commit(name, key, labels).map_err(failed)
    }

    /// Removes a snapshot. One of the store stays, and that is no error: containerd's garbage collector removes all that it
    /// does not use.
    pub(crate) fn remove(&mut self, key: &str) -> Result<(), Status> {
        if self.store.contains_key(key) {
            return Ok(());
        }
        if self.state.get(key).is_none() {
            return Err(not_found(key));
        }
        if self.state.has_children(key) {
            return Err(Status::new(Code::FailedPrecondition, format!("snapshot {key} has children")));
        }
        self.state.remove(key).map_err(failed)
    }

    /// Facts about one snapshot.
    pub(crate) fn stat(&self, key: &str) -> Result<Info, Status> {
        if let Some(snapshot) = self.store.get(key) {
            return Ok(store_info(key, snapshot));
        }
        self.state.get(key).map(|record| info(key, record)).ok_or_else(|| not_found(key))
    }

    /// Sets labels: the named ones, or all where none is named. containerd
    /// keeps the labels of the store's snapshots itself.
    pub(crate) fn update(&mut self, new: Info, paths: &[String]) -> Result<Info, Status> {
        let mut info = self.stat(&new.name)?;
        if paths.is_empty() {
            info.labels = new.labels;
        } else {
            for path in paths {
                if path == "labels" {
                    info.labels.clone_from(&new.labels);
                } else if let Some(label) = path.strip_prefix("labels.") {
                    match new.labels.get(label) {
                        Some(value) => info.labels.insert(label.to_owned(), value.clone()),
                        None => info.labels.remove(label),
                    };
                } else {
                    return Err(Status::new(Code::InvalidArgument, format!("`{path}` cannot be changed")));
                }
            }
        }
        if !self.store.contains_key(&new.name) {
            self.state.set_labels(&new.name, info.labels).map_err(failed)?;
            info = self.stat(&new.name)?;
        }
        Ok(info)
    }

    /// All snapshots, those of the store first: containerd takes the first one that has the chain id which it looks for. Its
    /// filters are not applied: it checks each answer against its filter itself, because snapshotters need not know
    /// them (`metadata/snapshot.go`).
    pub(crate) fn list(&self) -> Vec<Info> {
        let store = self.store.iter().map(|(key, snapshot)| store_info(key, snapshot));
        store.chain(self.state.iter().map(|(key, record)| info(key, record))).collect()
    }

    /// The disk space of a snapshot; one of the store takes none.
    pub(crate) fn usage(&self, key: &str) -> Result<Usage, Status> {
        if self.store.contains_key(key) {
            return Ok(Usage::default());
        }
        let record = self.state.get(key).ok_or_else(|| not_found(key))?;
        self.state.usage(record).map_err(failed)
    }
}

fn timestamp(nanos: u64) -> Option<Timestamp> {
    Some(Timestamp { seconds: (nanos / 1_000_000_000) as i64, nanos: (nanos % 1_000_000_000) as i32 })
}

fn info(key: &str, record: &Record) -> Info {
    Info {
        name: key.to_owned(),
        parent: record.parent.clone(),
        kind: Kind::from(record.life).into(),
        created_at: timestamp(record.created),
        updated_at: timestamp(record.updated),
        labels: record.labels.clone(),
    }
}

fn store_info(key: &str, snapshot: &StoreSnapshot) -> Info {
    let built = timestamp(types::EPOCH * 1_000_000_000);
    Info {
        name: key.to_owned(),
        parent: snapshot.parent.clone(),
        kind: Kind::Committed.into(),
        created_at: built,
        updated_at: built,
        labels: Labels::from([(REF.to_owned(), snapshot.layer.chain_id.to_string())]),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
