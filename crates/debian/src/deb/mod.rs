//! Reading `.deb` files (deb(5)): an `ar` archive of `debian-binary`, `control.tar.*` and `data.tar.*`.
//!
//! ```text
//! .deb ──ar──► data.tar.xz ──decompress──► spool file (the plain tar)
//!                                             ▲ offset, len
//!                                           Tree: path ► Entry { mode, uid, gid, xattrs, File(Range) }
//! ```
//! Nothing is extracted to disk, and no package script is run or even looked at.

mod ar;

use crate::{
    deb822,
    limit::{self, Limited},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Take, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};
use tree::{Content, Entry, Kind, Tree, TreePath};
use types::Bytes;

/// Why a `.deb` cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", deb.display())]
pub struct Error {
    /// The file.
    pub deb: PathBuf,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a `.deb`.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Reading the file or writing the spool failed, or compressed data are damaged.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// What the system or the decompressor said.
        source: io::Error,
    },
    /// A part that every package has is not there.
    #[error("has no {0}; it is no Debian package of format 2.0")]
    Missing(&'static str),
    /// A compression that is not read.
    #[error("{0} is compressed in a way that is not known: xz, zst and gz are")]
    Compression(String),
    /// A hard link that names no file of the package.
    #[error("{source}")]
    Tree {
        /// Which link, and what it names.
        source: tree::Error,
    },
    /// An entry that a tree cannot hold.
    #[error("entry {path}: {reason}")]
    Entry {
        /// Its path as written.
        path: String,
        /// Why not.
        reason: String,
    },
}

fn io_error(action: &'static str) -> impl FnOnce(io::Error) -> Problem {
    move |source| Problem::Io { action, source }
}

/// Unpacks the files of a package: the plain tar goes to `spool`, which is made or replaced, and the tree's contents are
/// ranges of it. Owners are the numbers in the tar.
///
/// # Errors
/// When it cannot be read or written, is larger than [`limit`] allows, or holds paths or hard links that lead out of it. No
/// spool is left then.
pub fn unpack(deb: &Path, spool: &Path) -> Result<Tree, Error> {
    let unpacked = spool_data(deb, spool).and_then(|file| read_tar(file, spool));
    unpacked.map_err(|problem| {
        // The spool may not even exist; the first problem is the one to tell.
        let _ = std::fs::remove_file(spool);
        Error { deb: deb.to_owned(), problem }
    })
}

/// The fields of a package's control file.
///
/// # Errors
/// When it cannot be read or has no control file.
pub fn control(deb: &Path) -> Result<BTreeMap<String, String>, Error> {
    let read = || {
        let mut tar = tar::Archive::new(member(deb, "control.tar", limit::CONTROL_TAR)?);
        for entry in tar.entries().map_err(io_error("read control.tar"))? {
            let mut entry = entry.map_err(io_error("read control.tar"))?;
            if entry.path_bytes().strip_prefix(b"./").unwrap_or(&entry.path_bytes()) == b"control" {
                let mut text = String::new();
                Limited::new(&mut entry, limit::CONTROL).read_to_string(&mut text).map_err(io_error("read control"))?;
                let stanza = deb822::stanzas(&text).next().ok_or(Problem::Missing("control file"))?;
                return Ok(stanza.fields().map(|(n, v)| (n.to_owned(), v.to_owned())).collect());
            }
        }
        Err(Problem::Missing("control file"))
    };
    read().map_err(|problem| Error { deb: deb.to_owned(), problem })
}

/// A decompressed member of at most `max` bytes, found by its name without the compression's suffix.
fn member(deb: &Path, name: &'static str, max: Bytes) -> Result<Box<dyn Read>, Problem> {
    let file = File::open(deb).map_err(io_error("open it"))?;
    let mut ar = ar::Reader::new(BufReader::with_capacity(1 << 16, file)).map_err(io_error("read it"))?;
    while let Some(found) = ar.next_member().map_err(io_error("read it"))? {
        if let Some(suffix) = found.name.strip_prefix(name) {
            let bytes: Take<_> = ar.into_contents(&found);
            return match suffix {
                ".xz" => Ok(Box::new(limit::xz(bytes, max))),
                ".zst" => {
                    let decoder = zstd::Decoder::new(bytes).map_err(io_error("start zstd"))?;
                    Ok(Box::new(Limited::new(decoder, max)))
                }
                ".gz" => Ok(Box::new(Limited::new(flate2::read::MultiGzDecoder::new(bytes), max))),
                "" => Ok(Box::new(Limited::new(bytes, max))),
                _ => Err(Problem::Compression(found.name)),
            };
        }
        ar.skip(&found).map_err(io_error("read it"))?;
    }
    Err(Problem::Missing(name))
}

fn spool_data(deb: &Path, spool: &Path) -> Result<File, Problem> {
    let mut data = member(deb, "data.tar", limit::DATA_TAR)?;
    let options = File::options().read(true).write(true).create(true).truncate(true).open(spool);
    let mut out = BufWriter::with_capacity(1 << 18, options.map_err(io_error("create the spool file"))?);
    let mut buffer = vec![0; 1 << 17];
    loop {
        match data.read(&mut buffer).map_err(io_error("decompress data.tar"))? {
            0 => break,
            n => out.write_all(&buffer[..n]).map_err(io_error("write the spool file"))?,
        }
    }
    out.into_inner().map_err(|e| io_error("write the spool file")(e.into_error()))
}

/// Reads a plain tar that lies on disk, such as a layer made earlier; the tree's contents are ranges of it.
///
/// # Errors
/// When it cannot be read, or holds paths that lead out of it.
pub fn read_plain_tar(tar: &Path) -> Result<Tree, Error> {
    let opened = File::open(tar).map_err(io_error("open the tar"));
    opened.and_then(|file| read_tar(file, tar)).map_err(|problem| Error { deb: tar.to_owned(), problem })
}

fn read_tar(mut file: File, spool: &Path) -> Result<Tree, Problem> {
    io::Seek::rewind(&mut file).map_err(io_error("read the spool file"))?;
    let size = file.metadata().map_err(io_error("look at the spool file"))?.len();
    let spool = Arc::new(spool.to_owned());
    let mut tree = Tree::default();
    let mut tar = tar::Archive::new(file);
    for entry in tar.entries_with_seek().map_err(io_error("read data.tar"))? {
        let mut entry = entry.map_err(io_error("read data.tar"))?;
        let shown = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let bad = |reason: String| Problem::Entry { path: shown.clone(), reason };
        let text = |bytes: &[u8], what: &str| {
            std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| bad(format!("its {what} is not UTF-8")))
        };
        let written = text(&entry.path_bytes(), "path")?;
        if written.starts_with('/') {
            return Err(bad("its path is absolute".to_owned()));
        }
        let path = TreePath::new(&written).map_err(|e| bad(e.to_string()))?;
        let target = entry.link_name_bytes().map(|bytes| text(&bytes, "target")).transpose()?;
        let kind = kind_of(&entry, target, &spool).map_err(&bad)?;
        if matches!(&kind, Kind::File(Content::Range { offset, len, .. }) if offset.saturating_add(*len) > size) {
            return Err(bad("its contents go beyond the end of the archive".to_owned()));
        }
        if tree.len() >= limit::ENTRIES {
            return Err(bad(format!("it is beyond the limit of {} entries", limit::ENTRIES)));
        }
        let xattrs = xattrs_of(&mut entry).map_err(io_error("read data.tar"))?;
        let header = entry.header();
        let number = |n: io::Result<u64>| n.ok().and_then(|n| u32::try_from(n).ok());
        let (Some(uid), Some(gid)) = (number(header.uid()), number(header.gid())) else {
            return Err(bad("its owner is not a number of 32 bits".to_owned()));
        };
        let mode = header.mode().map_err(|e| bad(e.to_string()))? & 0o7777;
        let mode = if matches!(kind, Kind::Symlink(_)) { 0o777 } else { mode };
        tree.insert(path, Entry { mode, uid, gid, xattrs, kind }).map_err(|e| bad(e.to_string()))?;
    }
    tree.check_links().map_err(|e| Problem::Tree { source: e })?;
    Ok(tree)
}

fn kind_of<R: Read>(entry: &tar::Entry<'_, R>, target: Option<String>, spool: &Arc<PathBuf>) -> Result<Kind, String> {
    use tar::EntryType;
    let header = entry.header();
    let device = || {
        let (major, minor) = (header.device_major(), header.device_minor());
        major.ok().flatten().zip(minor.ok().flatten()).ok_or("it is a device without numbers")
    };
    let target = target.ok_or("it is a link without a target");
    Ok(match header.entry_type() {
        EntryType::Directory => Kind::Dir,
        EntryType::Regular | EntryType::Continuous => {
            let (offset, len) = (entry.raw_file_position(), entry.size());
            Kind::File(Content::Range { file: spool.clone(), offset, len })
        }
        EntryType::Symlink => Kind::Symlink(target?),
        EntryType::Link => Kind::Hardlink(TreePath::new(&target?).map_err(|e| e.to_string())?),
        EntryType::Char => device().map(|(major, minor)| Kind::Char(major, minor))?,
        EntryType::Block => device().map(|(major, minor)| Kind::Block(major, minor))?,
        EntryType::Fifo => Kind::Fifo,
        other => return Err(format!("its type {:?} is not one that packages have", char::from(other.as_byte()))),
    })
}

fn xattrs_of<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut xattrs = BTreeMap::new();
    let Some(extensions) = entry.pax_extensions()? else { return Ok(xattrs) };
    for extension in extensions {
        let extension = extension?;
        let key = extension.key().map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
            xattrs.insert(name.to_owned(), extension.value_bytes().to_vec());
        }
    }
    Ok(xattrs)
}

#[cfg(test)]
mod tests;
