//! Publishing images: `dist/<arch>/<version>/`, and the link `dist/<arch>/current` to it.

use crate::{
    Error, Part, Project, Target, Targets,
    disk::{Contents, layout},
    firmware::whole_file,
    image_json::{BlobJson, ImageJson, PartitionJson, SigningJson},
    signing::{self, Signed},
    slot::Root,
};
use ::size::Report;
use boot::loader;
use boot::measure::{CONFIG_PCR, PCR, PHASES, Register, config_event, is_measured, measure};
use defs::{Format, ImageDef};
use graph::{Built, Cache, Graph, Input};
use segments::{SECTOR, SegmentList};
use serde::{Deserialize, Serialize};
use sign::{Keys, Role};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    ops::Range,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
};
use types::{Bytes, Digest};

/// A published image.
#[derive(Debug, Clone)]
pub struct Published {
    /// The folder.
    pub folder: PathBuf,
    /// Whether all files were up to date already.
    pub unchanged: bool,
    /// The description.
    pub image: ImageJson,
}

impl Published {
    /// The disk as raw bytes.
    #[must_use]
    pub fn raw(&self) -> PathBuf {
        self.folder.join(self.image.files.get("raw").map_or("", String::as_str))
    }
}

/// The size and time of a written file, so that an unchanged image is not written again.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stamp {
    made_of: Digest,
    files: BTreeMap<String, (u64, i64, i64)>,
}

/// A built image.
pub struct Artefact<'a> {
    /// The checkout.
    pub project: &'a Project,
    /// The name of its recipe, with which the names of its files begin.
    pub image: &'a str,
    /// Its flavour and architecture.
    pub target: Target,
    /// The cache with its parts.
    pub cache: &'a Cache,
    /// Its graph.
    pub graph: &'a Graph,
    /// The steps of its parts.
    pub targets: &'a Targets,
    /// The outputs of its steps.
    pub built: &'a Built,
    /// Its sizes.
    pub sizes: &'a Report,
}

/// The blobs of a disk.
#[derive(Debug, Clone, Copy)]
struct Parts {
    uki: Digest,
    esp: Digest,
    slot: Digest,
    config: Digest,
}

impl Artefact<'_> {
    /// Writes the image's files into a folder of `dist`, signed if there are keys. Files appear complete or not at all.
    ///
    /// # Errors
    /// When the image exceeds a budget or does not fit a required layout, private keys are elsewhere, or writing fails.
    pub fn publish(&self, keys: Option<&Keys>, dist: &Path) -> Result<Published, Error> {
        self.judge()?;
        let mut parts = Parts {
            uki: self.blob(Part::Uki)?,
            esp: self.blob(Part::Esp)?,
            slot: self.blob(Part::Slot)?,
            config: self.blob(Part::Config)?,
        };
        let mut image = self.describe(&parts, keys)?;
        let sizes = serde_json::to_string(self.sizes).expect("it has no maps") + "\n";
        let arch = dist.join(self.target.arch.as_str());
        let name = if keys.is_some() { image.version.clone() } else { format!("{}.unsigned", image.version) };
        let folder = arch.join(&name);
        fs::create_dir_all(&folder).map_err(err("create", &folder))?;
        let made_of = Digest::of(format!("{} {}{sizes}", signing::VERSION, text(&image)).as_bytes());
        let known = stamped(&folder, made_of, &files(&image)).then(|| read(&folder)).flatten();
        let unchanged = known.is_some();
        if let Some(known) = known {
            image = known;
        } else {
            if let Some(keys) = keys {
                let loader = self.blob(Part::Loader)?;
                let signed = Signed::new(keys, &image.version, self.cache.cas(), loader, parts.uki)?;
                parts.uki = signed.uki;
                parts.esp =
                    signed.esp(self.project.esp(self.recipe()?, self.target), self.shim(keys)?, self.cache.cas())?;
                image = self.describe(&parts, Some(keys))?;
            }
            self.write(&parts, &mut image, &sizes, &folder)?;
            let stamp = Stamp { made_of, files: state(&folder, &files(&image)) };
            let stamp = serde_json::to_vec(&stamp).expect("its maps have string keys");
            fs::write(folder.join(STAMP), stamp).map_err(err("write", &folder))?;
        }
        point(&arch.join("current"), &name)?;
        Ok(Published { folder, unchanged, image })
    }

    /// shim and its files, with the owner's certificate to enroll.
    fn shim(&self, keys: &Keys) -> Result<Option<loader::Shim>, Error> {
        if !self.targets.has(Part::Shim) {
            return Ok(None);
        }
        let content = |part| {
            let path = self.cache.cas().path(&self.blob(part)?);
            whole_file(path).map_err(|e| Error::Signed { problem: e.to_string() })
        };
        let certificate = Some(keys.certificate(Role::Db).der().to_owned());
        Ok(Some(loader::Shim { program: content(Part::Shim)?, manager: content(Part::MokManager)?, certificate }))
    }

    pub(crate) fn judge(&self) -> Result<(), Error> {
        let over = self.sizes.over();
        if !over.is_empty() {
            return Err(Error::OverBudget(over));
        }
        let misfits = self.sizes.misfits();
        if misfits.is_empty() { Ok(()) } else { Err(Error::DoesNotFit(misfits)) }
    }

    pub(crate) fn blob(&self, part: Part) -> Result<Digest, Error> {
        self.targets.digest(part, self.built)
    }

    fn recipe(&self) -> Result<&ImageDef, Error> {
        self.project.recipe(self.image)
    }

    pub(crate) fn root(&self) -> Result<Root, Error> {
        let root = self.cache.cas().read(&self.blob(Part::Root)?)?;
        let step = self.targets.part(Part::Root)?.0;
        serde_json::from_slice(&root).map_err(|e| err("read", Path::new(step.as_str()))(io::Error::other(e)))
    }

    /// The disk with these parts.
    fn plan(&self, parts: &Parts) -> Result<::disk::Plan, Error> {
        let path = |digest| self.cache.cas().path(digest);
        let contents = Contents {
            esp: path(&parts.esp),
            slot: path(&parts.slot),
            config: path(&parts.config),
            root_hash: self.root()?.root_hash,
        };
        Ok(layout(&self.project.defs, self.recipe()?, &contents).plan()?)
    }

    fn describe(&self, parts: &Parts, keys: Option<&Keys>) -> Result<ImageJson, Error> {
        let plan = self.plan(parts)?;
        let digests = [parts.esp, parts.slot, parts.config].map(|digest| (self.cache.cas().path(&digest), digest));
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
                digest: digests.iter().find(|(path, _)| Some(path) == p.content.as_ref()).map(|(_, digest)| *digest),
            }
        });
        let mark = signing::mark(keys);
        let formats = self
            .recipe()?
            .formats
            .iter()
            .map(|format| (format.as_str().to_owned(), format!("{}{mark}.{}", self.image, format.extension())));
        let roles = || signing::ENROLLED.into_iter().chain([Role::Pcr, Role::PcrBefore]);
        let certificate = |keys: &Keys, role| Some((role, keys.certificates().get(&role)?.fingerprint()));
        let certificates = |keys: &Keys| roles().filter_map(|role| certificate(keys, role)).collect();
        let (root, inputs, lock) = (self.root()?, inputs(self.graph, self.built), &self.project.lock);
        Ok(ImageJson {
            format: 2,
            version: self.project.full_version(self.target),
            root_hash: root.root_hash,
            data_blocks: root.data_blocks,
            files: formats.chain([("efi".to_owned(), format!("evek{mark}.efi"))]).collect(),
            signing: keys.map(|keys| SigningJson {
                purpose: keys.purpose(),
                warning: signing::warning(keys),
                certificates: certificates(keys),
            }),
            measurements: self.measurements(parts)?,
            partitions: partitions.collect(),
            // known once the disk is written
            disk: SegmentList::default(),
            blobs: blobs(self.built),
            debs: lock.debs().filter(|d| inputs.contains(&d.sha256)).map(|d| (d.id(), d.sha256)).collect(),
            vendors: lock
                .vendors()
                .filter(|v| inputs.contains(&v.sha256))
                .map(|v| (v.name.clone(), v.sha256))
                .collect(),
        })
    }

    /// The predicted registers of a TPM.
    fn measurements(&self, parts: &Parts) -> Result<BTreeMap<String, Digest>, Error> {
        let mut registers = BTreeMap::new();
        // shim extends it too, by values that depend on the machine
        if !self.targets.has(Part::Shim) {
            // the image's CONFIG has no files
            let config = Register::default().extended(config_event(&BTreeMap::new()).as_bytes());
            registers.insert(format!("pcr{CONFIG_PCR}"), config.value());
        }
        let uki = self.cache.cas().read(&parts.uki)?;
        if is_measured(&uki)? {
            let start = measure(&uki)?;
            let ready = PHASES.iter().fold(start, |register, phase| register.extended(phase.as_bytes()));
            registers.insert(format!("pcr{PCR}"), start.value());
            registers.insert(format!("pcr{PCR}-ready"), ready.value());
        }
        Ok(registers)
    }

    fn write(&self, parts: &Parts, image: &mut ImageJson, sizes: &str, folder: &Path) -> Result<(), Error> {
        clear(folder)?;
        let plan = self.plan(parts)?;
        let files = image.files.clone();
        let name = |form: &str| files.get(form).map(String::as_str);
        // the other forms are made from it
        let path = write(folder, name("raw").unwrap_or("disk.raw"), |file| Ok(plan.write(file, &mut |_| ())?))?;
        let mut raw = File::open(&path).map_err(err("open", &path))?;
        let mut guid = [0; 16];
        guid.copy_from_slice(&image.root_hash.as_bytes()[..16]);
        image.disk = segments::scan(&mut raw, plan.size, &used(image, &plan)).map_err(err("read", &path))?;
        for &format in &self.recipe()?.formats {
            let name = name(format.as_str()).unwrap_or_default();
            let path = folder.join(name);
            let failed = || err("write", &path);
            let fill = |file: &File| match format {
                Format::Raw => Ok(()),
                Format::Qcow2 => Ok(::disk::qcow2::write(&raw, file, &mut |_| ())?),
                Format::Vmdk => formats::vmdk(&raw, file, name, guid).map_err(failed()),
                Format::Vhdx => formats::vhdx(&raw, file, guid).map_err(failed()),
                Format::Vdi => formats::vdi(&raw, file, guid).map_err(failed()),
                Format::Gcp => formats::gcp(&raw, file).map_err(failed()),
                Format::Zstd => formats::zstd(&raw, file).map_err(failed()),
            };
            if format != Format::Raw {
                write(folder, name, fill)?;
            }
        }
        if let Some(name) = name("efi") {
            let uki = self.cache.cas().path(&parts.uki);
            write(folder, name, |file| {
                let mut from = File::open(&uki).map_err(err("open", &uki))?;
                let mut to: &File = file;
                io::copy(&mut from, &mut to).map(drop).map_err(err("copy", &uki))
            })?;
        }
        for (name, text) in [("image.json", text(image).as_str()), ("size.json", sizes)] {
            write(folder, name, |file| {
                let mut file: &File = file;
                io::Write::write_all(&mut file, text.as_bytes()).map_err(err("write", folder))
            })?;
        }
        Ok(())
    }
}

/// The ranges of a disk that file systems and firmware look at.
fn used(image: &ImageJson, plan: &::disk::Plan) -> Vec<Range<u64>> {
    // protective MBR, header and 128 entries; entries and header (UEFI 2.10 §5.3)
    let (first, last) = (0..34 * SECTOR, plan.size.0 - 33 * SECTOR..plan.size.0);
    let of = |p: &PartitionJson| p.start.0..(p.start + p.written.round_up(SECTOR)).0;
    let mut all: Vec<_> = image.partitions.iter().map(of).filter(|range| !range.is_empty()).collect();
    all.sort_by_key(|range| range.start);
    [first].into_iter().chain(all).chain([last]).collect()
}

/// The files that are up to date.
const STAMP: &str = ".stamp.json";

fn text(image: &ImageJson) -> String {
    serde_json::to_string_pretty(image).expect("its maps have string keys") + "\n"
}

/// The names of an image's files.
fn files(image: &ImageJson) -> Vec<&str> {
    image.files.values().map(String::as_str).chain(["image.json", "size.json"]).collect()
}

/// The description of the image in a folder.
fn read(folder: &Path) -> Option<ImageJson> {
    serde_json::from_slice(&fs::read(folder.join("image.json")).ok()?).ok()
}

/// Whether the files in a folder are the last written ones, and belong to this image.
fn stamped(folder: &Path, made_of: Digest, names: &[&str]) -> bool {
    let stamp: Option<Stamp> = fs::read(folder.join(STAMP)).ok().and_then(|b| serde_json::from_slice(&b).ok());
    stamp.is_some_and(|s| s.files.len() == names.len() && s == Stamp { made_of, files: state(folder, names) })
}

/// Removes the files of an earlier image, whose names may differ because they contain the kind of keys.
fn clear(folder: &Path) -> Result<(), Error> {
    for item in fs::read_dir(folder).map_err(err("read", folder))? {
        let path = item.map_err(err("read", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // files of the next form of an image, and of the last
        let made = Format::ALL.iter().map(|format| format.extension()).chain(["efi"]);
        let made = made.into_iter().any(|end| name.ends_with(&format!(".{end}")));
        if made || [STAMP, "image.json"].contains(&&*name) {
            fs::remove_file(&path).map_err(err("remove", &path))?;
        }
    }
    Ok(())
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

fn state(folder: &Path, names: &[&str]) -> BTreeMap<String, (u64, i64, i64)> {
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

/// Makes a symlink to `to`; replaces an existing one atomically.
fn point(link: &Path, to: &str) -> Result<(), Error> {
    if fs::read_link(link).is_ok_and(|now| now == Path::new(to)) {
        return Ok(());
    }
    let tmp = link.with_extension("tmp");
    let _ = fs::remove_file(&tmp);
    symlink(to, &tmp).map_err(err("link", &tmp))?;
    fs::rename(&tmp, link).map_err(err("rename into", link))
}
