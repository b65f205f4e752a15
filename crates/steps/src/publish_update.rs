//! Publishing images as updates.

use crate::{Artefact, Error, Part, Root, StoreParts, Target, signing::Signed};
use artefact::{
    Blob, FORMAT, Program, Request, Update,
    oci::{Index, Manifest},
};
use cas::Cas;
use serde::Serialize;
use sign::{Keys, Role};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use types::{Bytes, Digest};

/// A published update.
#[derive(Debug, Clone)]
pub struct PublishedUpdate {
    /// Its document.
    pub update: Update,
    /// Digest of its manifest.
    pub manifest: Digest,
    /// Bytes of all its blobs.
    pub size: Bytes,
}

/// The parts of an update.
#[derive(Debug, Clone)]
pub struct UpdateParts {
    /// `<version>-<flavour>-<arch>`.
    pub image: String,
    /// `<version>`.
    pub version: String,
    /// Its flavour and architecture.
    pub target: Target,
    /// The slot.
    pub root: Root,
    /// The kernel image, signed.
    pub kernel: Vec<u8>,
    /// The boot loader, signed.
    pub loader: Vec<u8>,
    /// The store.
    pub store: StoreParts,
}

impl Artefact<'_> {
    /// Writes the image as an update into an OCI image layout, beside existing updates. Files appear complete or not at
    /// all; `index.json` names the update after everything else is written.
    ///
    /// # Errors
    /// When the image exceeds a budget or does not fit a required layout, private keys are elsewhere, or writing fails.
    pub fn publish_update(&self, keys: &Keys, folder: &Path) -> Result<PublishedUpdate, Error> {
        self.judge()?;
        let cas = self.cache.cas();
        let image = self.project.full_version(self.target);
        let (loader, uki) = (self.blob(Part::Loader)?, self.blob(Part::Uki)?);
        let signed = Signed::new(keys, &image, cas, loader, uki)?;
        let store = cas.read(&self.blob(Part::Store)?)?;
        let parts = UpdateParts {
            image,
            version: self.project.version.clone(),
            target: self.target,
            root: self.root()?,
            kernel: cas.read(&signed.uki)?,
            loader: signed.loader,
            store: serde_json::from_slice(&store).expect("the step wrote it from this type"),
        };
        parts.write(keys, cas, folder)
    }
}

impl UpdateParts {
    /// Writes the parts as [`Artefact::publish_update`] does, with the layers from a cache.
    ///
    /// # Errors
    /// As of [`Artefact::publish_update`].
    pub fn write(&self, keys: &Keys, cas: &Cas, folder: &Path) -> Result<PublishedUpdate, Error> {
        let blob = |bytes: &[u8]| Blob { digest: Digest::of(bytes), size: Bytes(bytes.len() as u64) };
        let (kernel, StoreParts { index, documents, layers }) = (blob(&self.kernel), &self.store);
        let update = Update {
            format: FORMAT,
            image: self.image.clone(),
            version: self.version.clone(),
            flavour: self.target.flavour,
            arch: self.target.arch,
            root_hash: self.root.root_hash,
            data_blocks: self.root.data_blocks,
            kernel: Program { digest: kernel.digest, size: kernel.size, chunks: artefact::chunk::chunks(&self.kernel) },
            loader: blob(&self.loader),
            index: blob(index.as_bytes()),
            documents: documents.iter().map(|text| blob(text.as_bytes())).collect(),
            layers: layers.iter().map(|(digest, size)| Blob { digest: *digest, size: *size }).collect(),
        };
        let request = Request::new(&update, keys.certificate(Role::Db), keys.certificate(Role::Update));
        let signatures = keys.sign(&request.wanted)?;
        let signatures = json(&request.signed([&signatures[0], &signatures[1]]));
        let manifest = Manifest::new(&update, &signatures).json();

        let to = Folder::open(folder)?;
        let programs = [self.kernel.as_slice(), &self.loader, index.as_bytes(), &update.json(), &signatures, &manifest];
        for bytes in programs.into_iter().chain(documents.iter().map(String::as_bytes)) {
            to.put(bytes)?;
        }
        for (digest, size) in layers {
            to.copy(&cas.path(digest), digest, *size)?;
        }
        to.name(&update, &manifest)?;
        let size = Bytes(update.blobs().iter().map(|blob| blob.size.0).sum());
        Ok(PublishedUpdate { update, manifest: Digest::of(&manifest), size })
    }
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("it has no maps")
}

/// An OCI image layout (OCI image-spec, image-layout.md).
struct Folder(PathBuf);

impl Folder {
    fn open(path: &Path) -> Result<Self, Error> {
        let blobs = path.join("blobs/sha256");
        fs::create_dir_all(&blobs).map_err(err("make", &blobs))?;
        let folder = Self(path.to_owned());
        folder.replace("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        Ok(folder)
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.0.join("blobs/sha256").join(digest.hex())
    }

    /// A blob from memory.
    fn put(&self, bytes: &[u8]) -> Result<(), Error> {
        let path = self.blob(&Digest::of(bytes));
        if fs::metadata(&path).is_ok_and(|found| found.len() == bytes.len() as u64) {
            return Ok(());
        }
        appear(&path, |new| fs::write(new, bytes))
    }

    /// A blob from a file.
    fn copy(&self, from: &Path, digest: &Digest, size: Bytes) -> Result<(), Error> {
        let path = self.blob(digest);
        if fs::metadata(&path).is_ok_and(|found| found.len() == size.0) {
            return Ok(());
        }
        appear(&path, |new| fs::copy(from, new).map(drop))
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        appear(&self.0.join(name), |new| fs::write(new, bytes))
    }

    /// Names an update in the index.
    fn name(&self, update: &Update, manifest: &[u8]) -> Result<(), Error> {
        let path = self.0.join("index.json");
        let mut index = match fs::read(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Index::default(),
            other => Index::read(&other.map_err(err("read", &path))?)?,
        };
        index.add(update, manifest);
        self.replace("index.json", &index.json())
    }
}

/// Writes a file under another name and renames it once it is complete.
fn appear(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.tmp"));
    write(&new).map_err(err("write", &new))?;
    fs::rename(&new, path).map_err(err("rename into", path))
}

fn err(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Publish { action, path, source }
}

/// Writes a folder with updates as one tar file, which devices read like the folder.
///
/// # Errors
/// When something cannot be read or written.
pub fn pack(folder: &Path, to: &Path) -> Result<(), Error> {
    appear(to, |new| {
        let mut tar = tar::Builder::new(io::BufWriter::new(fs::File::create(new)?));
        let mut names = vec!["oci-layout".to_owned(), "index.json".to_owned()];
        let mut blobs: Vec<_> = fs::read_dir(folder.join("blobs/sha256"))?
            .map(|item| Ok(format!("blobs/sha256/{}", item?.file_name().to_string_lossy())))
            .collect::<io::Result<_>>()?;
        blobs.sort();
        names.extend(blobs);
        for name in names {
            let mut file = fs::File::open(folder.join(&name))?;
            let mut header = tar::Header::new_ustar();
            header.set_size(file.metadata()?.len());
            header.set_mode(0o644);
            header.set_mtime(types::EPOCH);
            tar.append_data(&mut header, &name, &mut file)?;
        }
        tar.into_inner()?.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    })
}
