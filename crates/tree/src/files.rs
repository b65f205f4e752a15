//! Reading a folder of the source tree into a [`Tree`](crate::Tree).

use crate::{Entry, Tree, TreePath};
use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path};

impl Tree {
    /// The files of a folder on disk, owned by root. Modes are `0755` for what is executable, else `0644`, because a
    /// checkout's modes depend on the umask of who made it.
    ///
    /// # Errors
    /// When something cannot be read, or is neither file, folder nor symlink.
    pub fn from_folder(folder: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.add_folder(folder, &TreePath::default())?;
        Ok(tree)
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
                self.entries.insert(path.clone(), Entry::dir(0o755));
                self.add_folder(&item.path(), &path)?;
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
