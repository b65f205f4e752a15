//! Writes a slot's partition so that it has the signed root hash.
//!
//! Every layer is written straight to its place: from the running store where that has it, else from the source. No bytes are kept
//! anywhere else. An interrupted update finds the layers that it has written by their digests.

use crate::{error::Error, source::Fetch};
use artefact::{Blob, Update};
use rustix::fs::{Advice, fadvise};
use slots::{Contents, SlotStatus};
use std::{
    fs::{self, File},
    io::{self, Read as _, Write},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};
use store::Layout;
use tree::Content;
use types::{Bytes, Digest, Hasher};

/// After so many bytes of a blob they are flushed to the disk and recorded.
const NOTED: u64 = 8 << 20;

/// The blob that was being fetched, and how much of it is on the disk.
pub(crate) type Partial = Option<(Digest, Bytes)>;

/// The result of writing a slot.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Written {
    /// Bytes of layers that were here: in the running store, or in the slot already.
    pub(crate) reused: Bytes,
}

/// The slot of an update.
pub(crate) struct Writer<'a> {
    pub(crate) fetch: &'a Fetch<'a>,
    pub(crate) update: &'a Update,
    pub(crate) slot: &'a SlotStatus,
    /// Its partition.
    pub(crate) device: PathBuf,
    /// The running store.
    pub(crate) store: &'a Path,
}

impl Writer<'_> {
    /// Writes store and verity tree, and reads them back. `before` is the record of an interrupted update; `note` replaces it.
    pub(crate) fn write(
        &self,
        layout: &Layout,
        before: Partial,
        note: &mut dyn FnMut(Partial) -> Result<(), Error>,
    ) -> Result<Written, Error> {
        let bad = |e: &dyn std::fmt::Display| Error::Store(e.to_string());
        let contents = Contents::new(layout, |digest| self.store.join(name(digest))).map_err(|e| bad(&e))?;
        let plan = contents.plan().map_err(|e| bad(&e))?;
        let size = plan.layout().size;
        if size.0 != self.update.data_blocks * verity::BLOCK {
            return Err(Error::Store(format!("it is {size}, {} blocks are signed", self.update.data_blocks)));
        }
        let needed = size + verity::overhead(size);
        if needed > self.slot.size {
            let place = self.slot.slot.label().to_owned();
            return Err(Error::NoRoom { what: "the update", needed, place, room: self.slot.size });
        }
        let file = File::options().read(true).write(true).open(&self.device);
        let file = file.map_err(Error::io("open", &self.device))?;
        let put = |bytes: &[u8], at: u64| file.write_all_at(bytes, at).map_err(Error::io("write", &self.device));
        put(&plan.head().map_err(|e| bad(&e))?, 0)?;
        let mut written = Written::default();
        for placed in plan.files() {
            let at = placed.at.0;
            let end = at + placed.content.len();
            match placed.content.as_ref() {
                Content::Inline(bytes) => put(bytes, at)?,
                Content::Range { len, .. } => {
                    let digest: Digest =
                        placed.path.rsplit('/').next().unwrap_or_default().parse().map_err(|e| bad(&e))?;
                    let blob = Blob { digest, size: Bytes(*len) };
                    if self.layer(&file, blob, at, before, note)? {
                        written.reused = written.reused + blob.size;
                    }
                }
            }
            put(&vec![0; (end.next_multiple_of(verity::BLOCK) - end) as usize], end)?;
        }
        self.finish(&file, size)?;
        Ok(written)
    }

    /// A layer at its place; says whether it was on this device.
    fn layer(
        &self,
        file: &File,
        blob: Blob,
        at: u64,
        before: Partial,
        note: &mut dyn FnMut(Partial) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        if hash(file, at, blob.size).map_err(Error::io("read", &self.device))?.finish() == blob.digest {
            return Ok(true);
        }
        let mut out = At { file, at };
        if let Ok(own) = File::open(self.store.join(name(&blob.digest))) {
            let copied = io::copy(&mut own.take(blob.size.0), &mut out);
            copied.map_err(Error::io("copy a layer to", &self.device))?;
            let copy = hash(file, at, blob.size).map_err(Error::io("read", &self.device))?;
            if copy.finish() == blob.digest {
                return Ok(true);
            }
            out.at = at;
        }
        let done = before.filter(|(digest, done)| *digest == blob.digest && *done <= blob.size).map_or(0, |(_, d)| d.0);
        let hash = hash(file, at, Bytes(done)).map_err(Error::io("read", &self.device))?;
        out.at = at + done;
        let what = format!("layer {}", blob.digest.short());
        let mut noted = done;
        let fetched = self.fetch.into(&what, blob, (done, hash), &mut out, &mut |seen| {
            if seen - noted >= NOTED {
                file.sync_data().map_err(Error::io("write", &self.device))?;
                noted = seen;
                note(Some((blob.digest, Bytes(seen))))?;
            }
            Ok(())
        });
        if let Err(Error::Damaged { .. }) = fetched {
            // what is there is not worth going on from
            note(None)?;
        }
        fetched.map(|()| false)
    }

    /// Adds the verity tree to what is on the medium, not in memory, and compares its root hash with the signed one.
    fn finish(&self, file: &File, size: Bytes) -> Result<(), Error> {
        let failed = || Error::io("read", &self.device);
        let settle = || -> io::Result<()> {
            file.sync_all()?;
            Ok(fadvise(file, 0, None, Advice::DontNeed)?)
        };
        settle().map_err(failed())?;
        let bad = |e: verity::Error| Error::Store(e.to_string());
        let (tree, tail) = verity::format(file, size, &[], None).map_err(bad)?;
        if tree.root_hash != self.update.root_hash {
            let (found, expected) = (tree.root_hash, self.update.root_hash);
            return Err(Error::RootHash { label: self.slot.slot.label(), found, expected });
        }
        file.write_all_at(&tail, size.0).map_err(Error::io("write", &self.device))?;
        settle().map_err(failed())?;
        let mut back = vec![0; tail.len()];
        file.read_exact_at(&mut back, size.0).map_err(failed())?;
        if back != tail {
            return Err(Error::Store(format!("{} does not keep what is written", self.device.display())));
        }
        Ok(())
    }
}

/// The documents of the store, from the running one where that has them.
pub(crate) fn layout(fetch: &Fetch<'_>, update: &Update, own: &Path) -> Result<Layout, Error> {
    let document = |what: &str, blob: Blob| match fs::read(own.join(name(&blob.digest))) {
        Ok(bytes) if Digest::of(&bytes) == blob.digest => Ok(bytes),
        _ => fetch.whole(what, blob),
    };
    let documents = update.documents.iter().map(|blob| Ok((blob.digest, document("a manifest", *blob)?)));
    Ok(Layout {
        oci_layout: store::OCI_LAYOUT.to_vec(),
        index: document("the index", update.index)?,
        documents: documents.collect::<Result<_, Error>>()?,
        layers: update.layers.iter().map(|blob| (blob.digest, blob.size)).collect(),
    })
}

fn name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn hash(file: &File, at: u64, len: Bytes) -> io::Result<Hasher> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    while done < len.0 {
        let most = usize::try_from(len.0 - done).unwrap_or(usize::MAX).min(buffer.len());
        file.read_exact_at(&mut buffer[..most], at + done)?;
        hasher.update(&buffer[..most]);
        done += most as u64;
    }
    Ok(hasher)
}

/// Writes at a place that moves on.
struct At<'a> {
    file: &'a File,
    at: u64,
}

impl Write for At<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.file.write_at(bytes, self.at)?;
        self.at += len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
