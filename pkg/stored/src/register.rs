//! Registers the store's images with a containerd: manifest and configuration as content, layers as snapshots (`adopt.rs`),
//! and the image's record. No layer is copied.
//!
//! The image's record refers to all of it by labels (containerd, `docs/garbage-collection.md`), so that the garbage
//! collector keeps it as long as the record exists, and collects it after that.

use crate::{Options, adopt::Adopter, error::Error, error::io_error};
use api::{
    Code, Containerd, Context, Status,
    message::{
        Descriptor, Empty, Labels,
        content::{self, WriteContentRequest},
        cri,
        image::Image as Record,
    },
};
use std::{
    collections::BTreeSet,
    fs, process,
    time::{Duration, Instant},
};
use store::{Image, Role, Store};

/// Label of an image's record that this program made: the root hash of the store it is from.
const STORE_LABEL: &str = "org.evek.store";
/// Name of the snapshotter in containerd's configuration.
pub(crate) const SNAPSHOTTER: &str = "stored";
/// How long Kubernetes' interface may take to start and list the images.
const SEEN_WITHIN: Duration = Duration::from_secs(60);

#[derive(serde::Deserialize)]
struct Slot {
    root_hash: types::Digest,
}

pub(crate) async fn run(options: &Options) -> Result<(), Error> {
    let store = Store::open(&options.store)?;
    let slot = fs::read(&options.slot).map_err(io_error("read", &options.slot))?;
    let slot: Slot =
        serde_json::from_slice(&slot).map_err(|source| Error::Json { path: options.slot.clone(), source })?;
    let connection = Containerd::connect(&options.containerd, "").await.map_err(|status| Error::Containerd {
        image: options.containerd.display().to_string(),
        action: "connect",
        status,
    })?;
    let (namespace, role) = if options.payload { ("k8s.io", Role::Payload) } else { ("services", Role::Service) };
    let adopter = Adopter { store: &store, layers: &options.layers, mountinfo: "/proc/self/mountinfo".into() };
    let images: Vec<_> = store.images().iter().filter(|i| i.role == role).collect();
    let containerd = connection.in_namespace(namespace);
    let failed = |action| move |status| Error::Containerd { image: namespace.to_owned(), action, status };
    existing(containerd.create_namespace().await).map_err(failed("make the namespace"))?;
    let lease = format!("stored-register-{}", process::id());
    existing(containerd.create_lease(&lease).await).map_err(failed("make a lease"))?;
    let leased = containerd.with_lease(&lease);
    let mut records = Vec::new();
    let result = async {
        for image in &images {
            records.push(register(&leased, &adopter, image, slot.root_hash).await?);
            println!("{namespace}: {}", image.name);
        }
        forget_others(&containerd, &images).await
    }
    .await;
    containerd.delete_lease(&lease).await.map_err(failed("delete the lease"))?;
    result?;
    if role == Role::Payload && !records.is_empty() {
        see(&containerd, &records).await?;
    }
    Ok(())
}

/// An object that exists already is as good as a new one.
fn existing<T>(result: Result<T, Status>) -> Result<(), Status> {
    match result {
        Err(status) if status.code != Code::AlreadyExists => Err(status),
        _ => Ok(()),
    }
}

async fn register(
    containerd: &Containerd,
    adopter: &Adopter<'_>,
    image: &Image,
    root_hash: types::Digest,
) -> Result<Record, Error> {
    let failed = |action| move |status| Error::Containerd { image: image.name.to_string(), action, status };
    let snapshots = image
        .layers
        .iter()
        .enumerate()
        .map(|(n, layer)| (format!("containerd.io/gc.ref.snapshot.{SNAPSHOTTER}/{n}"), layer.chain_id.to_string()));
    let config = Labels::from_iter(snapshots);
    let manifest = Labels::from([("containerd.io/gc.ref.content.config".to_owned(), image.config.digest.to_string())]);
    for (descriptor, labels) in [(&image.manifest, manifest), (&image.config, config)] {
        write(containerd, adopter.store.document(descriptor)?, descriptor, labels)
            .await
            .map_err(failed("write the content"))?;
    }
    adopter.adopt(containerd, image).await?;
    let record = Record {
        name: image.name.to_string(),
        labels: record_labels(image, root_hash),
        target: Some(Descriptor {
            media_type: image.manifest.media_type.clone(),
            digest: image.manifest.digest.to_string(),
            size: image.manifest.size as i64,
            annotations: Labels::new(),
        }),
    };
    match containerd.create_image(record.clone()).await {
        Err(status) if status.code == Code::AlreadyExists => containerd.update_image(record.clone()).await,
        result => result,
    }
    .map_err(failed("write the record"))?;
    Ok(record)
}

fn record_labels(image: &Image, root_hash: types::Digest) -> Labels {
    let mut labels = Labels::from([(STORE_LABEL.to_owned(), root_hash.to_string())]);
    if image.role == Role::Payload {
        // listed by Kubernetes' interface, and never deleted by kubelet to make room: it occupies none
        labels.insert("io.cri-containerd.image".to_owned(), "managed".to_owned());
        labels.insert("io.cri-containerd.pinned".to_owned(), "pinned".to_owned());
    }
    labels
}

async fn write(
    containerd: &Containerd,
    data: Vec<u8>,
    descriptor: &store::Descriptor,
    labels: Labels,
) -> Result<(), Status> {
    let (digest, size) = (descriptor.digest.to_string(), descriptor.size as i64);
    let written = containerd
        .write_content(WriteContentRequest {
            action: content::COMMIT,
            r#ref: format!("stored-register {digest}"),
            total: size,
            expected: digest.clone(),
            offset: 0,
            data,
            labels: labels.clone(),
        })
        .await;
    match written {
        Err(status) if status.code == Code::AlreadyExists => {
            if labels.is_empty() {
                return Ok(());
            }
            containerd.label_content(content::Info { digest, size, labels }).await
        }
        other => other,
    }
}

/// Deletes the records of images that an earlier store had.
async fn forget_others(containerd: &Containerd, images: &[&Image]) -> Result<(), Error> {
    let failed = |image: &str, action| {
        let image = image.to_owned();
        move |status| Error::Containerd { image, action, status }
    };
    let known: BTreeSet<_> = images.iter().map(|i| i.name.as_str()).collect();
    for record in containerd.list_images().await.map_err(failed("images", "list"))? {
        if record.labels.contains_key(STORE_LABEL) && !known.contains(record.name.as_str()) {
            match containerd.delete_image(&record.name).await {
                Err(status) if status.code != Code::NotFound => return Err(failed(&record.name, "delete")(status)),
                _ => println!("forgotten: {}", record.name),
            }
        }
    }
    Ok(())
}

/// Waits until Kubernetes' interface lists the images. It reads the records once while it starts and follows events after
/// that; a record written in between may escape it (containerd 1.7, `pkg/cri/server/service.go`, `Run`). So the records
/// are written again until it has them all.
async fn see(containerd: &Containerd, records: &[Record]) -> Result<(), Error> {
    let failed = |action| move |status| Error::Containerd { image: "runtime.v1".to_owned(), action, status };
    let begin = Instant::now();
    loop {
        let answer: Result<cri::ListImagesResponse, Status> =
            containerd.channel().unary(&Context::default(), cri::LIST_IMAGES, Empty {}).await;
        let seen: BTreeSet<String> = match answer {
            Ok(list) => list.images.into_iter().flat_map(|i| i.repo_tags).collect(),
            // the plug-in answers so while it starts
            Err(s) if s.message.contains("not initialized") || s.code == Code::Unavailable => BTreeSet::new(),
            Err(status) => return Err(failed("list images")(status)),
        };
        let missing: Vec<_> = records.iter().filter(|r| !seen.contains(&r.name)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        if begin.elapsed() > SEEN_WITHIN {
            let missing = missing.iter().map(|r| r.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Error::Unseen { missing, seconds: SEEN_WITHIN.as_secs() });
        }
        for record in missing {
            containerd.update_image(record.clone()).await.map_err(failed("write the record"))?;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
