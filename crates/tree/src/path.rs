use std::{borrow::Borrow, fmt};

/// A clean path inside a [`Tree`](crate::Tree): relative, no `.`, no `..`, no empty part. The root is the empty path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct TreePath(String);

/// A path that leads out of the tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` leads out of the tree")]
pub struct BadPath(String);

impl TreePath {
    /// Cleans a path: a leading `/` or `./`, doubled and trailing slashes and `.` parts go.
    ///
    /// # Errors
    /// [`BadPath`] when `..` is in it.
    pub fn new(path: &str) -> Result<Self, BadPath> {
        let mut clean = String::with_capacity(path.len());
        for part in path.split('/').filter(|p| !p.is_empty() && *p != ".") {
            if part == ".." {
                return Err(BadPath(path.to_owned()));
            }
            if !clean.is_empty() {
                clean.push('/');
            }
            clean.push_str(part);
        }
        Ok(Self(clean))
    }

    /// Without a leading slash; empty for the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The folder it is in; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(Self(self.0.rfind('/').map_or_else(String::new, |i| self.0[..i].to_owned())))
    }

    /// The last part; empty for the root.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// Whether it is inside `folder`, at any depth.
    #[must_use]
    pub fn is_below(&self, folder: &Self) -> bool {
        folder.is_root() && !self.is_root() || self.0.strip_prefix(&folder.0).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The proper parents from the top down, without the root.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> + '_ {
        self.0.match_indices('/').map(|(i, _)| Self(self.0[..i].to_owned()))
    }

    /// Where a symlink at this path with this target leads, `..` going no higher than the root.
    #[must_use]
    pub fn resolve(&self, target: &str) -> Self {
        let mut parts: Vec<&str> = if target.starts_with('/') { vec![] } else { self.0.split('/').collect() };
        parts.pop();
        for part in target.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                other => parts.push(other),
            }
        }
        Self(parts.join("/"))
    }

    /// This path with its first part `from`, a parent of it, exchanged for `to`.
    #[must_use]
    pub fn with_prefix_replaced(&self, from: &Self, to: &Self) -> Self {
        match self.0.strip_prefix(&from.0) {
            Some(rest) if to.is_root() => Self(rest.trim_start_matches('/').to_owned()),
            Some(rest) => Self(format!("{}{rest}", to.0)),
            None => self.clone(),
        }
    }

    /// A path below this one.
    ///
    /// # Errors
    /// [`BadPath`] when `..` is in `more`.
    pub fn join(&self, more: &str) -> Result<Self, BadPath> {
        Self::new(&format!("{}/{more}", self.0))
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Borrow<str> for TreePath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_kept_inside() {
        assert_eq!(TreePath::new("./usr//bin/./su").unwrap().as_str(), "usr/bin/su");
        assert!(TreePath::new("usr/../../etc").is_err());
        let link = TreePath::new("etc/alternatives/awk").unwrap();
        assert_eq!(link.resolve("../../../usr/bin/mawk").as_str(), "usr/bin/mawk");
        assert_eq!(link.resolve("/bin").as_str(), "bin");
        assert!(TreePath::new("usr/bin").unwrap().is_below(&TreePath::new("usr").unwrap()));
        assert!(!TreePath::new("usrx").unwrap().is_below(&TreePath::new("usr").unwrap()));
    }
}
