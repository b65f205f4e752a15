use crate::{Cache, Error, Output, OutputKind, Record, cache::remove_all};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};
use types::{Bytes, Digest};

/// The result of a collection. Sizes are allocated bytes, without holes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Swept {
    /// Removed records of steps.
    pub records: usize,
    /// Removed blobs and trees.
    pub outputs: usize,
    /// Their size.
    pub freed: Bytes,
    /// The size of the cache now.
    pub left: Bytes,
}

/// A blob or tree whose bytes do not have its digest. It has been removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Broken {
    /// File or folder.
    pub kind: OutputKind,
    /// The digest in its name.
    pub digest: Digest,
}

type Thing = (OutputKind, Digest);

struct Remembered {
    path: PathBuf,
    used: SystemTime,
    things: BTreeSet<Thing>,
}

impl Cache {
    /// Shrinks the cache to at most `limit`. Removes first the blobs that were set aside as damaged, then the outputs to
    /// which no record and no member of `keep` refers, then the least recently used steps. `keep` are blobs to keep in any
    /// case, such as the locked inputs.
    ///
    /// # Errors
    /// [`Error::InUse`] while another process uses the cache; or when something cannot be read or removed.
    pub fn gc(&self, limit: Bytes, keep: &BTreeSet<Digest>) -> Result<Swept, Error> {
        self.alone(|| self.collect(limit, keep))
    }

    fn collect(&self, limit: Bytes, keep: &BTreeSet<Digest>) -> Result<Swept, Error> {
        let things = self.things()?;
        let mut records = self.remembered()?;
        records.sort_by(|a, b| a.used.cmp(&b.used).then_with(|| a.path.cmp(&b.path)));
        let mut users: BTreeMap<Thing, usize> = BTreeMap::new();
        for thing in records.iter().flat_map(|r| &r.things) {
            *users.entry(*thing).or_default() += 1;
        }
        // kept for a look at them until now
        list(&self.cas().damaged())?.iter().try_for_each(|path| remove_all(path))?;
        let mut swept = Swept { left: things.values().copied().sum(), ..Swept::default() };
        let kept = |thing: &Thing| thing.0 == OutputKind::Blob && keep.contains(&thing.1);
        for thing in things.keys().filter(|t| !users.contains_key(*t) && !kept(t)) {
            self.drop_thing(thing, things[thing], &mut swept)?;
        }
        for record in records {
            if swept.left <= limit {
                break;
            }
            // the record first, so that no record refers to a missing output
            fs::remove_file(&record.path).map_err(Error::io("remove", &record.path))?;
            swept.records += 1;
            for thing in record.things {
                let count = users.entry(thing).or_insert(1);
                *count -= 1;
                if let (0, false, Some(size)) = (*count, kept(&thing), things.get(&thing)) {
                    self.drop_thing(&thing, *size, &mut swept)?;
                }
            }
        }
        Ok(swept)
    }

    fn drop_thing(&self, thing: &Thing, size: Bytes, swept: &mut Swept) -> Result<(), Error> {
        self.remove_output(&Output { kind: thing.0, digest: thing.1, size: Bytes(0) })?;
        swept.outputs += 1;
        swept.freed = swept.freed + size;
        swept.left = Bytes(swept.left.0.saturating_sub(size.0));
        Ok(())
    }

    /// Reads every blob and tree, and removes the damaged ones; the next run makes them again.
    ///
    /// # Errors
    /// [`Error::InUse`] while another process uses the cache; or when something cannot be read or removed.
    pub fn verify(&self) -> Result<Vec<Broken>, Error> {
        self.alone(|| {
            let mut all = Vec::new();
            for (kind, digest) in self.things()?.into_keys() {
                let output = Output { kind, digest, size: Bytes(0) };
                if !self.verify_output(&output)? {
                    self.remove_output(&output)?;
                    all.push(Broken { kind, digest });
                }
            }
            Ok(all)
        })
    }

    /// Every record, with the outputs it keeps alive: its own, and the inputs that no step makes. An input that some step makes
    /// lives as long as that step's record.
    fn remembered(&self) -> Result<Vec<Remembered>, Error> {
        let mut records = Vec::new();
        for path in list(&self.root().join("steps"))? {
            let read: Option<Record> = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let Some(record) = read else {
                remove_all(&path)?;
                continue;
            };
            let used = path.metadata().and_then(|m| m.modified()).map_err(Error::io("look at", &path))?;
            records.push((path, used, record));
        }
        let made: BTreeSet<Digest> =
            records.iter().flat_map(|(_, _, r)| r.outputs.values().map(|o| o.digest)).collect();
        let remembered = records.into_iter().map(|(path, used, record)| {
            let outside = record.key.inputs.values().filter(|d| !made.contains(d)).map(|d| (OutputKind::Blob, *d));
            let things = record.outputs.values().map(|o| (o.kind, o.digest)).chain(outside).collect();
            Remembered { path, used, things }
        });
        Ok(remembered.collect())
    }

    /// Every blob and tree, with its allocated bytes.
    fn things(&self) -> Result<BTreeMap<Thing, Bytes>, Error> {
        let mut things = BTreeMap::new();
        let mut add = |kind, path: &Path| -> Result<(), Error> {
            if let Some(Ok(digest)) = path.file_name().map(|n| n.to_string_lossy().parse::<Digest>()) {
                things.insert((kind, digest), on_disk(path)?);
            }
            Ok(())
        };
        for folder in list(&self.cas().root().join("blobs"))? {
            list(&folder)?.iter().try_for_each(|path| add(OutputKind::Blob, path))?;
        }
        list(&self.root().join("trees"))?.iter().try_for_each(|path| add(OutputKind::Tree, path))?;
        Ok(things)
    }
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(folder).map_err(Error::io("read", folder))?;
    entries.map(|entry| Ok(entry.map_err(Error::io("read", folder))?.path())).collect()
}

fn on_disk(path: &Path) -> Result<Bytes, Error> {
    let meta = path.symlink_metadata().map_err(Error::io("look at", path))?;
    // st_blocks counts 512-byte units whatever the file system (stat(2))
    let own = Bytes(meta.blocks() * 512);
    if !meta.is_dir() {
        return Ok(own);
    }
    list(path)?.iter().try_fold(own, |sum, path| Ok(sum + on_disk(path)?))
}
