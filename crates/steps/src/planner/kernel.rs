//! The kernel, from source or Debian's, with its lint, firmware, microcode and initramfs.

use super::{Layer, Planner, ROOT, params};
use crate::{
    Error, kernel, sources,
    wanted::{FIRMWARE, KERNEL, KERNEL_SOURCE, MICROCODE, tools_for},
};
use defs::{ConfigBase, Deb, KernelBuild, Located};
use graph::{Step, StepId};

/// Whether a package is the kernel itself. Its dependencies make initramfs archives and the like, which the build does
/// itself.
fn is_image(name: &str) -> bool {
    name.starts_with("linux-image-")
}

/// The steps of a kernel.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    /// Outputs `vmlinuz`, `release`, `config` and `index`.
    pub(super) own: StepId,
    /// Output `tar`: the modules of the device.
    pub(super) modules: StepId,
}

impl Planner<'_> {
    /// The kernel, with signed modules.
    pub(super) fn kernel(&mut self) -> Result<Kernel, Error> {
        let own = self.kernel_unsigned()?;
        let modules = match (self.project.is_kernel_built(), &self.project.modules) {
            // Debian's are signed by Debian
            (false, _) => own.clone(),
            (true, None) => return Err(Error::NoModuleSigner),
            (true, Some(signer)) => {
                let step = Step::new(self.id("modules"), "modules", kernel::SIGNED_VERSION, kernel::signed)
                    .from("tar", own.clone(), "tar")
                    .at("kernel/kernel.yml", None);
                let signed = kernel::Signed { arch: self.arch(), certificate: signer.pem()? };
                let step = match signer.signatures(self.arch()) {
                    Some(signatures) => step.blob("signatures", signatures),
                    None => step,
                };
                self.add(params(step, &signed))?
            }
        };
        Ok(Kernel { own, modules })
    }

    /// The digests to sign of the modules of a kernel from source: output `digests`.
    pub(crate) fn module_digests(&mut self) -> Result<StepId, Error> {
        let kernel = self.kernel_unsigned()?;
        let step = Step::new(self.id("module-digests"), "module-digests", kernel::DIGESTS_VERSION, kernel::digests)
            .from("tar", kernel, "tar")
            .at("kernel/kernel.yml", None);
        self.add(step)
    }

    /// The kernel: outputs `vmlinuz`, `release`, `config`, `tar` and `index`.
    fn kernel_unsigned(&mut self) -> Result<StepId, Error> {
        let tools = self.toolbox("files")?;
        let defs = &self.project.defs.kernel;
        let (drop, keep) = (defs.modules.drop.clone(), defs.modules.keep.clone());
        let step = Step::new(self.id("kernel"), "kernel", kernel::KERNEL_VERSION, kernel::kernel)
            .from("files", tools, "root")
            .at("kernel/kernel.yml", None);
        let step = params(step, &kernel::Kernel { arch: self.arch(), drop, keep });
        let step = match &defs.build {
            Some(build) if self.project.is_kernel_built() => step.from("built", self.kernel_build(build)?, "packed"),
            _ => self.with_debs(step, KERNEL, self.arch(), is_image)?,
        };
        self.add(step)
    }

    fn kernel_build(&mut self, build: &KernelBuild) -> Result<StepId, Error> {
        let arch = self.arch();
        let tools = self.toolbox(&tools_for("kernel", arch))?;
        let step = Step::new("kernel-source", "kernel-source", kernel::SOURCE_VERSION, kernel::source)
            .at("kernel/kernel.yml", Some(build.deb.at.line));
        let source = build.deb.name.clone();
        let step = self.with_debs(step, KERNEL_SOURCE, arch, |name| name == source)?;
        let source = self.add(step)?;

        let step = Step::new(self.id("kernel-config"), "kernel-config", kernel::CONFIG_VERSION, kernel::config)
            .from("kernel", tools.clone(), "root")
            .from("source", source.clone(), "source")
            .at("kernel/kernel.yml", Some(build.deb.at.line));
        let step = params(step, &kernel::Config { arch, base: build.base });
        let mut step = self.with_fragments(step)?;
        if build.base == ConfigBase::Debian {
            step = self.with_debs(step, KERNEL, arch, is_image)?;
        }
        let config = self.add(step)?;

        let step = Step::new(self.id("kernel-build"), "kernel-build", kernel::BUILD_VERSION, kernel::build)
            .from("kernel", tools, "root")
            .from("source", source, "source")
            .from("config", config, "config")
            .at("kernel/kernel.yml", Some(build.deb.at.line))
            .slots(usize::MAX);
        let signer = self.project.modules.as_ref().ok_or(Error::NoModuleSigner)?;
        self.add(params(step, &kernel::Build { arch, certificate: signer.pem()? }))
    }

    /// With the fragments of a kernel from source, in their order.
    fn with_fragments(&self, mut step: Step) -> Result<Step, Error> {
        let defs = &self.project.defs.kernel;
        let common = defs.build.iter().flat_map(|b| &b.fragments);
        let own = defs.arch.get(&self.arch()).into_iter().flat_map(|a| &a.fragments);
        for (n, fragment) in common.chain(own).enumerate() {
            let file = format!("kernel/{fragment}");
            let path = self.project.root().join(&file);
            step = step.file(kernel::fragment_label(n, &file), path.clone(), sources::file(&path)?);
        }
        Ok(step)
    }

    /// The lint of the kernel for this flavour: output `report`.
    pub(super) fn kernel_lint(&mut self, kernel: &Kernel) -> Result<StepId, Error> {
        let (defs, arch, flavour) = (&self.project.defs, self.arch(), self.target.flavour);
        let concerned = |n: &&defs::Needs| {
            n.arch.as_ref().is_none_or(|a| a.contains(&arch))
                && n.flavours.as_ref().is_none_or(|all| all.iter().any(|f| f.0 == flavour))
        };
        let mut load = self.first_stage_modules()?;
        load.extend(defs.flavour(flavour)?.kernel.load.iter().cloned());
        let lint = kernel::Lint {
            needs: defs.lint.needs.iter().filter(concerned).cloned().collect(),
            load,
            drop: defs.kernel.modules.drop.clone(),
        };
        // the step's function gets its parameters with their places
        let places = lint.clone();
        let step = Step::new(self.flavoured("kernel-lint"), "kernel-lint", kernel::LINT_VERSION, move |ctx| {
            kernel::lint(ctx, &places)
        });
        let step = step.from("config", kernel.own.clone(), "config").from("index", kernel.own.clone(), "index");
        let mut step = params(step, &lint).at("kernel/lint.yml", None);
        if self.project.is_kernel_built() {
            step = self.with_fragments(step)?;
        }
        self.add(step)
    }

    /// The modules that the first stage loads.
    fn first_stage_modules(&self) -> Result<Vec<Located<String>>, Error> {
        let defs = &self.project.defs;
        let own = defs.kernel.arch.get(&self.arch()).map(|a| a.initramfs.clone()).unwrap_or_default();
        let flavours = defs.flavour(self.target.flavour)?.kernel.initramfs.clone();
        Ok([defs.kernel.initramfs.clone(), own, flavours].concat())
    }

    pub(super) fn initramfs(&mut self, kernel: &Kernel) -> Result<StepId, Error> {
        let modules = self.first_stage_modules()?;
        let init = self.project.defs.packages.get("init").ok_or_else(|| Error::NoPackage { name: "init".into() })?;
        let init = self.rust(init)?;
        self.initramfs_of(self.flavoured("initramfs"), kernel, (init, "init"), modules, "kernel/kernel.yml")
    }

    /// An initramfs of a program, an output of the step that compiles it, and of modules of the kernel.
    pub(super) fn initramfs_of(
        &mut self,
        id: StepId,
        kernel: &Kernel,
        (program, output): (StepId, &str),
        modules: Vec<Located<String>>,
        file: &str,
    ) -> Result<StepId, Error> {
        let step = Step::new(id, "initramfs", kernel::INITRAMFS_VERSION, kernel::initramfs)
            .from("modules", kernel.modules.clone(), "tar")
            .from("release", kernel.own.clone(), "release")
            .from("init", program, output)
            .at(file, None);
        self.add(params(step, &kernel::Initramfs { arch: self.arch(), modules }))
    }

    /// The layer with firmware for the modules; `None` if definitions name no package of firmware.
    pub(super) fn kernel_firmware(&mut self, kernel: &Kernel) -> Result<Option<Layer>, Error> {
        let arch = self.arch();
        if !Deb::any_for(&self.project.defs.kernel.firmware, arch) {
            return Ok(None);
        }
        let step = Step::new(self.id("firmware"), "firmware", kernel::FIRMWARE_VERSION, kernel::firmware)
            .from("index", kernel.own.clone(), "index")
            .at("kernel/kernel.yml", None);
        let step = self.with_debs(params(step, &kernel::Firmware { arch }), FIRMWARE, arch, |_| true)?;
        let tar = self.add(step)?;
        Ok(Some(Layer { of_debs: true, ..self.erofs(ROOT, "firmware", tar)? }))
    }

    /// The archive with microcode: output `cpio`; `None` if definitions name no package of microcode.
    pub(super) fn microcode(&mut self) -> Result<Option<StepId>, Error> {
        let (arch, debs) = (self.arch(), &self.project.defs.kernel.arch);
        if !debs.get(&arch).is_some_and(|a| Deb::any_for(&a.microcode, arch)) {
            return Ok(None);
        }
        let step = Step::new(self.id("microcode"), "microcode", kernel::MICROCODE_VERSION, kernel::microcode)
            .at("kernel/kernel.yml", None);
        let step = self.with_debs(step, MICROCODE, arch, |name| name.ends_with("-microcode"))?;
        self.add(step).map(Some)
    }
}
