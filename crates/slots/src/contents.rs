//! What a slot holds, byte for byte: builder and device write the same.

use erofs::{Options, Plan};
use std::path::PathBuf;
use store::Layout;
use tree::{BadPath, Entry, Tree, TreePath};
use types::{Digest, EPOCH};

/// The files of a store and what its file system is besides them.
#[derive(Debug)]
pub struct Contents {
    tree: Tree,
    options: Options,
}

/// A store that no file system can hold.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// A path that is none.
    #[error(transparent)]
    Path(#[from] BadPath),
    /// Two files at one path.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// Something that the file system cannot hold.
    #[error(transparent)]
    Erofs(#[from] erofs::Error),
}

impl Contents {
    /// Of a store; `layer` says where the bytes of a layer are, which are not looked at before they are written.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn new(layout: &Layout, layer: impl Fn(&Digest) -> PathBuf) -> Result<Self, Unfit> {
        let mut tree = Tree::default();
        for (path, bytes) in [("oci-layout", &layout.oci_layout), ("index.json", &layout.index)] {
            tree.insert(TreePath::new(path)?, Entry::file(0o444, bytes.clone()))?;
        }
        for (digest, bytes) in &layout.documents {
            tree.insert(blob(digest)?, Entry::file(0o444, bytes.clone()))?;
        }
        for (digest, size) in &layout.layers {
            tree.insert(blob(digest)?, Entry::file_from(0o444, layer(digest), size.0))?;
        }
        // named after what it holds, as everything here
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&Digest::of(&layout.index).as_bytes()[..16]);
        Ok(Self { tree, options: Options { uuid, epoch: EPOCH, label: "evek-store".into() } })
    }

    /// The file system, every byte with its place.
    ///
    /// # Errors
    /// [`Unfit::Erofs`].
    pub fn plan(&self) -> Result<Plan<'_>, Unfit> {
        Ok(Plan::new(&self.tree, &self.options)?)
    }
}

fn blob(digest: &Digest) -> Result<TreePath, BadPath> {
    TreePath::new(&format!("blobs/sha256/{}", digest.hex()))
}
