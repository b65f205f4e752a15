//! Results where people look for them: `dist/<arch>/<version>/`, with `dist/<arch>/current` pointing there.

use crate::{
    Error, Project, Target, Targets,
    disk::{Contents, layout},
    slot::Root,
};
use ::size::Report;
use defs::Format;
use graph::{Built, Cache, Graph, Input, StepId};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
};
use types::{Bytes, Digest};

/// What was written.
#[derive(Debug, Clone)]
pub struct Published {
    /// The folder.
    pub folder: PathBuf,
    /// Whether everything was there already.
    pub unchanged: bool,
    /// The description.
    pub image: ImageJson,
}

/// `image.json`: what an image is made of, so that two can be compared and one can be checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageJson {
    /// Version of this document's form.
    pub format: u32,
    /// `<version>-<flavour>-<arch>`
    pub version: String,
    /// Root hash of the slot's verity tree.
    pub root_hash: Digest,
    /// Length of the store, in blocks of 4096 bytes.
    pub data_blocks: u64,
    /// The partitions of the disk.
    pub partitions: Vec<PartitionJson>,
    /// Outputs of every step by `<step>:<output>`, with digest and size.
    pub blobs: BTreeMap<String, BlobJson>,
    /// Debian packages by `name:arch=version`, with their digests.
    pub debs: BTreeMap<String, Digest>,
    /// Source archives by name, with their digests.
    pub vendors: BTreeMap<String, Digest>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionJson {
    /// Number in the table.
    pub number: u32,
    /// Label.
    pub label: String,
    /// Its GUID.
    pub guid: String,
    /// First byte on the disk.
    pub start: Bytes,
    /// Size on the disk.
    pub size: Bytes,
    /// Number of bytes written; the rest is zero.
    pub written: Bytes,
    /// Digest of the bytes written; none for an empty partition.
    pub digest: Option<Digest>,
}

/// A blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobJson {
    /// sha256.
    pub digest: Digest,
    /// Size.
    pub size: Bytes,
}

/// Which file is meant to be there, so that an unchanged image is not written again: size and time of what was written.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    image: Digest,
    files: BTreeMap<String, (u64, i64, i64)>,
}

/// Writes an image's files from the outputs of its steps. Files appear complete or not at all.
///
/// # Errors
/// When the image is over a budget or does not fit where it must, or something cannot be written.
pub fn publish(
    project: &Project,
    target: Target,
    cache: &Cache,
    (graph, targets): (&Graph, &Targets),
    built: &Built,
    sizes: &Report,
    dist: &Path,
) -> Result<Published, Error> {
    let over = sizes.over();
    if !over.is_empty() {
        return Err(Error::OverBudget(over));
    }
    let misfits = sizes.misfits();
    if !misfits.is_empty() {
        return Err(Error::DoesNotFit(misfits));
    }
    let blob = |step: &StepId, output: &str| -> Result<(PathBuf, Digest), Error> {
        let missing = || graph::Error::UnknownStep { id: step.clone(), wanted_by: None, like: vec![] };
        let found = built.get(step, output).ok_or_else(missing)?;
        Ok((cache.cas().path(&found.digest), found.digest))
    };
    let root: Root = serde_json::from_slice(&cache.cas().read(&blob(&targets.slot, "root")?.1)?)
        .map_err(|e| err("read", Path::new(targets.slot.as_str()))(io::Error::other(e)))?;
    let (esp, slot, config) =
        (blob(&targets.esp, "esp")?, blob(&targets.slot, "slot")?, blob(&targets.config, "config")?);
    let live = project.defs.images.get("live").ok_or_else(|| Error::NoImage { name: "live".into() })?;
    let contents =
        Contents { esp: esp.0.clone(), slot: slot.0.clone(), config: config.0.clone(), root_hash: root.root_hash };
    let plan = layout(&project.defs, live, &contents).plan()?;

    let digests: BTreeMap<&Path, Digest> = [&esp, &slot, &config].into_iter().map(|(p, d)| (p.as_path(), *d)).collect();
    let partitions = plan.partitions.iter().map(|placed| {
        let p = &placed.partition;
        let written = p.content.as_deref().and_then(|c| fs::metadata(c).ok()).map_or(0, |m| m.len());
        PartitionJson {
            number: p.number,
            label: p.label.clone(),
            guid: p.guid.to_string(),
            start: placed.start,
            size: p.size,
            written: Bytes(written),
            digest: p.content.as_deref().and_then(|c| digests.get(c).copied()),
        }
    });
    let (lock, inputs) = (&project.lock, inputs(graph, built));
    let image = ImageJson {
        format: 1,
        version: project.full_version(target),
        root_hash: root.root_hash,
        data_blocks: root.data_blocks,
        partitions: partitions.collect(),
        blobs: blobs(built),
        debs: lock.debs().filter(|d| inputs.contains(&d.sha256)).map(|d| (d.id(), d.sha256)).collect(),
        vendors: lock.vendors().filter(|v| inputs.contains(&v.sha256)).map(|v| (v.name.clone(), v.sha256)).collect(),
    };
    let text = serde_json::to_string_pretty(&image).expect("its maps have string keys") + "\n";
    let sizes = serde_json::to_string(sizes).expect("it has no maps") + "\n";

    let folder = dist.join(target.arch.as_str()).join(&image.version);
    fs::create_dir_all(&folder).map_err(err("create", &folder))?;
    let names: Vec<&str> = live
        .formats
        .iter()
        .map(|f| match f {
            Format::Raw => "live.raw",
            Format::Qcow2 => "live.qcow2",
        })
        .chain(["image.json", "size.json", "evek.efi"])
        .collect();
    let wanted =
        |folder: &Path| Stamp { image: Digest::of(format!("{text}{sizes}").as_bytes()), files: files(folder, &names) };
    let stamp_path = folder.join(".stamp.json");
    let stamp: Option<Stamp> = fs::read(&stamp_path).ok().and_then(|b| serde_json::from_slice(&b).ok());
    let unchanged = stamp.as_ref() == Some(&wanted(&folder)) && stamp.is_some_and(|s| s.files.len() == names.len());
    if !unchanged {
        let raw = write(&folder, "live.raw", |file| Ok(plan.write(file, &mut |_| ())?))?;
        if live.formats.contains(&Format::Qcow2) {
            let raw = File::open(&raw).map_err(err("open", &raw))?;
            write(&folder, "live.qcow2", |file| Ok(::disk::qcow2::write(&raw, file, &mut |_| ())?))?;
        }
        let uki = blob(&targets.uki, "uki")?.0;
        write(&folder, "evek.efi", |file| {
            let mut from = File::open(&uki).map_err(err("open", &uki))?;
            let mut to: &File = file;
            io::copy(&mut from, &mut to).map(drop).map_err(err("copy", &uki))
        })?;
        for (name, text) in [("image.json", &text), ("size.json", &sizes)] {
            write(&folder, name, |file| {
                let mut file: &File = file;
                io::Write::write_all(&mut file, text.as_bytes()).map_err(err("write", &folder))
            })?;
        }
        let bytes = serde_json::to_vec(&wanted(&folder)).expect("its maps have string keys");
        fs::write(&stamp_path, bytes).map_err(err("write", &stamp_path))?;
    }
    point(&dist.join(target.arch.as_str()).join("current"), &image.version)?;
    Ok(Published { folder, unchanged, image })
}

fn err(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Publish { action, path, source }
}

fn blobs(built: &Built) -> BTreeMap<String, BlobJson> {
    let all =
        built.outputs.iter().flat_map(|(id, outputs)| outputs.iter().map(move |(name, output)| (id, name, output)));
    all.map(|(id, name, o)| (format!("{id}:{name}"), BlobJson { digest: o.digest, size: o.size })).collect()
}

/// The locked inputs that the steps of this image read.
fn inputs(graph: &Graph, built: &Built) -> BTreeSet<Digest> {
    let steps = built.outputs.keys().filter_map(|id| graph.get(id));
    let blobs = steps.flat_map(|step| step.inputs.values()).filter_map(|input| match input {
        Input::Blob(digest) => Some(*digest),
        _ => None,
    });
    blobs.collect()
}

fn files(folder: &Path, names: &[&str]) -> BTreeMap<String, (u64, i64, i64)> {
    let stat = |name: &&str| {
        let meta = fs::metadata(folder.join(name)).ok()?;
        Some(((*name).to_owned(), (meta.len(), meta.mtime(), meta.mtime_nsec())))
    };
    names.iter().filter_map(stat).collect()
}

/// Writes a file under another name and renames it once it is complete.
fn write(folder: &Path, name: &str, fill: impl FnOnce(&File) -> Result<(), Error>) -> Result<PathBuf, Error> {
    let tmp = folder.join(format!(".{name}.tmp"));
    let file =
        File::options().read(true).write(true).create(true).truncate(true).open(&tmp).map_err(err("create", &tmp))?;
    fill(&file).inspect_err(|_| drop(fs::remove_file(&tmp)))?;
    let path = folder.join(name);
    fs::rename(&tmp, &path).map_err(err("rename into", &path))?;
    Ok(path)
}

/// Makes a symlink lead to `to`, replacing one at once.
fn point(link: &Path, to: &str) -> Result<(), Error> {
    if fs::read_link(link).is_ok_and(|now| now == Path::new(to)) {
        return Ok(());
    }
    let tmp = link.with_extension("tmp");
    let _ = fs::remove_file(&tmp);
    symlink(to, &tmp).map_err(err("link", &tmp))?;
    fs::rename(&tmp, link).map_err(err("rename into", link))
}
