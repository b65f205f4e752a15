//! Folders as outputs: one digest for everything in them, and one clock.

use crate::Error;
use rayon::prelude::*;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use std::{
    ffi::OsString,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};
use types::{Bytes, Digest, EPOCH, Hasher};

/// A folder's digest and the sum of its files' sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) digest: Digest,
    pub(crate) size: Bytes,
}

enum What {
    Folder,
    File { size: u64 },
    Symlink(PathBuf),
}

struct Item {
    path: PathBuf,
    mode: u32,
    what: What,
}

/// The digest of all names, kinds, permissions, link targets and file contents below `root`, in the order of the names.
/// Owners and times are left out: on the builder's disk they depend on who builds and when.
pub(crate) fn listing(root: &Path) -> Result<Listing, Error> {
    let items = walk(root)?;
    let digests: Vec<Option<Digest>> = items
        .par_iter()
        .map(|item| match item.what {
            What::File { .. } => cas::digest_of_file(&root.join(&item.path)).map(Some),
            _ => Ok(None),
        })
        .collect::<Result<_, _>>()?;
    let mut hasher = Hasher::default();
    let mut size = 0;
    for (item, digest) in items.iter().zip(digests) {
        // NUL ends every field, and no field can hold one, so two folders never have one listing
        let (letter, detail): (_, Vec<u8>) = match &item.what {
            What::Folder => ("d", Vec::new()),
            What::Symlink(target) => ("l", target.as_os_str().as_bytes().to_vec()),
            What::File { size: n } => {
                size += n;
                ("f", digest.map(|d| d.hex().into_bytes()).unwrap_or_default())
            }
        };
        hasher.update(format!("{letter} {:o}\0", item.mode).as_bytes());
        for field in [item.path.as_os_str().as_bytes(), &detail] {
            hasher.update(field);
            hasher.update(b"\0");
        }
    }
    Ok(Listing { digest: hasher.finish(), size: Bytes(size) })
}

/// Sets the time of everything below `root`, and of `root`, to the one clock.
pub(crate) fn stamp(root: &Path) -> Result<(), Error> {
    let clock = Timespec { tv_sec: EPOCH.cast_signed(), tv_nsec: 0 };
    let times = Timestamps { last_access: clock, last_modification: clock };
    let set = |path: &Path| {
        rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| Error::io("set the time of", path)(e.into()))
    };
    walk(root)?.par_iter().try_for_each(|item| set(&root.join(&item.path)))?;
    set(root)
}

/// Everything below `root`, sorted by path components, parents first.
fn walk(root: &Path) -> Result<Vec<Item>, Error> {
    let mut items = Vec::new();
    let mut open = vec![PathBuf::new()];
    while let Some(folder) = open.pop() {
        let path = root.join(&folder);
        let mut names: Vec<OsString> = Vec::new();
        for entry in fs::read_dir(&path).map_err(Error::io("read", &path))? {
            names.push(entry.map_err(Error::io("read", &path))?.file_name());
        }
        for name in names {
            let path = folder.join(name);
            let full = root.join(&path);
            let meta = full.symlink_metadata().map_err(Error::io("look at", &full))?;
            let (what, mode) = match meta.file_type() {
                t if t.is_dir() => {
                    open.push(path.clone());
                    (What::Folder, meta.mode() & 0o7777)
                }
                t if t.is_file() => (What::File { size: meta.len() }, meta.mode() & 0o7777),
                t if t.is_symlink() => (What::Symlink(fs::read_link(&full).map_err(Error::io("read", &full))?), 0o777),
                _ => {
                    let odd = std::io::Error::other("only folders, files and symlinks can be an output");
                    return Err(Error::io("keep", full)(odd));
                }
            };
            items.push(Item { path, mode, what });
        }
    }
    items.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(items)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    fn sample() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        fs::write(dir.path().join("bin/tool"), b"tool").unwrap();
        fs::write(dir.path().join("readme"), b"text").unwrap();
        symlink("bin/tool", dir.path().join("link")).unwrap();
        for (name, mode) in [("bin", 0o755), ("bin/tool", 0o755), ("readme", 0o644)] {
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        dir
    }

    #[test]
    fn the_digest_is_the_same_wherever_and_whenever_the_folder_was_made() {
        let (a, b) = (sample(), sample());
        stamp(b.path()).unwrap();
        assert_eq!(listing(a.path()).unwrap(), listing(b.path()).unwrap());
        assert_eq!(listing(a.path()).unwrap().size, Bytes(8));
        // (printf 'd 755\0bin\0\0f 755\0bin/tool\0'; printf %s "$(printf tool | sha256sum | cut -c-64)"
        //  printf '\0l 777\0link\0bin/tool\0f 644\0readme\0'; …) | sha256sum
        let mut text = b"d 755\0bin\0\0f 755\0bin/tool\0".to_vec();
        text.extend(Digest::of(b"tool").hex().bytes());
        text.extend(b"\0l 777\0link\0bin/tool\0f 644\0readme\0");
        text.extend(Digest::of(b"text").hex().bytes());
        text.push(0);
        assert_eq!(listing(a.path()).unwrap().digest, Digest::of(&text));
    }

    #[test]
    fn every_change_inside_changes_the_digest() {
        let changes: [fn(&Path); 7] = [
            |p| fs::write(p.join("readme"), b"texT").unwrap(),
            |p| fs::rename(p.join("readme"), p.join("README")).unwrap(),
            |p| fs::set_permissions(p.join("readme"), fs::Permissions::from_mode(0o600)).unwrap(),
            |p| fs::set_permissions(p.join("bin"), fs::Permissions::from_mode(0o700)).unwrap(),
            |p| fs::create_dir(p.join("empty")).unwrap(),
            |p| fs::remove_file(p.join("bin/tool")).unwrap(),
            |p| {
                fs::remove_file(p.join("link")).unwrap();
                symlink("bin", p.join("link")).unwrap();
            },
        ];
        let mut digests = std::collections::BTreeSet::from([listing(sample().path()).unwrap().digest]);
        for (i, change) in changes.iter().enumerate() {
            let dir = sample();
            change(dir.path());
            assert!(digests.insert(listing(dir.path()).unwrap().digest), "change {i} is seen");
        }
    }

    #[test]
    fn everything_gets_the_one_clock() {
        let dir = sample();
        stamp(dir.path()).unwrap();
        for name in ["", "bin", "bin/tool", "link", "readme"] {
            let mtime = dir.path().join(name).symlink_metadata().unwrap().mtime();
            assert_eq!(mtime, EPOCH.cast_signed(), "{name}");
        }
    }

    #[test]
    fn a_socket_is_refused() {
        let dir = sample();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        assert!(listing(dir.path()).unwrap_err().to_string().contains("only folders, files and symlinks"));
    }
}
