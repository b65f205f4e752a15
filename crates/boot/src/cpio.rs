//! Writing cpio archives in the format `newc`, which the kernel unpacks as initramfs (kernel,
//! `Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! ```text
//! "070701" │ 13 numbers, 8 hex digits each │ name \0 │ pad to 4 │ bytes │ pad to 4 │ … │ "TRAILER!!!"
//! ```
//! Inode numbers are consecutive, times are the one clock of the build, entries are in the tree's order. The format has
//! no extended attributes, so these are dropped.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};
use tree::{Content, Entry, Kind, Tree, TreePath};
use types::EPOCH;

/// Why an archive cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading a file of the tree or writing the archive failed.
    #[error("initramfs: /{path}: {source}")]
    Io {
        /// The entry being written.
        path: String,
        /// The system's error.
        source: io::Error,
    },
    /// A file of 4 GiB or more.
    #[error("initramfs: /{path} is larger than cpio can say")]
    TooLarge {
        /// The file.
        path: String,
    },
    /// A hard link whose target is no file of the same tree.
    #[error("initramfs: /{path} is a hard link to /{target}, which is no file")]
    Dangling {
        /// The link.
        path: String,
        /// Its target.
        target: TreePath,
    },
}

/// The names of a file: its inode number, and the last name in order, which carries the bytes.
struct Names<'a> {
    inode: u32,
    count: u32,
    last: &'a TreePath,
}

/// Writes an archive of a tree.
///
/// # Errors
/// [`Error`]; the archive is incomplete then.
pub fn write(tree: &Tree, mut out: impl Write) -> Result<(), Error> {
    let links = links(tree)?;
    let mut inode = links.len() as u32;
    for (path, entry) in tree.iter().filter(|(path, _)| !path.is_root()) {
        let file = links.get(real(path, entry)).filter(|_| matches!(entry.kind, Kind::File(_) | Kind::Hardlink(_)));
        let (number, count) = if let Some(names) = file {
            (names.inode, names.count)
        } else {
            inode += 1;
            (inode, if matches!(entry.kind, Kind::Dir) { 2 } else { 1 })
        };
        // every name has the attributes of its file
        let real = tree.get(real(path, entry)).unwrap_or(entry);
        let carries = file.is_none_or(|names| names.last == path);
        write_entry(&mut out, path, real, number, count, carries)?;
    }
    let failed = |source| Error::Io { path: "TRAILER!!!".to_owned(), source };
    header(&mut out, "TRAILER!!!", &[0, 0, 0, 0, 1, 0, 0, 0, 0]).map_err(failed)?;
    out.flush().map_err(failed)
}

fn real<'a>(path: &'a TreePath, entry: &'a Entry) -> &'a TreePath {
    if let Kind::Hardlink(to) = &entry.kind { to } else { path }
}

/// The files that have several names.
fn links(tree: &Tree) -> Result<BTreeMap<&TreePath, Names<'_>>, Error> {
    let mut files: BTreeMap<&TreePath, Names<'_>> = BTreeMap::new();
    for (path, entry) in tree.iter() {
        let Kind::Hardlink(target) = &entry.kind else { continue };
        if !matches!(tree.get(target).map(|e| &e.kind), Some(Kind::File(_))) {
            return Err(Error::Dangling { path: path.to_string(), target: target.clone() });
        }
        let inode = files.len() as u32 + 1;
        let names = files.entry(target).or_insert(Names { inode, count: 1, last: target });
        names.count += 1;
        names.last = names.last.max(path);
    }
    Ok(files)
}

fn write_entry(
    out: &mut impl Write,
    path: &TreePath,
    entry: &Entry,
    inode: u32,
    links: u32,
    carries: bool,
) -> Result<(), Error> {
    let failed = |source| Error::Io { path: path.to_string(), source };
    let (kind, device, len) = match &entry.kind {
        Kind::Dir => (0o040_000, (0, 0), 0),
        Kind::File(content) => (0o100_000, (0, 0), if carries { content.len() } else { 0 }),
        Kind::Symlink(target) => (0o120_000, (0, 0), target.len() as u64),
        Kind::Char(major, minor) => (0o020_000, (*major, *minor), 0),
        Kind::Block(major, minor) => (0o060_000, (*major, *minor), 0),
        Kind::Fifo => (0o010_000, (0, 0), 0),
        Kind::Hardlink(target) => return Err(Error::Dangling { path: path.to_string(), target: target.clone() }),
    };
    let size = u32::try_from(len).map_err(|_| Error::TooLarge { path: path.to_string() })?;
    let numbers =
        [inode, kind | entry.mode & 0o7777, entry.uid, entry.gid, links, EPOCH as u32, size, device.0, device.1];
    header(out, path.as_str(), &numbers).map_err(failed)?;
    match &entry.kind {
        Kind::File(content) if carries => copy(content, out).map_err(failed)?,
        Kind::Symlink(target) => out.write_all(target.as_bytes()).map_err(failed)?,
        _ => {}
    }
    pad(out, u64::from(size)).map_err(failed)
}

fn copy(content: &Content, out: &mut impl Write) -> io::Result<()> {
    let copied = io::copy(&mut content.open()?, out)?;
    if copied == content.len() { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

fn header(out: &mut impl Write, name: &str, numbers: &[u32; 9]) -> io::Result<()> {
    let [inode, mode, uid, gid, links, time, size, major, minor] = numbers;
    let name_len = name.len() as u32 + 1;
    out.write_all(b"070701")?;
    for number in [inode, mode, uid, gid, links, time, size, &0, &0, major, minor, &name_len, &0] {
        write!(out, "{number:08x}")?;
    }
    out.write_all(name.as_bytes())?;
    out.write_all(&[0])?;
    pad(out, 110 + u64::from(name_len))
}

fn pad(out: &mut impl Write, len: u64) -> io::Result<()> {
    out.write_all(&[0; 3][..(len.next_multiple_of(4) - len) as usize])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use types::Digest;

    fn p(path: &str) -> TreePath {
        TreePath::new(path).unwrap()
    }

    fn tree() -> Tree {
        let mut t = Tree::default();
        t.insert(p("init"), Entry::file(0o755, b"#!init".to_vec())).unwrap();
        t.insert(p("bin/b"), Entry { kind: Kind::Hardlink(p("bin/m")), ..Entry::dir(0) }).unwrap();
        t.insert(p("bin/m"), Entry::file(0o4755, b"many names".to_vec()).owned_by(1, 2)).unwrap();
        t.insert(p("bin/z"), Entry { kind: Kind::Hardlink(p("bin/m")), ..Entry::dir(0) }).unwrap();
        t.insert(p("dev/console"), Entry { kind: Kind::Char(5, 1), ..Entry::dir(0o600) }).unwrap();
        t.insert(p("lib"), Entry::symlink("usr/lib")).unwrap();
        t.insert(p("empty"), Entry::file(0o644, vec![])).unwrap();
        t
    }

    // Checked by hand: GNU cpio 2.13 unpacks it to the modes, owners, links, device and times above.
    #[test]
    fn the_archive_has_known_bytes() {
        let mut out = Vec::new();
        write(&tree(), &mut out).unwrap();
        assert_eq!(out.len() % 4, 0);
        assert_eq!(Digest::of(&out).hex(), GOLDEN);
    }
    const GOLDEN: &str = "b005ff8812da6cb4f92663ab4f0bdf191d9ad64c125dbfd809d9d104eddaad48";

    #[test]
    fn what_cannot_be_read_or_linked_is_an_error() {
        let mut t = tree();
        t.insert(p("gone"), Entry::file_from(0o644, "/nowhere".into(), 3)).unwrap();
        assert!(write(&t, io::sink()).unwrap_err().to_string().starts_with("initramfs: /gone: "));
        let mut t = Tree::default();
        t.insert(p("a"), Entry { kind: Kind::Hardlink(p("b")), ..Entry::dir(0) }).unwrap();
        assert!(matches!(write(&t, io::sink()), Err(Error::Dangling { .. })));
        let mut t = Tree::default();
        t.insert(p("a"), Entry::file_from(0o644, "/nowhere".into(), 1 << 32)).unwrap();
        assert!(matches!(write(&t, io::sink()), Err(Error::TooLarge { .. })));
    }
}
