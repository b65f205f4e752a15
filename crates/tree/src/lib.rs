//! A file tree as data: what a layer holds, before it is written as tar or EROFS.
//!
//! ```text
//! Tree ── path ("usr/bin/su") ──► Entry { mode, uid, gid, xattrs, kind }
//!                                          kind: Dir | File(Content) | Symlink | Hardlink | Char | Block | Fifo
//!                                                     Content: bytes in memory, or a range of a file on disk
//! ```
//! Owners, modes and xattrs live here and never on the builder's disk: that is why images need no root to build. Time is
//! not kept: every writer stamps one clock (`SOURCE_DATE_EPOCH`).
//!
//! Paths are relative, `/`-separated, without `.` or `..`; the root is the empty path. Parents of an entry always exist.
//! A symlink leads to a path of the same tree, a hard link to a file of the same tree. `Tree::write_to` does not rely on
//! that: the kernel opens every parent below the target folder and follows no symlink (`Beneath`). Reading and writing
//! folders of the builder's disk is the feature `host`.

#[cfg(feature = "host")]
mod beneath;
mod entry;
#[cfg(feature = "host")]
mod files;
mod path;

#[cfg(feature = "host")]
pub use beneath::Beneath;
pub use entry::{Content, Entry, Kind};
pub use path::{BadPath, TreePath};

use std::collections::BTreeMap;

/// A file tree, sorted by path, so that every writer emits the same order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<TreePath, Entry>,
}

/// How many symlinks one path may lead through: the kernel's own limit (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Why a tree refuses an entry or a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Two entries that cannot share a path.
    #[error("/{path}: a {new} would replace a {old}")]
    Clash {
        /// The path.
        path: TreePath,
        /// The kind of the present entry.
        old: &'static str,
        /// The kind of the refused entry.
        new: &'static str,
    },
    /// A path that leads through more symlinks than the kernel follows, or in a circle.
    #[error("/{path} leads through more than {MAX_LINKS} symlinks (ELOOP)")]
    TooManyLinks {
        /// The path as it was asked for.
        path: TreePath,
    },
    /// A hard link to something that is no regular file of the tree.
    #[error("/{link} is a hard link to /{target}, which is no file of the same tree")]
    HardlinkTarget {
        /// The link.
        link: TreePath,
        /// The path that the link names.
        target: TreePath,
    },
}

impl Tree {
    /// The number of entries, without the root unless it was given.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry at a path, not following symlinks.
    #[must_use]
    pub fn get(&self, path: &TreePath) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// The entry at a path, to be changed in place.
    pub fn get_mut(&mut self, path: &TreePath) -> Option<&mut Entry> {
        self.entries.get_mut(path)
    }

    /// All entries, parents before children.
    pub fn iter(&self) -> impl Iterator<Item = (&TreePath, &Entry)> {
        self.entries.iter()
    }

    /// Puts an entry at a path, following symlinks to folders on the way (usr-merge: `bin/su` lands in `usr/bin/su`), and
    /// makes missing parents as `0755 root:root`. Something of the same kind is replaced; a folder's mode and owner are
    /// taken from the later one.
    ///
    /// # Errors
    /// [`Error::Clash`] when a folder would replace something else or the other way round; [`Error::TooManyLinks`].
    pub fn insert(&mut self, path: TreePath, entry: Entry) -> Result<(), Error> {
        let path = self.real_path(&path)?;
        if let Some(old) = self.entries.get(&path) {
            // dpkg keeps a symlink to a folder where a package ships the folder itself
            if matches!(entry.kind, Kind::Dir) && matches!(old.kind, Kind::Symlink(_)) {
                return Ok(());
            }
            if matches!(old.kind, Kind::Dir) != matches!(entry.kind, Kind::Dir) {
                return Err(Error::Clash { path, old: old.kind.name(), new: entry.kind.name() });
            }
        }
        let mut parent = path.parent();
        while let Some(p) = parent {
            if p.is_root() || self.entries.contains_key(&p) {
                break;
            }
            self.entries.insert(p.clone(), Entry::dir(0o755));
            parent = p.parent();
        }
        self.entries.insert(path, entry);
        Ok(())
    }

    /// Puts every entry of another tree into this one.
    ///
    /// # Errors
    /// As [`Tree::insert`].
    pub fn merge(&mut self, other: Self) -> Result<(), Error> {
        other.entries.into_iter().try_for_each(|(path, entry)| self.insert(path, entry))
    }

    /// Removes an entry and everything below it; says whether something was there.
    pub fn remove(&mut self, path: &TreePath) -> bool {
        let before = self.entries.len();
        self.entries.retain(|p, _| p != path && !p.is_below(path));
        before != self.entries.len()
    }

    /// Keeps the entries that `keep` says yes to. A folder that loses all it held stays.
    pub fn retain(&mut self, mut keep: impl FnMut(&TreePath, &Entry) -> bool) {
        self.entries.retain(|p, e| keep(p, e));
    }

    /// What a layer above `lower` must hold to turn it into this tree: every entry that is new or different, and the
    /// folders that lead to it, with their owners and modes. Nothing is ever taken away by a layer of ours.
    ///
    /// # Errors
    /// When file contents cannot be read for comparing.
    pub fn above(&self, lower: &Self) -> std::io::Result<Self> {
        let mut layer = Self::default();
        for (path, entry) in &self.entries {
            if let Some(old) = lower.entries.get(path)
                && entry.same_as(old)?
            {
                continue;
            }
            for parent in path.ancestors() {
                if let Some(folder) = self.entries.get(&parent) {
                    layer.entries.entry(parent).or_insert_with(|| folder.clone());
                }
            }
            layer.entries.insert(path.clone(), entry.clone());
        }
        Ok(layer)
    }

    /// `path` with the symlinks of its parents resolved inside this tree.
    ///
    /// # Errors
    /// [`Error::TooManyLinks`] when there are more of them than the kernel follows.
    pub fn real_path(&self, path: &TreePath) -> Result<TreePath, Error> {
        let mut real = path.clone();
        for _ in 0..=MAX_LINKS {
            let Some((link, target)) = self.first_symlink_above(&real) else { return Ok(real) };
            real = real.with_prefix_replaced(&link, &link.resolve(&target));
        }
        Err(Error::TooManyLinks { path: path.clone() })
    }

    /// The entry that a path leads to, following symlinks, the last one too. `None` where nothing is there, and where the path
    /// leads through more symlinks than the kernel follows.
    #[must_use]
    pub fn follow(&self, path: &TreePath) -> Option<(TreePath, &Entry)> {
        let mut path = self.real_path(path).ok()?;
        for _ in 0..=MAX_LINKS {
            let entry = self.entries.get(&path)?;
            let Kind::Symlink(target) = &entry.kind else { return Some((path, entry)) };
            path = self.real_path(&path.resolve(target)).ok()?;
        }
        None
    }

    /// The regular file of this tree that the hard link `link` is another name of. `target` may itself be a hard link.
    ///
    /// # Errors
    /// [`Error::HardlinkTarget`] when no regular file of this tree is there; [`Error::TooManyLinks`].
    pub fn link_target(&self, link: &TreePath, target: &TreePath) -> Result<(TreePath, &Entry), Error> {
        let mut at = self.real_path(target)?;
        for _ in 0..=MAX_LINKS {
            match self.entries.get(&at) {
                Some(entry) if matches!(entry.kind, Kind::File(_)) => return Ok((at, entry)),
                Some(Entry { kind: Kind::Hardlink(next), .. }) => at = self.real_path(next)?,
                _ => break,
            }
        }
        Err(Error::HardlinkTarget { link: link.clone(), target: target.clone() })
    }

    /// Verifies that every hard link names a regular file of this tree.
    ///
    /// # Errors
    /// As [`Tree::link_target`], for the first link by path.
    pub fn check_links(&self) -> Result<(), Error> {
        self.entries.iter().try_for_each(|(path, entry)| match &entry.kind {
            Kind::Hardlink(target) => self.link_target(path, target).map(drop),
            _ => Ok(()),
        })
    }

    fn first_symlink_above(&self, path: &TreePath) -> Option<(TreePath, String)> {
        path.ancestors().find_map(|p| match &self.entries.get(&p)?.kind {
            Kind::Symlink(target) => Some((p, target.clone())),
            _ => None,
        })
    }
}

impl IntoIterator for Tree {
    type Item = (TreePath, Entry);
    type IntoIter = std::collections::btree_map::IntoIter<TreePath, Entry>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;

    fn p(s: &str) -> TreePath {
        TreePath::new(s).unwrap()
    }

    #[test]
    fn files_land_behind_the_links_of_usr_merge() {
        let mut t = Tree::default();
        t.insert(p("usr/lib"), Entry::dir(0o755)).unwrap();
        t.insert(p("lib"), Entry::symlink("usr/lib")).unwrap();
        t.insert(p("lib"), Entry::dir(0o755)).unwrap();
        t.insert(p("lib/x/y.so"), Entry::file(0o644, b"elf".to_vec())).unwrap();
        assert!(t.get(&p("usr/lib/x/y.so")).is_some());
        assert!(matches!(t.get(&p("lib")).unwrap().kind, Kind::Symlink(_)));
        assert_eq!(t.follow(&p("lib/x/y.so")).unwrap().0, p("usr/lib/x/y.so"));
    }

    #[test]
    fn a_layer_holds_what_is_new_and_the_way_to_it() {
        let mut lower = Tree::default();
        lower.insert(p("etc/passwd"), Entry::file(0o644, b"root".to_vec())).unwrap();
        lower.insert(p("usr/bin/sh"), Entry::file(0o755, b"sh".to_vec())).unwrap();
        let mut full = lower.clone();
        full.insert(p("etc/passwd"), Entry::file(0o644, b"root, kube".to_vec())).unwrap();
        full.insert(p("usr/bin/kube"), Entry::file(0o755, b"kube".to_vec())).unwrap();
        let layer = full.above(&lower).unwrap();
        let paths: Vec<_> = layer.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["etc", "etc/passwd", "usr", "usr/bin", "usr/bin/kube"]);
    }

    /// `l00 -> /home/user`, and each of the others to the one before it.
    pub(crate) fn chain(links: usize) -> Tree {
        let mut t = Tree::default();
        t.insert(p("l00"), Entry::symlink("/home/user")).unwrap();
        for i in 1..links {
            t.insert(p(&format!("l{i:02}")), Entry::symlink(format!("l{:02}", i - 1))).unwrap();
        }
        t
    }

    #[test]
    fn a_path_through_more_symlinks_than_the_kernel_follows_is_an_error_that_names_it() {
        let mut t = chain(100);
        for path in ["l99/x", "l40/x"] {
            let error = t.insert(p(path), Entry::file(0o644, vec![])).unwrap_err();
            assert_eq!(error.to_string(), format!("/{path} leads through more than 40 symlinks (ELOOP)"));
            assert_eq!(t.follow(&p(path)), None);
        }
        t.insert(p("l39/x"), Entry::file(0o644, vec![])).unwrap();
        assert!(t.get(&p("home/user/x")).is_some());
        let mut circle = Tree::default();
        circle.insert(p("a"), Entry::symlink("b")).unwrap();
        circle.insert(p("b"), Entry::symlink("a")).unwrap();
        assert!(matches!(circle.real_path(&p("a/x")), Err(Error::TooManyLinks { .. })));
        assert!(circle.follow(&p("a")).is_none());
    }

    #[test]
    fn a_hard_link_names_a_file_of_the_tree() {
        let mut t = Tree::default();
        t.insert(p("usr/x"), Entry::symlink("/home/user/.ssh")).unwrap();
        t.insert(p("usr/y"), Entry { kind: Kind::Hardlink(p("usr/x/id_rsa")), ..Entry::dir(0) }).unwrap();
        let text = t.check_links().unwrap_err().to_string();
        assert_eq!(text, "/usr/y is a hard link to /usr/x/id_rsa, which is no file of the same tree");
        t.insert(p("home/user/.ssh/id_rsa"), Entry::file(0o600, vec![])).unwrap();
        t.insert(p("usr/z"), Entry { kind: Kind::Hardlink(p("usr/y")), ..Entry::dir(0) }).unwrap();
        t.check_links().unwrap();
        assert_eq!(t.link_target(&p("usr/z"), &p("usr/y")).unwrap().0, p("home/user/.ssh/id_rsa"));
        for target in ["usr", "usr/x", "usr/loop"] {
            t.insert(p("usr/loop"), Entry { kind: Kind::Hardlink(p(target)), ..Entry::dir(0) }).unwrap();
            assert!(matches!(t.check_links(), Err(Error::HardlinkTarget { .. })), "{target}");
        }
    }

    #[test]
    fn a_file_never_replaces_a_folder() {
        let mut t = Tree::default();
        t.insert(p("a/b"), Entry::file(0o644, vec![])).unwrap();
        let clash = t.insert(p("a"), Entry::file(0o644, vec![])).unwrap_err();
        assert_eq!(clash.to_string(), "/a: a file would replace a folder");
    }
}
