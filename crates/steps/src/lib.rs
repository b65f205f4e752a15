//! The steps of a build: from definitions and lock to the parts of a disk.
//!
//! ```text
//! toolbox/<set>                        Debian packages as a folder to run programs from
//! debs/<set>@arch ─► erofs/<set>@arch  Debian packages as a layer: tar, and the same as EROFS blob
//! vendor/<name> ─► rust-deps@arch ─► rust/<package>@arch ┐
//!              └─► go/<package>/<bin>@arch               ├─► top/<package>@arch ─► erofs/…
//! kernel@arch ─► erofs/modules@arch                      ┘
//!        └─► initramfs/<flavour>@arch ─┐
//! all layers ─► slot/<flavour>@arch ───┴─► uki/… ─► esp/…        ─► publish: dist/<arch>/<version>/
//! all of these ─► size/<flavour>@arch: what takes how much
//! ```
//! [`Project::plan`] turns a checkout into a [`graph::Graph`] and touches no artefact; the step functions read only
//! what their keys name. [`Inputs`] brings the lock's inputs into the cache and is the only part with network access.
//! [`Artefact`] signs the results and writes them to `dist/`.
//!
//! Deliberately absent: parsing, resolving, formats and scheduling, each of which is a crate of its own.

mod debug;
mod disk;
mod export;
mod firmware;
mod go_vars;
mod image_json;
mod inputs;
mod judge;
mod kernel;
mod layers;
mod module_signing;
mod own_layer;
mod packages;
mod planner;
mod programs;
mod project;
mod publish;
mod publish_update;
mod signing;
mod size;
mod slot;
mod sources;
mod texts;
mod toolbox;
mod tools;
mod upstream;
mod vendor;
mod wanted;

pub use debug::{allowance, prohibition};
pub use disk::{config_volume, esp_volume};
pub use export::export_oci;
pub use image_json::{BlobJson, ImageJson, PartitionJson, SigningJson};
pub use inputs::Inputs;
pub use judge::report;
pub use module_signing::ModuleSigner;
pub use project::{Part, Project, Target, Targets};
pub use publish::{Artefact, Published};
pub use publish_update::{PublishedUpdate, UpdateParts, pack};
pub use signing::with_policy;
pub use slot::{Root, StoreParts};
pub use slots::{BadVersion, check_version};
pub use upstream::take_over;
pub use vendor::vendor;
pub use wanted::{COMPONENTS, SUITES, host, tools_for, wanted};

use ::size::{DoesNotFit, OverBudget};
use std::{io, path::PathBuf};
use types::{Arch, Digest};

/// Errors of a checkout, its inputs or its results.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A definition is wrong.
    #[error(transparent)]
    Definition(#[from] defs::Error),
    /// The graph is wrong, or a step failed.
    #[error(transparent)]
    Graph(#[from] graph::Error),
    /// The lock has no such set.
    #[error("evek.lock has no set {set} for {arch}: run `cargo xtask lock update`")]
    NoSet {
        /// The set.
        set: String,
        /// The architecture.
        arch: Arch,
    },
    /// The lock has no such source archive.
    #[error("evek.lock has no source archive {name}: run `cargo xtask lock update {name}`")]
    NoVendor {
        /// Its name.
        name: String,
    },
    /// No such toolbox set.
    #[error("xtask/toolbox.yml has no set `{set}`, which the build needs")]
    NoTools {
        /// The set.
        set: String,
    },
    /// Documents of an update are wrong.
    #[error(transparent)]
    Update(#[from] artefact::Error),
    /// No such package.
    #[error("there is no pkg/{name}/pkg.yml, which the build needs")]
    NoPackage {
        /// The package.
        name: String,
    },
    /// No such disk image.
    #[error("there is no images/{name}.yml, which the build needs")]
    NoImage {
        /// The image.
        name: String,
    },
    /// An image's recipe has no such part.
    #[error("the image has no part {part}, which this needs: see its recipe in images/")]
    NoPart {
        /// The part.
        part: String,
    },
    /// A kernel from source has no owner to sign its modules.
    #[error(
        "the kernel is built from source (kernel/kernel.yml), and has to know whose modules it loads: name keys with --keys"
    )]
    NoModuleSigner,
    /// The digests of modules cannot be read.
    #[error("cannot read the digests of modules that {step} wrote: {source}")]
    Digests {
        /// The step.
        step: String,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// This program cannot build on this host.
    #[error("images are built on x86-64 and AArch64 Linux only")]
    Host,
    /// A source file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Source {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A Cargo.toml is malformed.
    #[error("{}: {source}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: Box<toml::de::Error>,
    },
    /// A go.mod is malformed, or lacks a module that a variable names.
    #[error("{}: {reason}", path.display())]
    GoMod {
        /// The file.
        path: PathBuf,
        /// The problem.
        reason: String,
    },
    /// Inputs cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] fetch::Error),
    /// The cache cannot be read or written.
    #[error(transparent)]
    Cas(#[from] cas::Error),
    /// No Go program has this name.
    #[error("no package builds a Go program `{name}`: there is {}", choices.join(", "))]
    NoGoProgram {
        /// The name.
        name: String,
        /// The existing names.
        choices: Vec<String>,
    },
    /// A client of the toolbox failed.
    #[error("`{command}` failed: {reason}")]
    Client {
        /// The command.
        command: String,
        /// The end of its output.
        reason: String,
    },
    /// A source archive could not be packed.
    #[error("cannot make source archive {name}: {reason}")]
    Vendor {
        /// The archive.
        name: String,
        /// The failure.
        reason: String,
    },
    /// A source archive differs from the lock.
    #[error(
        "source archive {name} is {found}, and the lock says {expected}: the registry serves other bytes, or the lock was made with another toolbox; see `cargo xtask lock update {name}`"
    )]
    VendorMismatch {
        /// The archive.
        name: String,
        /// The digest in the lock.
        expected: Digest,
        /// The digest found.
        found: Digest,
    },
    /// An EFI program cannot be read.
    #[error(transparent)]
    Program(#[from] boot::pe::Error),
    /// Programs cannot be signed, or their private keys are elsewhere.
    #[error(transparent)]
    Sign(#[from] sign::Error),
    /// A flavour whose kernel takes no addons.
    #[error(
        "HV={flavour} takes no addons: Xen gives its first domain the arguments in its unified image, which has no EFI stub to add others"
    )]
    NoStub {
        /// The flavour.
        flavour: types::Flavour,
    },
    /// The EFI system partition cannot be written with signed programs.
    #[error("cannot write the EFI system partition with signed programs: {problem}")]
    Signed {
        /// The writer's error.
        problem: String,
    },
    /// The sizes of an image cannot be read.
    #[error("cannot read the sizes that {step} wrote: {source}")]
    Sizes {
        /// The step.
        step: String,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// Parts of the image are over their budgets.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    OverBudget(Vec<OverBudget>),
    /// The image is too large for layouts that it must fit.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    DoesNotFit(Vec<DoesNotFit>),
    /// A result cannot be written.
    #[error("cannot {action} {}: {source}", path.display())]
    Publish {
        /// The action that failed.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// An OCI image cannot be made or written.
    #[error(transparent)]
    Oci(#[from] oci::Error),
    /// A disk cannot be laid out.
    #[error(transparent)]
    Disk(#[from] ::disk::Error),
}
