//! The kernel, from Debian's package or from source, with modules, firmware and initramfs.
//!
//! ```text
//! linux-source ─► kernel-source ─┐
//! fragments ─► kernel-config@arch ─► kernel-build@arch ─┐
//! linux-image deb ──────────────────────────────────────┴─► kernel@arch ─► vmlinuz, release, config, tar (modules), index
//!                                                                   │        │
//!       built: module-digests@arch (what is signed of each) ◄───────┤        │
//!              modules@arch (each with the owner's signature) ◄─────┘        │
//!       firmware@arch (what the modules of the index ask for) ◄──────────────┤
//!       kernel-lint/<flavour>@arch (options and modules that are needed) ◄───┤
//!       initramfs/<flavour>@arch ◄───────────────────────────────────────────┘
//! ```
//! A kernel from source is packed like Debian's, so that the steps after `kernel@arch` are the same for both.

mod build;
mod config;
mod firmware;
mod fragment;
mod initramfs;
mod kconfig;
mod lint;
mod modules;
mod sign;

pub(crate) use build::{BUILD_VERSION, Build, SOURCE_VERSION, build, source};
pub(crate) use config::{CONFIG_VERSION, Config, config, label as fragment_label};
pub(crate) use firmware::{FIRMWARE_VERSION, Firmware, MICROCODE_VERSION, firmware, microcode};
pub(crate) use initramfs::{Initramfs, VERSION as INITRAMFS_VERSION, initramfs};
pub(crate) use lint::{LINT_VERSION, Lint, lint};
pub(crate) use modules::{Index, module_name};
pub(crate) use sign::{DIGESTS_VERSION, Digests, SIGNED_VERSION, Signed, digests, signed};

use defs::{Located, PathGlob};
use graph::{Ctx, StepError};
use std::fs;
use tree::{Entry, Kind, Tree};
use types::Arch;

/// The version of the step: raise it when the same package would give another kernel or module tree.
pub(crate) const KERNEL_VERSION: u32 = 2;

/// The folder of module trees, one for each release.
const MODULES: &str = "usr/lib/modules";

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Kernel {
    pub(crate) arch: Arch,
    /// Module paths to leave out, below the folder of the release.
    pub(crate) drop: Vec<Located<PathGlob>>,
    /// Module paths to keep nevertheless.
    pub(crate) keep: Vec<Located<PathGlob>>,
}

/// Inputs `deb/…` (one of them is the kernel) or `built`, and the tree `files` (toolbox); outputs `vmlinuz`, `release`,
/// `config`, `tar` (modules), `index` ([`Index`] as JSON).
pub(crate) fn kernel(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let params: Kernel = ctx.params()?;
    let all = packed(ctx)?;
    let (name, image) = boot_file(&all, "vmlinu")?;
    let (_, release) = name.split_once('-').ok_or_else(|| StepError::msg(format!("no release in the name {name}")))?;
    let image = content(&image)?;
    let from = ctx.labels("deb/").map(|l| l.trim_start_matches("deb/").to_owned()).collect::<Vec<_>>().join(", ");
    let from = if from.is_empty() { "kernel-build".to_owned() } else { from };
    boot::arch::check_kernel(&format!("/boot/{name} of {from}"), &image, params.arch)?;
    fs::write(ctx.out_blob("vmlinuz"), image)?;
    ctx.put("release", release.as_bytes())?;
    let config = content(&boot_file(&all, "config-")?.1)?;
    ctx.put("config", &config)?;
    let release = release.to_owned();
    modules::modules(ctx, &params, &release, all)
}

/// The files of the kernel's package.
fn packed(ctx: &Ctx<'_>) -> Result<Tree, StepError> {
    if ctx.labels("built").next().is_some() {
        return Ok(debian::deb::read_plain_tar(&ctx.input("built")?)?);
    }
    Ok(crate::packages::all(ctx)?.tree)
}

/// The first file of `boot` whose name has this prefix, and its name.
fn boot_file(all: &Tree, start: &str) -> Result<(String, Entry), StepError> {
    let prefix = format!("boot/{start}");
    let found = all.iter().find(|(path, e)| path.as_str().starts_with(&prefix) && matches!(e.kind, Kind::File(_)));
    let (path, entry) = found.ok_or_else(|| StepError::msg(format!("no {prefix}* in the kernel package")))?;
    Ok((path.name().to_owned(), entry.clone()))
}

fn content(entry: &Entry) -> Result<Vec<u8>, StepError> {
    match &entry.kind {
        Kind::File(content) => Ok(content.read()?),
        other => Err(StepError::msg(format!("a {} where a file is expected", other.name()))),
    }
}
