//! A checkout: its definitions, its lock, and the plans of its images.

use crate::{Error, firmware::Esp, module_signing::ModuleSigner, planner::Planner, wanted::host};
use defs::{Definitions, ImageDef, PartitionType};
use graph::{Graph, StepId};
use lock::Lock;
use std::path::Path;
use types::{Arch, Bytes, Flavour};

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

/// An image to build: a flavour for an architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The flavour.
    pub flavour: Flavour,
    /// The architecture.
    pub arch: Arch,
}

/// The steps of a disk's parts.
#[derive(Debug, Clone)]
pub struct Targets {
    /// Outputs `slot`, `root`.
    pub slot: StepId,
    /// Outputs `loader`, systemd-boot, and `addon`, which no disk has.
    pub loader: StepId,
    /// Outputs `uefi-shim`, `mok-manager`, if the firmware starts shim instead of the loader.
    pub shim: Option<StepId>,
    /// Output `uki`.
    pub uki: StepId,
    /// Output `esp`.
    pub esp: StepId,
    /// Output `config`.
    pub config: StepId,
    /// Output `tree`: the sizes of all parts.
    pub size: StepId,
    /// Steps without outputs on the disk that must succeed before it is published.
    pub checks: Vec<StepId>,
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
        let parts = [&self.slot, &self.loader, &self.uki, &self.esp, &self.config, &self.size];
        parts.into_iter().chain(&self.shim).chain(&self.checks).cloned().collect()
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
    pub(crate) fn esp(&self, target: Target) -> Result<Esp, Error> {
        Ok(Esp {
            arch: target.arch,
            name: format!("evek-{}", self.full_version(target)),
            size: self.partition(PartitionType::Esp)?,
            enroll_keys: self.live()?.enroll_keys.as_str().to_owned(),
        })
    }

    /// The size of the disk's first partition of a type.
    pub(crate) fn partition(&self, role: PartitionType) -> Result<Bytes, Error> {
        let partitions = self.defs.partitions(self.live()?);
        Ok(partitions.into_iter().find(|p| p.role == role && !p.first_boot).map_or(Bytes(0), |p| p.size))
    }

    /// Whether the firmware starts shim and so needs no keys of the owner.
    ///
    /// # Errors
    /// When no disk is defined.
    pub fn begins_with_shim(&self) -> Result<bool, Error> {
        Ok(self.live()?.shim)
    }

    /// The definition of the disk.
    pub(crate) fn live(&self) -> Result<&ImageDef, Error> {
        self.defs.images.get("live").ok_or_else(|| Error::NoImage { name: "live".into() })
    }

    /// The steps of an image.
    ///
    /// # Errors
    /// When the lock lacks something, or a source cannot be read.
    pub fn plan(&self, target: Target) -> Result<(Graph, Targets), Error> {
        let mut plan = Planner::new(self, target);
        let targets = plan.image()?;
        Ok((plan.finish(), targets))
    }

    /// The steps of several images in one graph. Images share equal steps.
    ///
    /// # Errors
    /// As [`Self::plan`].
    pub fn plan_all(&self, targets: &[Target]) -> Result<(Graph, Vec<(Target, Targets)>), Error> {
        let mut plan = Planner::new(self, Target { flavour: Flavour::Kvm, arch: host()? });
        let mut all = Vec::new();
        for &target in targets {
            plan.target(target);
            all.push((target, plan.image()?));
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
