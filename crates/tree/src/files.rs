//! Between a [`Tree`] and folders on the builder's disk.

use crate::{Entry, Kind, Tree, TreePath};
use std::{
    fs, io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink},
    path::Path,
};

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
    /// When something cannot be written, or is there already.
    pub fn write_to(&self, folder: &Path) -> io::Result<()> {
        let named = |path: &Path, e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
        for (path, entry) in &self.entries {
            let at = folder.join(path.as_str());
            match &entry.kind {
                // whatever the umask is: the mode of a toolbox's folder is part of its digest
                Kind::Dir => match fs::create_dir(&at) {
                    Ok(()) => fs::set_permissions(&at, fs::Permissions::from_mode(0o755)),
                    Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                    Err(e) => Err(e),
                },
                Kind::File(content) => {
                    let mode = entry.mode & 0o777 | 0o600;
                    fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&at).and_then(|mut out| {
                        io::copy(&mut content.open()?, &mut out)?;
                        // the mode given at creation went through the umask
                        out.set_permissions(fs::Permissions::from_mode(mode))
                    })
                }
                Kind::Symlink(target) => symlink(target, &at),
                Kind::Hardlink(to) => fs::hard_link(folder.join(to.as_str()), &at),
                Kind::Char(..) | Kind::Block(..) | Kind::Fifo => Ok(()),
            }
            .map_err(|e| named(&at, e))?;
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let dir = std::env::temp_dir().join(format!("tree-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mut tree = Tree::default();
        tree.insert(TreePath::new("usr/bin/tool").unwrap(), Entry::file(0o4755, b"tool".to_vec())).unwrap();
        tree.insert(TreePath::new("usr/bin/link").unwrap(), Entry::symlink("tool")).unwrap();
        tree.insert(TreePath::new("usr/empty").unwrap(), Entry::dir(0o755)).unwrap();
        tree.write_to(&dir).unwrap();
        let read = Tree::from_folder(&dir).unwrap();
        fs::remove_dir_all(&dir).unwrap();
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
