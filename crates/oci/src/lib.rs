//! From file trees to OCI images: layers, configuration, manifest, layout on disk.
//!
//! ```text
//! tree ─► finish::{accounts, alternatives, units, capabilities, ca_bundle} ─► layer::write_tar ─► diff_id
//!                                                                                                │
//! image::Image { config, manifest } ◄── layers: tar, tar+gzip, tar+zstd or EROFS, same diff_ids ◄┘
//!       └─► layout::write(folder)     an OCI image layout for skopeo, umoci, registries
//! ```
//! The formats are those of the OCI image-spec 1.1. JSON is canonical (sorted keys, no white space), so an image's digest
//! depends on nothing but what is in it. A configuration depends on the `diff_ids` only: the tar form and the store form of
//! an image share it.
//!
//! Nothing here talks to a registry, compresses, writes EROFS or runs a program.

pub mod elf;
pub mod finish;
pub mod image;
pub mod layer;
pub mod layout;
pub mod needed;

use defs::Place;
use std::{io, path::PathBuf};
use tree::TreePath;

/// What can go wrong on the way from a tree to an image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A definition asks for what the tree does not have.
    #[error("{}{text}", if at.file.is_empty() { String::new() } else { format!("{at}: ") })]
    Definition {
        /// The line of the definition; empty within a step, which knows no lines.
        at: Place,
        /// What is wrong.
        text: String,
    },
    /// The bytes of a file of the tree cannot be read.
    #[error("cannot read the content of /{path}: {source}")]
    Read {
        /// The path in the tree.
        path: TreePath,
        /// What the system said.
        source: io::Error,
    },
    /// The tar cannot be written; a full disk arrives here.
    #[error("cannot write the layer: {0}")]
    WriteTar(#[source] io::Error),
    /// A path of the tree is refused: two entries share it, too many symlinks are on the way, or a hard link leads nowhere.
    #[error(transparent)]
    Tree(#[from] tree::Error),
    /// A path leads out of the tree.
    #[error(transparent)]
    BadPath(#[from] tree::BadPath),
    /// A line of a sysusers.d file is wrong.
    #[error("/{path}:{line}: {reason}")]
    Sysusers {
        /// The file in the tree.
        path: TreePath,
        /// The line.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A line of an account file is wrong.
    #[error("/{path}:{line}: {reason}")]
    Accounts {
        /// The file in the tree.
        path: TreePath,
        /// The line.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Two accounts with one number.
    #[error("the users or groups {one} and {two} both have {what} {number}")]
    SameNumber {
        /// `uid` or `gid`.
        what: &'static str,
        /// The number.
        number: u32,
        /// Who has it.
        one: String,
        /// Who asks for it.
        two: String,
    },
    /// A user is to be in a group that nothing declares.
    #[error("the user {user} is to be in the group {group}, which does not exist: declare it in `groups`")]
    UnknownGroup {
        /// The group.
        group: String,
        /// The user.
        user: String,
    },
    /// All system numbers are taken.
    #[error("no number from 999 down to 100 is left for {name}: give fixed ones")]
    NoNumberLeft {
        /// The user or group.
        name: String,
    },
    /// Something that is no image configuration or manifest.
    #[error("cannot make the {what} of the image {name}: {reason}")]
    Image {
        /// `configuration` or `manifest`.
        what: &'static str,
        /// The image.
        name: String,
        /// What the types' checks said.
        reason: String,
    },
    /// A file of an image layout cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Layout {
        /// The file on disk.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
