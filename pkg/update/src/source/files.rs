//! A folder, or a tar file of one: an OCI image layout.

use super::Source;
use crate::error::Error;
use artefact::oci::{IMAGE, Index};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Seek as _, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
};
use types::{Arch, Digest, Flavour};

/// Opens the folder or tar file at a path.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Source>, Error> {
    let meta = fs::metadata(path).map_err(Error::io("find", path))?;
    Ok(if meta.is_dir() { Box::new(Folder(path.to_owned())) } else { Box::new(Tar::open(path)?) })
}

/// The name of a blob in a layout.
pub(crate) fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// The manifest of the newest update in an index.
pub(crate) fn newest(index: &[u8], address: &str, flavour: Flavour, arch: Arch) -> Result<Digest, Error> {
    let index = Index::read(index)?;
    if let Some(found) = index.newest(flavour, arch) {
        return Ok(found.digest);
    }
    let others: Vec<_> = index.manifests.iter().filter_map(|m| m.annotations.get(IMAGE)).map(String::as_str).collect();
    let problem = match others.join(", ") {
        none if none.is_empty() => "there is no update at all".to_owned(),
        others => format!(
            "no update for {flavour} on {arch}, only {others}: what one flavour keeps in /persist means nothing to another, so \
             that a device gets another flavour by being installed anew"
        ),
    };
    Err(Error::Source { address: address.to_owned(), problem })
}

struct Folder(PathBuf);

impl Folder {
    fn file(&self, name: &str) -> Result<File, Error> {
        let path = self.0.join(name);
        File::open(&path).map_err(Error::io("open", path))
    }
}

impl Source for Folder {
    fn address(&self) -> String {
        self.0.display().to_string()
    }

    fn manifest(&self, flavour: Flavour, arch: Arch) -> Result<Vec<u8>, Error> {
        let mut index = Vec::new();
        self.file("index.json")?.read_to_end(&mut index).map_err(Error::io("read", self.0.join("index.json")))?;
        let name = blob(&newest(&index, &self.address(), flavour, arch)?);
        fs::read(self.0.join(&name)).map_err(Error::io("read", self.0.join(name)))
    }

    fn open(&self, digest: &Digest, range: Range<u64>) -> Result<Box<dyn Read + '_>, Error> {
        let name = blob(digest);
        let mut file = self.file(&name)?;
        file.seek(SeekFrom::Start(range.start)).map_err(Error::io("read", self.0.join(name)))?;
        Ok(Box::new(file.take(range.end - range.start)))
    }
}

/// A tar file, with the places of its files.
struct Tar {
    path: PathBuf,
    places: BTreeMap<String, Range<u64>>,
}

impl Tar {
    fn open(path: &Path) -> Result<Self, Error> {
        let places = || -> io::Result<_> {
            let mut archive = tar::Archive::new(File::open(path)?);
            let mut places = BTreeMap::new();
            for entry in archive.entries_with_seek()? {
                let entry = entry?;
                let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
                let start = entry.raw_file_position();
                places.insert(name, start..start + entry.size());
            }
            Ok(places)
        };
        Ok(Self { path: path.to_owned(), places: places().map_err(Error::io("read the tar file", path))? })
    }

    fn part(&self, name: &str, range: Option<Range<u64>>) -> Result<io::Take<File>, Error> {
        let missing = || Error::Source { address: self.address(), problem: format!("it has no {name}") };
        let place = self.places.get(name).ok_or_else(missing)?;
        let range = range.map_or(0..place.end - place.start, |r| r.start..r.end.min(place.end - place.start));
        let mut file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        file.seek(SeekFrom::Start(place.start + range.start)).map_err(Error::io("read", &self.path))?;
        Ok(file.take(range.end.saturating_sub(range.start)))
    }

    fn whole(&self, name: &str) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.part(name, None)?.read_to_end(&mut bytes).map_err(Error::io("read", &self.path))?;
        Ok(bytes)
    }
}

impl Source for Tar {
    fn address(&self) -> String {
        self.path.display().to_string()
    }

    fn manifest(&self, flavour: Flavour, arch: Arch) -> Result<Vec<u8>, Error> {
        let index = self.whole("index.json")?;
        self.whole(&blob(&newest(&index, &self.address(), flavour, arch)?))
    }

    fn open(&self, digest: &Digest, range: Range<u64>) -> Result<Box<dyn Read + '_>, Error> {
        Ok(Box::new(self.part(&blob(digest), Some(range))?))
    }
}
