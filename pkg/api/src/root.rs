//! The proof that a container's root consists of an image's layers in the slot's store, and of nothing else.
//!
//! ```text
//!   store (dm-verity) ─► the image's layers, bottom first ─► expected mounts ─┐
//!   containerd ─► mounts of the container's root ────────────────────────────► equal, or the root is refused
//!   /proc/self/mountinfo ─► file systems at the layers' folders ──────────────┘
//! ```
//! containerd's metadata and a snapshotter's list are indexes that anyone who once wrote to their disk may have changed. So
//! a program that starts a container of the store compares, and trusts neither.

use crate::message::Mount;
use std::path::{Path, PathBuf};

/// A layer of the store as the host mounts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerMount {
    /// Where its files are.
    pub folder: PathBuf,
    /// The EROFS image in the store.
    pub blob: PathBuf,
}

/// The only acceptable root of a container.
#[derive(Debug)]
pub struct Root<'a> {
    /// The image's layers, bottom first.
    pub layers: &'a [LayerMount],
    /// The folder of the snapshotter whose subfolders take the container's writes; `None` for a root that is never written.
    pub writable: Option<&'a Path>,
}

/// Why a root is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    /// The mounts are of another number or kind.
    #[error("its root is {found}, expected {expected}")]
    Shape {
        /// The answered mounts.
        found: String,
        /// The acceptable mount.
        expected: String,
    },
    /// The layers are others, or in another order.
    #[error("its root consists of {found}, but the image's layers in the store are {expected}")]
    Layers {
        /// The answered folders, top first.
        found: String,
        /// The image's, top first.
        expected: String,
    },
    /// An option of the mount is none that the snapshotter sets.
    #[error("its root has the mount option `{found}`, which the snapshotter never sets")]
    Option {
        /// The option.
        found: String,
    },
    /// The container's writes would go elsewhere.
    #[error("its root is writable in {found}, which is not a folder of a snapshot below {}", expected.display())]
    Writable {
        /// The answered folder.
        found: String,
        /// The snapshotter's folder.
        expected: PathBuf,
    },
    /// A layer's folder does not show the layer.
    #[error("{} shows {found}, expected the read-only EROFS image {}", folder.display(), blob.display())]
    NotMounted {
        /// The layer's folder.
        folder: PathBuf,
        /// The layer in the store.
        blob: PathBuf,
        /// The file system that is mounted there.
        found: String,
    },
}

impl Root<'_> {
    /// Verifies `mounts`, the answer of containerd, against the image, and the layers' folders against `mountinfo`, the
    /// text of `/proc/self/mountinfo`.
    ///
    /// # Errors
    /// The first difference.
    pub fn verify(&self, mounts: &[Mount], mountinfo: &str) -> Result<(), RootError> {
        self.verify_mounts(mounts)?;
        self.layers.iter().try_for_each(|layer| verify_layer(layer, mountinfo))
    }

    fn verify_mounts(&self, mounts: &[Mount]) -> Result<(), RootError> {
        let expected = if self.writable.is_none() && self.layers.len() == 1 { "bind" } else { "overlay" };
        let [mount] = mounts else { return Err(shape(mounts, expected)) };
        if mount.r#type != expected || !mount.target.is_empty() {
            return Err(shape(mounts, expected));
        }
        let top_first: Vec<_> = self.layers.iter().rev().map(|l| l.folder.display().to_string()).collect();
        let of_the_image = top_first.join(":");
        let layers = |found: &str| {
            if found == of_the_image {
                return Ok(());
            }
            Err(RootError::Layers { found: found.to_owned(), expected: of_the_image.clone() })
        };
        if expected == "bind" {
            layers(&mount.source)?;
            return match mount.options.iter().find(|o| !["ro", "rbind"].contains(&o.as_str())) {
                Some(found) => Err(RootError::Option { found: found.clone() }),
                None if mount.options.iter().any(|o| o == "ro") => Ok(()),
                None => Err(shape(mounts, "read-only")),
            };
        }
        if mount.source != "overlay" {
            return Err(shape(mounts, expected));
        }
        let (mut lower, mut upper, mut work) = (None, None, None);
        for option in &mount.options {
            let place = match option.split_once('=') {
                Some(("lowerdir", value)) => (&mut lower, value),
                Some(("upperdir", value)) => (&mut upper, value),
                Some(("workdir", value)) => (&mut work, value),
                Some(("index", "off")) => continue,
                _ => return Err(RootError::Option { found: option.clone() }),
            };
            // the kernel would take the last of two
            if place.0.replace(place.1).is_some() {
                return Err(RootError::Option { found: option.clone() });
            }
        }
        layers(lower.unwrap_or("no layer"))?;
        self.verify_writable(mounts, upper, work)
    }

    fn verify_writable(&self, mounts: &[Mount], upper: Option<&str>, work: Option<&str>) -> Result<(), RootError> {
        let Some(root) = self.writable else {
            return if upper.is_none() && work.is_none() { Ok(()) } else { Err(shape(mounts, "read-only")) };
        };
        let (Some(upper), Some(work)) = (upper, work) else { return Err(shape(mounts, "writable")) };
        for (found, name) in [(upper, "fs"), (work, "work")] {
            let id = Path::new(found).strip_prefix(root).ok().and_then(Path::parent);
            let numbered = id.and_then(Path::to_str).is_some_and(|id| id.parse::<u64>().is_ok());
            if !numbered || Path::new(found).file_name().is_none_or(|file| file != name) {
                return Err(RootError::Writable { found: found.to_owned(), expected: root.to_owned() });
            }
        }
        Ok(())
    }
}

fn shape(mounts: &[Mount], expected: &str) -> RootError {
    let found: Vec<_> = mounts.iter().map(|m| format!("`{} {}`", m.r#type, m.source)).collect();
    let found = if found.is_empty() { "no mount".to_owned() } else { found.join(" and ") };
    RootError::Shape { found, expected: format!("one {expected} mount") }
}

/// The file system at the layer's folder is the layer (proc_pid_mountinfo(5)). The last line of a folder is the one on top.
fn verify_layer(layer: &LayerMount, mountinfo: &str) -> Result<(), RootError> {
    let folder = layer.folder.display().to_string();
    let on_top = mountinfo.lines().rev().find(|line| line.split(' ').nth(4) == Some(&folder));
    let found = on_top.and_then(|line| {
        let (mount, system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, options) = (mount.next()?, mount.nth(1)?);
        let mut system = system.split(' ');
        Some((system.next()?, system.next()?, root, options.split(',').next()?))
    });
    let blob = layer.blob.display().to_string();
    if found == Some(("erofs", blob.as_str(), "/", "ro")) {
        return Ok(());
    }
    let found = found.map_or("nothing".to_owned(), |(kind, source, root, access)| {
        format!("the {kind} file system {source} (root {root}, {access})")
    });
    Err(RootError::NotMounted { folder: layer.folder.clone(), blob: layer.blob.clone(), found })
}

#[cfg(test)]
#[path = "root_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
