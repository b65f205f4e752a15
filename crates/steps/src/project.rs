//! A checkout: its definitions, its lock, and the plans of its images.

use crate::{Error, firmware::Esp, module_signing::ModuleSigner, planner::Planner, wanted::host};
use defs::{Definitions, ImageDef, PartitionType};
use graph::{Built, Graph, StepId};
use lock::Lock;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};
use types::{Arch, Bytes, Digest, Flavour};

/// A checkout with its lock, read and checked.
#[derive(Clone)]
pub struct Project {
    /// The definitions.
    pub defs: Definitions,
    /// The lock.
    pub lock: Lock,
    /// The version of the images, `0.1.0`.
    pub version: String,
    /// The signer of the modules of a kernel from source.
    pub modules: Option<ModuleSigner>,
}

/// What an image is built for: a flavour and an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The flavour.
    pub flavour: Flavour,
    /// The architecture.
    pub arch: Arch,
}

/// A part of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The content of a slot: the store and its verity tree.
    Slot,
    /// What the kernel needs to know of the slot: [`crate::Root`].
    Root,
    /// The documents of the store, for an update: [`crate::StoreParts`].
    Store,
    /// systemd-boot.
    Loader,
    /// shim, where the firmware starts it instead of the loader.
    Shim,
    /// shim's manager of keys.
    MokManager,
    /// The program that systemd-boot starts.
    Uki,
    /// The EFI system partition, with programs that nobody has signed.
    Esp,
    /// The volume for the owner's files.
    Config,
    /// The sizes of all parts.
    Sizes,
}

/// The steps of an image.
#[derive(Debug, Clone, Default)]
pub struct Targets {
    /// The step and its output that make each part.
    pub(crate) parts: BTreeMap<Part, (StepId, &'static str)>,
    /// Steps without parts that must succeed before the image is published.
    pub(crate) checks: Vec<StepId>,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.flavour, self.arch)
    }
}

impl Targets {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> Vec<StepId> {
        let all: BTreeSet<_> = self.parts.values().map(|(step, _)| step).chain(&self.checks).collect();
        all.into_iter().cloned().collect()
    }

    pub(crate) fn has(&self, part: Part) -> bool {
        self.parts.contains_key(&part)
    }

    /// The step and its output that make a part.
    pub(crate) fn part(&self, part: Part) -> Result<(&StepId, &'static str), Error> {
        let missing = || Error::NoPart { part: format!("{part:?}") };
        self.parts.get(&part).map(|(step, output)| (step, *output)).ok_or_else(missing)
    }

    /// The digest of a part.
    pub(crate) fn digest(&self, part: Part, built: &Built) -> Result<Digest, Error> {
        let (step, output) = self.part(part)?;
        let missing = || graph::Error::UnknownStep { id: step.clone(), wanted_by: None, like: vec![] };
        Ok(built.get(step, output).ok_or_else(missing)?.digest)
    }
}

impl Project {
    /// `<version>-<flavour>-<arch>`, from which EVE's tools read the flavour.
    #[must_use]
    pub fn full_version(&self, target: Target) -> String {
        format!("{}-{}-{}", self.version, target.flavour, target.arch)
    }

    /// The arguments of an image's kernel, without those that name its slot.
    pub(crate) fn cmdline(&self, target: Target) -> Result<Vec<String>, Error> {
        let (kernel, hv) = (&self.defs.kernel, self.defs.flavour(target.flavour)?);
        let own = kernel.arch.get(&target.arch).map(|a| a.cmdline.clone()).unwrap_or_default();
        Ok([own, kernel.cmdline.clone(), hv.kernel.cmdline.clone()].concat())
    }

    /// The settings of an image's EFI system partition.
    pub(crate) fn esp(&self, image: &ImageDef, target: Target) -> Esp {
        Esp {
            arch: target.arch,
            name: format!("evek-{}", self.full_version(target)),
            size: self.partition(image, PartitionType::Esp),
            enroll_keys: image.enroll_keys.as_str().to_owned(),
        }
    }

    /// The size of an image's first partition of a type.
    pub(crate) fn partition(&self, image: &ImageDef, role: PartitionType) -> Bytes {
        let partitions = self.defs.partitions(image);
        partitions.into_iter().find(|p| p.role == role).map_or(Bytes(0), |p| p.size)
    }

    /// The recipe of an image: `images/<name>.yml`.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn recipe(&self, name: &str) -> Result<&ImageDef, Error> {
        self.defs.images.get(name).ok_or_else(|| Error::NoImage { name: name.into() })
    }

    /// The steps of an image, by the name of its recipe.
    ///
    /// # Errors
    /// When the lock lacks something, or a source cannot be read.
    pub fn plan(&self, image: &str, target: Target) -> Result<(Graph, Targets), Error> {
        let mut plan = Planner::new(self, target);
        let targets = plan.image(image)?;
        Ok((plan.finish(), targets))
    }

    /// The steps of an image for several targets in one graph. Images share equal steps.
    ///
    /// # Errors
    /// As [`Self::plan`].
    pub fn plan_all(&self, image: &str, targets: &[Target]) -> Result<(Graph, Vec<(Target, Targets)>), Error> {
        let mut plan = Planner::new(self, Target { flavour: Flavour::Kvm, arch: host()? });
        let mut all = Vec::new();
        for &target in targets {
            plan.target(target);
            all.push((target, plan.image(image)?));
        }
        Ok((plan.finish(), all))
    }

    /// A graph for one toolbox set, and its target step: output `root`.
    ///
    /// # Errors
    /// When the lock lacks the set.
    pub fn toolbox(&self, set: &str) -> Result<(Graph, StepId), Error> {
        let target = Target { flavour: Flavour::Kvm, arch: host()? };
        let mut plan = Planner::new(self, target);
        let id = plan.toolbox(set)?;
        Ok((plan.finish(), id))
    }

    /// A graph for the stub of addons, and its target step: output `addon`.
    ///
    /// # Errors
    /// When the lock lacks it.
    pub fn addon_stub(&self, target: Target) -> Result<(Graph, StepId), Error> {
        let mut plan = Planner::new(self, target);
        let id = plan.loader()?;
        Ok((plan.finish(), id))
    }

    pub(crate) fn root(&self) -> &Path {
        &self.defs.root
    }
}
