//! Layers of the store as snapshots of a containerd, by their chain ids, and the proof that they are nothing else.
//!
//! containerd keeps a snapshot for each chain id, and answers "exists already" without asking which snapshotter's snapshot
//! is behind it: one of an image that was pulled before an update brought the same layer to the store, or one that somebody
//! wrote into its metadata. So a view of the whole chain is made and its mounts are compared with the image's layers. What
//! is foreign is removed, together with all that stands on it; containerd then adopts the store's layers.

use crate::{
    error::{Error, io_error},
    register::SNAPSHOTTER,
    snapshotter::REF,
};
use api::{
    Code, Containerd, LayerMount, Root, Status,
    message::{
        Labels,
        snapshot::{Info, PrepareSnapshotRequest},
    },
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use store::{Image, Layer, Store};

/// The store, and where its layers are mounted.
pub(crate) struct Adopter<'a> {
    pub(crate) store: &'a Store,
    pub(crate) layers: &'a Path,
    pub(crate) mountinfo: PathBuf,
}

impl Adopter<'_> {
    /// Has containerd adopt the image's layers, in place of foreign ones where there are such.
    pub(crate) async fn adopt(&self, containerd: &Containerd, image: &Image) -> Result<(), Error> {
        let Err(why) = self.chain(containerd, image, &image.layers).await? else { return Ok(()) };
        eprintln!("{}: {why}; the foreign snapshots are removed, and all that stand on them", image.name);
        let failed = |action| move |status| Error::Containerd { image: image.name.to_string(), action, status };
        let foreign = self.lowest_foreign(containerd, image).await?;
        let listed = containerd.list_snapshots(SNAPSHOTTER).await.map_err(failed("list snapshots"))?;
        for key in children_first(&listed, foreign.as_deref()) {
            let removed = gone(containerd.remove_snapshot(SNAPSHOTTER, &key).await);
            removed.map_err(|status| Error::Foreign {
                image: image.name.to_string(),
                why: format!("{why}, and snapshot {key} cannot be removed: {status}"),
            })?;
        }
        let again = self.chain(containerd, image, &image.layers).await?;
        again.map_err(|why| Error::Foreign { image: image.name.to_string(), why })
    }

    /// The chain id of the lowest layer that is not the store's.
    async fn lowest_foreign(&self, containerd: &Containerd, image: &Image) -> Result<Option<String>, Error> {
        for n in 1..=image.layers.len() {
            if self.chain(containerd, image, &image.layers[..n]).await?.is_err() {
                return Ok(Some(image.layers[n - 1].chain_id.to_string()));
            }
        }
        Ok(None)
    }

    /// Adopts layer by layer, then verifies the chain; the inner error says what is foreign.
    async fn chain(
        &self,
        containerd: &Containerd,
        image: &Image,
        layers: &[Layer],
    ) -> Result<Result<(), String>, Error> {
        let failed = |action| move |status| Error::Containerd { image: image.name.to_string(), action, status };
        let mut parent = String::new();
        for layer in layers {
            let key = format!("stored-register {}", layer.chain_id);
            let labels = Labels::from([(REF.to_owned(), layer.chain_id.to_string())]);
            let request =
                PrepareSnapshotRequest { snapshotter: SNAPSHOTTER.to_owned(), key: key.clone(), parent, labels };
            match containerd.prepare(request).await {
                Err(status) if status.code == Code::AlreadyExists => {}
                Err(status) if status.code == Code::NotFound => return Ok(Err(status.message)),
                Err(status) => return Err(failed("adopt a layer")(status)),
                // the snapshotter has the layer on the store's layers only: what is below is none
                Ok(_) => {
                    containerd.remove_snapshot(SNAPSHOTTER, &key).await.map_err(failed("remove a snapshot"))?;
                    return Ok(Err("a layer below is not the store's".to_owned()));
                }
            }
            parent = layer.chain_id.to_string();
        }
        if layers.is_empty() {
            return Ok(Ok(()));
        }
        let key = format!("stored-register view {parent}");
        gone(containerd.remove_snapshot(SNAPSHOTTER, &key).await).map_err(failed("remove a snapshot"))?;
        let request = PrepareSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            key: key.clone(),
            parent,
            labels: Labels::new(),
        };
        let mounts = match containerd.view(request).await {
            // the snapshot behind a chain id is lost
            Err(status) if status.code == Code::NotFound => return Ok(Err(status.message)),
            mounts => mounts.map_err(failed("view the layers"))?,
        };
        gone(containerd.remove_snapshot(SNAPSHOTTER, &key).await).map_err(failed("remove a snapshot"))?;
        let mountinfo = fs::read_to_string(&self.mountinfo).map_err(io_error("read", &self.mountinfo))?;
        let mount = |layer: &Layer| LayerMount {
            folder: self.layers.join(layer.blob.hex()),
            blob: self.store.blob(&layer.blob),
        };
        let layers: Vec<_> = layers.iter().map(mount).collect();
        Ok(Root { layers: &layers, writable: None }.verify(&mounts, &mountinfo).map_err(|e| e.to_string()))
    }
}

fn gone<T>(result: Result<T, Status>) -> Result<(), Status> {
    match result {
        Err(status) if status.code != Code::NotFound => Err(status),
        _ => Ok(()),
    }
}

/// The keys of all snapshots, or of one and all that stand on it, each before its parent. The one is there in any case:
/// containerd does not list a snapshot that its snapshotter has lost.
pub(crate) fn children_first(listed: &[Info], from: Option<&str>) -> Vec<String> {
    let parents: BTreeMap<&str, &str> = listed.iter().map(|i| (i.name.as_str(), i.parent.as_str())).collect();
    let chain = |key: &str| {
        let mut chain = vec![key.to_owned()];
        while let Some(parent) = chain.last().and_then(|k| parents.get(k.as_str())) {
            // a circle ends here, too
            if parent.is_empty() || chain.len() > listed.len() {
                break;
            }
            chain.push((*parent).to_owned());
        }
        chain
    };
    let mut chains: Vec<_> = listed.iter().map(|i| chain(&i.name)).collect();
    chains.retain(|chain| from.is_none_or(|from| chain.iter().any(|key| key == from)));
    chains.sort_by_key(|chain| std::cmp::Reverse(chain.len()));
    let mut keys: Vec<_> = chains.into_iter().filter_map(|chain| chain.into_iter().next()).collect();
    if let Some(from) = from.filter(|from| !keys.iter().any(|key| key == from)) {
        keys.push(from.to_owned());
    }
    keys
}

#[cfg(test)]
#[path = "adopt_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
