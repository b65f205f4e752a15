//! A tree as a tar: POSIX.1-2001 (pax) format, the same bytes for the same tree on every machine.
//!
//! Order: the root `./`, then everything but hard links by path, then hard links by path, so that a link's target always
//! comes before it. Names longer than ustar's fields and extended attributes are pax records (`path`, `linkpath`,
//! `SCHILY.xattr.*`). There are no sparse members, no user names, and one time.

use crate::Error;
use std::io::{self, BufWriter, Read, Write};
use tar::{Builder, EntryType, Header};
use tree::{Entry, Kind, Tree, TreePath};
use types::{Bytes, Digest, DigestWriter, EPOCH};

/// A layer's tar: its digest is the `diff_id` of the OCI image configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerDigest {
    /// sha256 of the uncompressed tar.
    pub digest: Digest,
    /// Its size.
    pub size: Bytes,
}

const BUFFER: usize = 256 * 1024;
/// The name and link name fields of a ustar header hold 100 bytes.
const NAME_FIELD: usize = 100;

/// Writes a tree as a tar, hashing it on the way. `progress` receives the number of bytes as they are written.
///
/// # Errors
/// When a file's bytes cannot be read, the output cannot be written, or a hard link's target is no file of the tree.
pub fn write_tar(tree: &Tree, out: impl Write, mut progress: impl FnMut(u64)) -> Result<LayerDigest, Error> {
    let mut tar = Tar {
        builder: Builder::new(DigestWriter::new(BufWriter::with_capacity(BUFFER, out))),
        buffer: vec![0; BUFFER],
        progress: &mut progress,
    };
    let root = TreePath::default();
    let default_root = Entry::dir(0o755);
    tar.append(&root, tree.get(&root).unwrap_or(&default_root), None)?;
    let mut links = Vec::new();
    for (path, entry) in tree.iter().filter(|(path, _)| !path.is_root()) {
        match &entry.kind {
            Kind::Hardlink(target) => links.push((path, tree.link_target(path, target)?)),
            _ => tar.append(path, entry, None)?,
        }
    }
    for (path, (target, entry)) in links {
        tar.append(path, entry, Some(target.as_str()))?;
    }
    let finished = tar.builder.into_inner().and_then(|mut out| out.flush().map(|()| out));
    let (_, digest, size) = finished.map_err(Error::WriteTar)?.finish();
    Ok(LayerDigest { digest, size: Bytes(size) })
}

struct Tar<'a, W: Write> {
    builder: Builder<W>,
    buffer: Vec<u8>,
    progress: &'a mut dyn FnMut(u64),
}

impl<W: Write> Tar<'_, W> {
    /// Writes one member. A hard link is given its target's path and entry: containerd sets owner, mode and xattrs of each
    /// member on the shared inode, so all names must say the same.
    fn append(&mut self, path: &TreePath, entry: &Entry, hardlink: Option<&str>) -> Result<(), Error> {
        let mut header = Header::new_ustar();
        header.set_mode(entry.mode & 0o7777);
        header.set_uid(entry.uid.into());
        header.set_gid(entry.gid.into());
        header.set_mtime(EPOCH);
        header.set_size(0);
        // ustar wants device numbers in every header; tar's own default leaves them blank
        header.set_device_major(0).and_then(|()| header.set_device_minor(0)).map_err(Error::WriteTar)?;
        let mut content = None;
        let (kind, target) = match (&entry.kind, hardlink) {
            (_, Some(target)) => (EntryType::Link, target),
            (Kind::Dir, _) => (EntryType::Directory, ""),
            (Kind::Symlink(target), _) => (EntryType::Symlink, target.as_str()),
            (Kind::Fifo, _) => (EntryType::Fifo, ""),
            (Kind::Char(major, minor) | Kind::Block(major, minor), _) => {
                header.set_device_major(*major).map_err(Error::WriteTar)?;
                header.set_device_minor(*minor).map_err(Error::WriteTar)?;
                (if matches!(entry.kind, Kind::Char(..)) { EntryType::Char } else { EntryType::Block }, "")
            }
            (Kind::File(bytes), _) => {
                header.set_size(bytes.len());
                content = Some(bytes);
                (EntryType::Regular, "")
            }
            (Kind::Hardlink(target), None) => {
                let (link, target) = (path.clone(), target.clone());
                return Err(tree::Error::HardlinkTarget { link, target }.into());
            }
        };
        header.set_entry_type(kind);
        let name = match (path.is_root(), kind) {
            (true, _) => "./".to_owned(),
            (false, EntryType::Directory) => format!("{path}/"),
            (false, _) => path.as_str().to_owned(),
        };
        let mut pax: Vec<(String, &[u8])> = Vec::new();
        put_text(&mut header.as_old_mut().name, &name, "path", &mut pax);
        put_text(&mut header.as_old_mut().linkname, target, "linkpath", &mut pax);
        pax.extend(entry.xattrs.iter().map(|(name, value)| (format!("SCHILY.xattr.{name}"), value.as_slice())));
        let records = pax.iter().map(|(name, value)| (name.as_str(), *value));
        self.builder.append_pax_extensions(records).map_err(Error::WriteTar)?;
        header.set_cksum();
        self.builder.get_mut().write_all(header.as_bytes()).map_err(Error::WriteTar)?;
        content.map_or(Ok(()), |bytes| self.copy(path, bytes))
    }

    /// Copies a file's bytes and fills its last block with zeros.
    fn copy(&mut self, path: &TreePath, content: &tree::Content) -> Result<(), Error> {
        let unreadable = |source: io::Error| Error::Read { path: path.clone(), source };
        let mut left = content.len();
        let mut bytes = content.open().map_err(unreadable)?;
        while left > 0 {
            let want = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            bytes.read_exact(&mut self.buffer[..want]).map_err(unreadable)?;
            self.builder.get_mut().write_all(&self.buffer[..want]).map_err(Error::WriteTar)?;
            (self.progress)(want as u64);
            left -= want as u64;
        }
        let padding = content.len().next_multiple_of(512) - content.len();
        self.builder.get_mut().write_all(&[0; 512][..padding as usize]).map_err(Error::WriteTar)
    }
}

/// Puts a text into a header field, and into a pax record too where it is longer than the field.
fn put_text<'a>(field: &mut [u8; NAME_FIELD], text: &'a str, record: &str, pax: &mut Vec<(String, &'a [u8])>) {
    let fits = text.len().min(NAME_FIELD);
    field.fill(0);
    field[..fits].copy_from_slice(&text.as_bytes()[..fits]);
    if text.len() > NAME_FIELD {
        pax.push((record.to_owned(), text.as_bytes()));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;

    fn p(s: &str) -> TreePath {
        TreePath::new(s).unwrap()
    }

    /// One of everything.
    pub(crate) fn sample() -> Tree {
        let mut tree = Tree::default();
        let long = format!("usr/share/{}/{}", "d".repeat(80), "f".repeat(90));
        let mut ping = Entry::file(0o755, b"\x7fELF ping".to_vec());
        ping.xattrs
            .insert("security.capability".into(), crate::finish::capabilities::encode("cap_net_raw+ep").unwrap());
        for (path, entry) in [
            ("usr/bin", Entry::dir(0o755)),
            ("usr/bin/ping", ping),
            ("usr/bin/su", Entry::file(0o4755, b"su".repeat(600)).owned_by(0, 42)),
            ("usr/bin/a-link", Entry { kind: Kind::Hardlink(p("usr/bin/su")), ..Entry::dir(0) }),
            ("usr/bin/pong", Entry { kind: Kind::Hardlink(p("usr/bin/ping")), ..Entry::dir(0) }),
            ("bin", Entry::symlink("usr/bin")),
            ("usr/share/far", Entry::symlink("x".repeat(150))),
            ("dev/null", Entry { mode: 0o666, kind: Kind::Char(1, 3), ..Entry::dir(0) }),
            ("dev/nvme", Entry { mode: 0o660, kind: Kind::Block(259, 70_000), ..Entry::dir(0).owned_by(0, 6) }),
            ("run/pipe", Entry { mode: 0o600, kind: Kind::Fifo, ..Entry::dir(0) }),
            ("var/empty", Entry::file(0o644, vec![])),
            ("tmp", Entry::dir(0o1777)),
            (long.as_str(), Entry::file(0o640, b"long".to_vec()).owned_by(70_000, 3_000_000)),
        ] {
            tree.insert(p(path), entry).unwrap();
        }
        tree
    }

    fn written(tree: &Tree) -> (Vec<u8>, LayerDigest) {
        let mut bytes = Vec::new();
        let digest = write_tar(tree, &mut bytes, |_| ()).unwrap();
        assert_eq!((Digest::of(&bytes), bytes.len() as u64), (digest.digest, digest.size.0));
        (bytes, digest)
    }

    /// GNU tar 1.34, bsdtar 3.6.2 and mkfs.erofs 1.8.6 `--tar=f` (mounted by the kernel) give these very bytes back with
    /// all owners, modes, links, devices and xattrs as in `sample`.
    #[test]
    fn the_bytes_are_golden() {
        let (_, digest) = written(&sample());
        assert_eq!(digest.digest.hex(), "3720edeaae2641649571c3669b2e51174b14f50dd8141144d1dfdd61b6dff8a7");
    }

    #[test]
    fn everything_is_read_back() {
        let (bytes, _) = written(&sample());
        let mut found = Vec::new();
        for member in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut member = member.unwrap();
            let pax: Vec<String> = member
                .pax_extensions()
                .unwrap()
                .map_or_else(Vec::new, |records| records.map(|r| r.unwrap().key().unwrap().to_owned()).collect());
            let header = member.header();
            assert_eq!(header.mtime().unwrap(), EPOCH);
            let device = (header.device_major().unwrap().unwrap(), header.device_minor().unwrap().unwrap());
            let owner = (header.uid().unwrap(), header.gid().unwrap());
            let name = String::from_utf8(member.path_bytes().into_owned()).unwrap();
            let target = member.link_name_bytes().map(|l| String::from_utf8(l.into_owned()).unwrap());
            found.push((name, header.mode().unwrap(), owner, device, target.unwrap_or_default(), pax.len()));
        }
        let names: Vec<_> = found.iter().map(|f| f.0.as_str()).collect();
        assert_eq!((names[0], names[1], names[2]), ("./", "bin", "dev/"), "the root comes first, then by path");
        let get = |name: &str| found.iter().find(|f| f.0 == name).unwrap();
        let position = |name: &str| names.iter().position(|n| *n == name).unwrap();
        assert!(position("usr/bin/a-link") > position("usr/bin/su"), "a hard link follows its target");
        let (_, mode, owner, _, target, _) = get("usr/bin/a-link");
        assert_eq!((*mode, *owner, target.as_str()), (0o4755, (0, 42), "usr/bin/su"));
        assert_eq!(get("usr/bin/pong").5, 1, "a hard link carries its target's xattrs");
        assert_eq!(get("dev/nvme").3, (259, 70_000));
        assert_eq!(get("usr/share/far").4, "x".repeat(150));
        let (name, mode, owner, ..) = found.iter().find(|f| f.0.ends_with("ff")).unwrap();
        assert_eq!((name.len(), *mode, *owner), (181, 0o640, (70_000, 3_000_000)));
    }

    #[test]
    fn a_hard_link_without_its_target_is_refused() {
        let mut tree = Tree::default();
        tree.insert(p("a"), Entry { kind: Kind::Hardlink(p("b")), ..Entry::dir(0) }).unwrap();
        let error = write_tar(&tree, io::sink(), |_| ()).unwrap_err();
        assert_eq!(error.to_string(), "/a is a hard link to /b, which is no file of the same tree");
    }
}
