//! The root image, the store and the programs that the firmware starts.

use super::{Layer, Planner, ROOT, kernel::Kernel, params};
use crate::{
    Error,
    disk::{self, Config},
    firmware::{self, Loader, Uki, Xen},
    layers::Debs,
    own_layer,
    project::{Part, Targets},
    slot::{self, Image, Store},
    wanted::{BOOT, HYPERVISOR, SHIM},
};
use defs::{Deb, ImageConfig, ImageDef, ImageKind, Located, PartitionType, Units};
use graph::{Step, StepId};
use std::collections::BTreeMap;
use store::Role;

/// The registry's name of images in the store. No host on the network has this name, so nobody can pull one by mistake.
const REGISTRY: &str = "evek.local";

impl Planner<'_> {
    /// The layers of the root image, the lowest first.
    pub(super) fn root_layers(&mut self, kernel: &Kernel) -> Result<Vec<Layer>, Error> {
        let defs = &self.project.defs;
        let (rootfs, hv) = (&defs.rootfs, defs.flavour(self.target.flavour)?);
        let mut below = Vec::new();
        let mut drop = rootfs.drop.clone();
        if let Some(base) = rootfs.base.as_ref().and_then(|b| defs.packages.get(&b.value)) {
            drop.extend(self.dropped(base));
            below = self.package(base)?;
        }
        let debs = Debs {
            arch: self.arch(),
            drop,
            alternatives: rootfs.alternatives.clone(),
            links: rootfs.links.clone(),
            users: rootfs.users.clone(),
            groups: rootfs.groups.clone(),
            caps: rootfs.caps.clone(),
            foreign: rootfs.foreign.clone(),
            prefer: rootfs.prefer.clone(),
        };
        let layer = self.debs(ROOT, "rootfs", &below, &debs, "rootfs/rootfs.yml")?;
        below.push(layer);
        let modules = self.erofs(ROOT, "modules", kernel.modules.clone())?;
        if Deb::any_for(&hv.rootfs.debs, self.arch()) {
            let set = format!("rootfs/{}", self.target.flavour);
            let more = Debs {
                arch: self.arch(),
                drop: debs.drop.clone(),
                alternatives: hv.rootfs.alternatives.clone(),
                links: BTreeMap::new(),
                users: BTreeMap::new(),
                groups: BTreeMap::new(),
                caps: BTreeMap::new(),
                foreign: hv.rootfs.foreign.clone(),
                prefer: hv.rootfs.prefer.clone(),
            };
            let layer = self.debs(ROOT, &set, &below, &more, &format!("hv/{}.yml", self.target.flavour))?;
            below.push(layer);
        }
        below.push(modules);
        below.extend(self.kernel_firmware(kernel)?);
        let top = self.root_layer(&below)?;
        below.push(top);
        Ok(below)
    }

    pub(super) fn root_layer(&mut self, below: &[Layer]) -> Result<Layer, Error> {
        let defs = &self.project.defs;
        let (rootfs, hv) = (&defs.rootfs, defs.flavour(self.target.flavour)?);
        let mut top = self.empty_own_layer();
        let mut step = Step::new(self.flavoured("top/rootfs"), "top", own_layer::VERSION, own_layer::own_layer)
            .at("rootfs/rootfs.yml", None);
        for (n, name) in rootfs.packages.iter().chain(&hv.rootfs.packages).enumerate() {
            let package =
                defs.packages.get(&name.value).ok_or_else(|| Error::NoPackage { name: name.value.clone() })?;
            step = self.programs_and_files(step, &mut top, package, n)?;
        }
        if let Some(files) = &rootfs.files {
            step = self.files(step, "files/98-rootfs", &format!("rootfs/{files}"))?;
        }
        if let Some(files) = &hv.rootfs.files {
            step = self.files(step, "files/99-hv", &format!("hv/{files}"))?;
        }
        top.foreign.extend(rootfs.foreign.iter().chain(&hv.rootfs.foreign).cloned());
        top.folders = rootfs.folders.clone();
        top.texts = crate::texts::root(self.project, self.target)?;
        let mut services = Units::default();
        for name in &hv.packages {
            let unit = store::unit_name(&name.value);
            services.enable.push(Located::new(unit, name.at.clone()));
        }
        top.units = vec![rootfs.units.clone(), hv.rootfs.units.clone(), services];
        let step = self.on(params(step, &top), below);
        let tar = self.add(step)?;
        self.erofs(ROOT, &format!("root/{}", self.target.flavour), tar)
    }

    /// The steps of an image, by the name of its recipe.
    pub(crate) fn image(&mut self, name: &str) -> Result<Targets, Error> {
        let project = self.project;
        let (defs, recipe) = (&project.defs, project.recipe(name)?);
        let hv = defs.flavour(self.target.flavour)?;
        let kernel = self.kernel()?;
        let mut images = Vec::new();
        let root = self.root_layers(&kernel)?;
        let version = &slots::tag(&self.project.version);
        let mut layers: BTreeMap<String, Layer> = BTreeMap::new();
        let mut push = |name: &str, tag: &str, role, config: Option<ImageConfig>, of: Vec<Layer>, service| {
            let names = of.iter().map(|l| l.name.clone()).collect();
            layers.extend(of.into_iter().map(|l| (l.name.clone(), l)));
            images.push(Image {
                name: format!("{REGISTRY}/{name}:{tag}"),
                role,
                config: config.unwrap_or_default(),
                layers: names,
                service,
            });
        };
        push(ROOT, version, Role::Root, None, root, None);
        let services = hv.packages.iter().map(|n| (n, Role::Service));
        for (name, role) in services.chain(hv.payload.iter().map(|n| (n, Role::Payload))) {
            let package =
                defs.packages.get(&name.value).ok_or_else(|| Error::NoPackage { name: name.value.clone() })?;
            let tag = package.version.as_ref().map_or(version.as_str(), |v| v.value.as_str());
            let service = if role == Role::Service { package.service.as_ref().map(|s| s.value.clone()) } else { None };
            let of = self.package(package)?;
            push(&name.value, tag, role, package.image.clone(), of, service);
        }
        let mut step = Step::new(self.flavoured("slot"), "slot", slot::VERSION, slot::slot)
            .at(format!("hv/{}.yml", self.target.flavour), None);
        for (name, layer) in &layers {
            step = step.from(format!("tar/{name}"), layer.tar.clone(), "tar");
            step = step.from(format!("erofs/{name}"), layer.erofs.clone(), "erofs");
        }
        let slot = self.add(params(step, &Store { arch: self.arch(), images: images.clone() }))?;
        let mut targets = match recipe.kind {
            ImageKind::Disk => self.disk(&format!("images/{name}.yml"), recipe, &kernel, slot)?,
        };
        let size = self.size(&images, &layers, &targets)?;
        targets.parts.insert(Part::Sizes, (size, "tree"));
        Ok(targets)
    }

    fn disk(&mut self, file: &str, recipe: &ImageDef, kernel: &Kernel, slot: StepId) -> Result<Targets, Error> {
        let uki = self.uki(kernel, &slot)?;
        let loader = self.loader()?;
        let step = Step::new(self.flavoured("esp"), "esp", firmware::ESP_VERSION, firmware::esp)
            .from("loader", loader.clone(), "loader")
            .from("uki", uki.clone(), "uki")
            .at(file, None);
        let shim = if recipe.shim { Some(self.shim()?) } else { None };
        let step = match &shim {
            Some(shim) => {
                let of = |step: Step, output| step.from(output, shim.clone(), output);
                of(of(step, "uefi-shim"), "mok-manager")
            }
            None => step,
        };
        let esp = self.add(params(step, &self.project.esp(recipe, self.target)))?;
        let step = Step::new("config", "config", disk::CONFIG_VERSION, disk::config).at(file, None);
        let size = self.project.partition(recipe, PartitionType::Config);
        let config = self.add(params(step, &Config { size }))?;
        let mut parts = BTreeMap::from([
            (Part::Slot, (slot.clone(), "slot")),
            (Part::Root, (slot.clone(), "root")),
            (Part::Store, (slot, "store")),
            (Part::Loader, (loader, "loader")),
            (Part::Uki, (uki, "uki")),
            (Part::Esp, (esp, "esp")),
            (Part::Config, (config, "config")),
        ]);
        if let Some(shim) = shim {
            parts.insert(Part::Shim, (shim.clone(), "uefi-shim"));
            parts.insert(Part::MokManager, (shim, "mok-manager"));
        }
        Ok(Targets { parts, checks: vec![self.kernel_lint(kernel)?] })
    }

    /// The boot loader, output `loader`, and the stub of addons, output `addon`.
    pub(crate) fn loader(&mut self) -> Result<StepId, Error> {
        let step = Step::new(self.id("loader"), "loader", firmware::LOADER_VERSION, firmware::loader)
            .at("kernel/kernel.yml", None);
        let step = params(step, &Loader { arch: self.arch() });
        let step = self.with_debs(step, BOOT, self.arch(), is_systemd_boot)?;
        self.add(step)
    }

    /// shim, for firmware that does not trust the owner: outputs `uefi-shim`, `mok-manager`.
    fn shim(&mut self) -> Result<StepId, Error> {
        let step = Step::new(self.id("uefi-shim"), "uefi-shim", firmware::SHIM_VERSION, firmware::shim)
            .at("kernel/kernel.yml", None);
        let step = params(step, &Loader { arch: self.arch() });
        let asked: Vec<_> = self.project.defs.kernel.shim.iter().map(|deb| deb.name.clone()).collect();
        // without their dependencies
        let step = self.with_debs(step, SHIM, self.arch(), |deb| asked.iter().any(|name| name == deb))?;
        self.add(step)
    }

    /// The program that systemd-boot starts, output `uki`: the kernel's unified image, or Xen's with the kernel in it.
    fn uki(&mut self, kernel: &Kernel, slot: &StepId) -> Result<StepId, Error> {
        let defs = &self.project.defs;
        let hv = defs.flavour(self.target.flavour)?;
        let initramfs = self.initramfs(kernel)?;
        let cmdline = self.project.cmdline(self.target)?;
        let os_release = crate::texts::os_release(self.project, self.target);
        let sbat = crate::texts::sbat(self.project);
        let step = if let Some(xen) = &hv.xen {
            let own = xen.arch.get(&self.arch()).map(|a| a.cmdline.clone()).unwrap_or_default();
            let options = [own, xen.cmdline.clone()].concat();
            let step = Step::new(self.flavoured("xen"), "xen", firmware::XEN_VERSION, firmware::xen)
                .at(format!("hv/{}.yml", self.target.flavour), None);
            self.with_debs(
                params(step, &Xen { arch: self.arch(), options, cmdline, os_release, sbat }),
                HYPERVISOR,
                self.arch(),
                |_| true,
            )?
        } else {
            let uki = Uki { arch: self.arch(), cmdline, os_release, sbat };
            let step = Step::new(self.flavoured("uki"), "uki", firmware::UKI_VERSION, firmware::uki)
                .from("release", kernel.own.clone(), "release")
                .at("kernel/kernel.yml", None);
            let step = match self.microcode()? {
                Some(microcode) => step.from("microcode", microcode, "cpio"),
                None => step,
            };
            self.with_debs(params(step, &uki), BOOT, self.arch(), is_systemd_boot)?
        };
        let step = step.from("vmlinuz", kernel.own.clone(), "vmlinuz").from("initrd", initramfs, "initrd").from(
            "root",
            slot.clone(),
            "root",
        );
        self.add(step)
    }
}

/// Whether a package of the set `boot` is the boot loader itself, and not one of its dependencies.
fn is_systemd_boot(deb: &str) -> bool {
    deb == "systemd-boot-efi"
}
