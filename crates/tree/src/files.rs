//! Between a [`Tree`] and folders on the builder's disk.

use crate::{Beneath, Content, Entry, Kind, Tree, TreePath};
use rustix::{
    fd::OwnedFd,
    fs::{AtFlags, Mode, OFlags, fchmod, linkat, mkdirat, openat, symlinkat},
    io::Errno,
};
use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path};

impl Tree {
    /// The files of a folder on disk, owned by root. Modes are `0755` for what is executable, else `0644`, because a
    /// checkout's modes depend on the umask of who made it; folders with nothing in them are left out, because git does not
    /// keep them.
    ///
    /// # Errors
    /// When something cannot be read, or is neither file, folder nor symlink.
    pub fn from_folder(folder: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.add_folder(folder, &TreePath::default())?;
        Ok(tree)
    }

    /// Writes the tree into a folder on disk, for programs that need to see files: folders, files, symlinks and hard
    /// links. Owners, xattrs, set-id bits and devices stay behind, for they would need root. Folders that are there
    /// already are kept.
    ///
    /// # Errors
    /// When something cannot be written, is there already, or lies behind a symlink of the folder; when a hard link names
    /// no file of this tree.
    pub fn write_to(&self, folder: &Path) -> io::Result<()> {
        self.write_above(&Self::default(), folder)
    }

    /// As [`Tree::write_to`], into a folder that `lower` was written to before: hard links may name its files, too.
    ///
    /// # Errors
    /// As [`Tree::write_to`].
    pub fn write_above(&self, lower: &Self, folder: &Path) -> io::Result<()> {
        let root = Beneath::open(folder)?;
        let (links, others): (Vec<_>, Vec<_>) =
            self.entries.iter().partition(|(_, entry)| matches!(entry.kind, Kind::Hardlink(_)));
        // most entries are in the folder of the entry before them
        let mut parent: Option<(TreePath, OwnedFd)> = None;
        // hard links come last: the file that one names may come after it in the order of paths
        for (path, entry) in others.into_iter().chain(links) {
            let Some(above) = path.parent() else { continue };
            if parent.as_ref().is_none_or(|(at, _)| *at != above) {
                parent = Some((above.clone(), root.folder(&above)?));
            }
            let Some((_, at)) = &parent else { continue };
            let written = match &entry.kind {
                Kind::Hardlink(target) => {
                    let own = self.link_target(path, target);
                    let found = own.or_else(|e| lower.link_target(path, target).map_err(|_| e));
                    let (target, _) = found.map_err(io::Error::other)?;
                    let from = root.folder(&target.parent().unwrap_or_default())?;
                    // without AT_SYMLINK_FOLLOW: a symlink in the file's place would get the name, not what it leads to
                    linkat(&from, target.name(), at, path.name(), AtFlags::empty()).map_err(io::Error::from)
                }
                _ => write_entry(at, path.name(), entry),
            };
            written.map_err(|e| root.named(path, e))?;
        }
        Ok(())
    }

    fn add_folder(&mut self, folder: &Path, at: &TreePath) -> io::Result<()> {
        for item in fs::read_dir(folder)? {
            let item = item?;
            let name = item
                .file_name()
                .into_string()
                .map_err(|n| io::Error::new(io::ErrorKind::InvalidData, format!("{} is not UTF-8", n.display())))?;
            let path = at.join(&name).map_err(io::Error::other)?;
            let kind = item.file_type()?;
            if kind.is_dir() {
                let before = self.entries.len();
                self.add_folder(&item.path(), &path)?;
                if self.entries.len() > before {
                    self.entries.insert(path, Entry::dir(0o755));
                }
            } else if kind.is_symlink() {
                let target = fs::read_link(item.path())?.to_string_lossy().into_owned();
                self.entries.insert(path, Entry::symlink(target));
            } else if kind.is_file() {
                let meta = item.metadata()?;
                let mode = if meta.permissions().mode() & 0o111 == 0 { 0o644 } else { 0o755 };
                self.entries.insert(path, Entry::file_from(mode, item.path(), meta.len()));
            } else {
                let text = format!("{} is neither file, folder nor symlink", item.path().display());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        }
        Ok(())
    }
}

/// Writes one entry that is no hard link into the folder `at`.
fn write_entry(at: &OwnedFd, name: &str, entry: &Entry) -> io::Result<()> {
    match &entry.kind {
        Kind::Dir => match mkdirat(at, name, Mode::from_raw_mode(0o700)) {
            // whatever the umask is: the mode of a toolbox's folder is part of its digest
            Ok(()) => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                Ok(fchmod(openat(at, name, flags, Mode::empty())?, Mode::from_raw_mode(0o755))?)
            }
            Err(Errno::EXIST) => Ok(()),
            Err(e) => Err(e.into()),
        },
        Kind::File(content) => write_file(at, name, entry.mode & 0o777 | 0o600, content),
        Kind::Symlink(target) => Ok(symlinkat(target.as_str(), at, name)?),
        Kind::Hardlink(_) | Kind::Char(..) | Kind::Block(..) | Kind::Fifo => Ok(()),
    }
}

fn write_file(at: &OwnedFd, name: &str, mode: u32, content: &Content) -> io::Result<()> {
    let mode = Mode::from_raw_mode(mode);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut out = fs::File::from(openat(at, name, flags, mode)?);
    io::copy(&mut content.open()?, &mut out)?;
    // the mode given at creation went through the umask
    Ok(fchmod(&out, mode)?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    fn p(s: &str) -> TreePath {
        TreePath::new(s).unwrap()
    }

    /// A folder to write to, and one beside it that no tree may reach.
    fn folders() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir(&root).unwrap();
        fs::create_dir(&outside).unwrap();
        (dir, root, outside)
    }

    #[test]
    fn no_symlink_of_the_folder_leads_a_written_file_out_of_it() {
        let (_dir, root, outside) = folders();
        // entries that the model would never hold together: as if it had a mistake
        let mut tree = Tree::default();
        tree.entries.insert(p("link"), Entry::symlink(outside.to_str().unwrap()));
        tree.entries.insert(p("link/file"), Entry::file(0o644, b"x".to_vec()));
        let error = tree.write_to(&root).unwrap_err();
        assert!(error.to_string().contains("root/link: "), "{error}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
        // a link that lay there before
        symlink(&outside, root.join("before")).unwrap();
        for (path, entry) in [("before/file", Entry::file(0o644, vec![])), ("before/sub", Entry::dir(0o755))] {
            let mut tree = Tree::default();
            tree.insert(p(path), entry).unwrap();
            tree.write_to(&root).unwrap_err();
        }
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn a_chain_of_symlinks_writes_nothing_outside() {
        let (_dir, root, outside) = folders();
        let mut lower = crate::tests::chain(100);
        lower.insert(p("l00"), Entry::symlink(outside.to_str().unwrap())).unwrap();
        lower.write_to(&root).unwrap();
        let mut tree = Tree::default();
        tree.insert(p("l19/x"), Entry::file(0o644, b"x".to_vec())).unwrap();
        tree.write_above(&lower, &root).unwrap_err();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn a_hard_link_out_of_the_tree_is_refused() {
        let (_dir, root, outside) = folders();
        fs::write(outside.join("key"), "secret").unwrap();
        let mut tree = Tree::default();
        tree.insert(p("x"), Entry::symlink(outside.to_str().unwrap())).unwrap();
        tree.insert(p("y"), Entry { kind: Kind::Hardlink(p("x/key")), ..Entry::dir(0) }).unwrap();
        let error = tree.write_to(&root).unwrap_err();
        assert!(error.to_string().contains("/y is a hard link to /x/key"), "{error}");
        assert!(!root.join("y").exists());
        assert_eq!(fs::metadata(outside.join("key")).unwrap().nlink(), 1);
    }

    #[test]
    fn hard_links_share_a_file_whichever_name_comes_first() {
        let (_dir, root, _) = folders();
        let mut lower = Tree::default();
        lower.insert(p("bin"), Entry::symlink("usr/bin")).unwrap();
        lower.insert(p("usr/bin/z"), Entry::file(0o755, b"z".to_vec())).unwrap();
        lower.insert(p("usr/bin/a"), Entry { kind: Kind::Hardlink(p("bin/z")), ..Entry::dir(0) }).unwrap();
        lower.write_to(&root).unwrap();
        let mut upper = Tree::default();
        upper.insert(p("usr/bin/b"), Entry { kind: Kind::Hardlink(p("bin/z")), ..Entry::dir(0) }).unwrap();
        upper.write_above(&lower, &root).unwrap();
        assert_eq!(fs::metadata(root.join("usr/bin/b")).unwrap().nlink(), 3);
    }

    #[test]
    fn what_a_program_has_written_is_read_without_following_its_links() {
        let (_dir, root, outside) = folders();
        fs::write(outside.join("key"), "secret").unwrap();
        fs::write(root.join("own"), "own").unwrap();
        symlink(&outside, root.join("folder")).unwrap();
        symlink(outside.join("key"), root.join("file")).unwrap();
        let beneath = Beneath::open(&root).unwrap();
        assert_eq!(beneath.read(&p("own")).unwrap(), b"own");
        for path in ["folder/key", "file", "", "nothing"] {
            beneath.read(&p(path)).unwrap_err();
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (_dir, dir, _) = folders();
        let mut tree = Tree::default();
        tree.insert(TreePath::new("usr/bin/tool").unwrap(), Entry::file(0o4755, b"tool".to_vec())).unwrap();
        tree.insert(TreePath::new("usr/bin/link").unwrap(), Entry::symlink("tool")).unwrap();
        tree.insert(TreePath::new("usr/empty").unwrap(), Entry::dir(0o755)).unwrap();
        tree.write_to(&dir).unwrap();
        let read = Tree::from_folder(&dir).unwrap();
        let paths: Vec<_> = read.iter().map(|(p, e)| (p.as_str(), e.mode, e.kind.name())).collect();
        let expected = [
            ("usr", 0o755, "folder"),
            ("usr/bin", 0o755, "folder"),
            ("usr/bin/link", 0o777, "symlink"),
            ("usr/bin/tool", 0o755, "file"),
        ];
        assert_eq!(paths, expected);
    }
}
