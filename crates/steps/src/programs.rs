//! Programs: the device's Rust crates and Go modules, compiled by the toolbox from vendored sources.
//!
//! Rust has two steps, so that a changed line compiles one crate: `rust-deps` compiles all third-party crates, with
//! empty stand-ins for our crates, and outputs cargo's target folder; `rust/<package>` compiles our crates on top of
//! it.

use crate::tools::Tool;
use graph::{Ctx, StepError};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use tree::{Beneath, Tree, TreePath};
use types::{Arch, EPOCH};

/// The version of the step: raise it when the same sources would give other programs.
pub(crate) const RUST_VERSION: u32 = 4;
/// The version of the step: raise it when the same sources would give other programs.
pub(crate) const GO_VERSION: u32 = 1;
/// The version of the step: raise it when the same tar would be unpacked differently.
pub(crate) const VENDOR_VERSION: u32 = 1;

/// Input `tar`, a vendored input; output tree `vendor`.
pub(crate) fn vendor(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let out = ctx.out_tree("vendor")?;
    debian::deb::read_plain_tar(&ctx.input("tar")?)?.write_to(&out)?;
    Ok(())
}

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Rust {
    pub(crate) arch: Arch,
    /// The package of cargo's workspace, and its binaries; `None` for the dependencies.
    pub(crate) package: Option<String>,
    pub(crate) binaries: Vec<String>,
    /// Every crate of ours that the workspace reaches, as folders relative to the repository.
    pub(crate) crates: Vec<String>,
    /// The part of the builder's workspace manifest that the device's programs use.
    pub(crate) shared: String,
}

/// Inputs `rust` (toolbox), `vendor`, `manifest/<path>`; output tree `target`.
pub(crate) fn rust_deps(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let params: Rust = ctx.params()?;
    let target = ctx.out_tree("target")?;
    let source = lay_out(ctx, &params)?;
    cargo(ctx, &params, &source)?.writable(&target, "/target").run(&cargo_args(&params, &["--workspace"]))?;
    // cargo would mistake the stand-ins for the real crates, because all files have one time
    let ours: Vec<String> = params.crates.iter().map(|c| name_of(c).replace('-', "_")).collect();
    forget(&target, &ours)?;
    // cargo's note of the compiler's file time; cargo checks the compiler again
    fs::remove_file(target.join(".rustc_info.json"))?;
    Ok(())
}

/// Inputs `rust` (toolbox), `vendor`, `deps`, `manifest/<path>`, `source/<folder>`; an output for each binary.
pub(crate) fn rust(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let params: Rust = ctx.params()?;
    let source = lay_out(ctx, &params)?;
    let upper = ctx.scratch()?.join("target");
    let package = params.package.clone().ok_or_else(|| StepError::msg("no package to compile"))?;
    // `--workspace`, as for the dependencies: for one package alone cargo would choose other features and compile them again
    let binaries = params.binaries.iter().flat_map(|binary| ["--bin", binary.as_str()]);
    let args: Vec<&str> = std::iter::once("--workspace").chain(binaries).collect();
    cargo(ctx, &params, &source)?.overlay(&ctx.input("deps")?, "/target", &upper)?.run(&cargo_args(&params, &args))?;
    // build scripts of vendored crates have written there: no link of theirs is followed
    let beneath = Beneath::open(&upper)?;
    for binary in &params.binaries {
        let made = format!("{}/release/{binary}", params.arch.rust_target());
        if let Err(e) = beneath.file(&TreePath::new(&made)?) {
            return Err(StepError::msg(format!("crate {package} has no binary `{binary}`: {e}")));
        }
        fs::rename(upper.join(made), ctx.out_blob(binary))?;
    }
    Ok(())
}

/// The start of a stand-in for one of our crates: the workspace's lints demand documentation.
const STAND_IN: &str = "//! Stand-in.\n";

/// The sources in the sandbox: unchanged manifests, real sources where they are an input, else stand-ins.
fn lay_out(ctx: &Ctx<'_>, params: &Rust) -> Result<PathBuf, StepError> {
    let source = ctx.scratch()?.join("src");
    for label in ctx.labels("manifest/") {
        let to = source.join(&label["manifest/".len()..]);
        fs::create_dir_all(to.parent().unwrap_or(&source))?;
        fs::copy(ctx.input(label)?, &to)?;
    }
    fs::write(source.join("Cargo.toml"), &params.shared)?;
    for folder in &params.crates {
        let src = source.join(folder).join("src");
        fs::create_dir_all(&src)?;
        let label = format!("source/{folder}");
        if ctx.labels(&label).any(|l| l == label) {
            Tree::from_folder(&ctx.input(&label)?)?.write_to(&src)?;
        } else if folder.starts_with("pkg/") {
            fs::write(src.join("main.rs"), format!("{STAND_IN}fn main() {{}}\n"))?;
        } else {
            fs::write(src.join("lib.rs"), STAND_IN)?;
        }
    }
    stamp(&source)?;
    Ok(source)
}

/// Gives every file the one clock: cargo compares times.
fn stamp(folder: &Path) -> Result<(), StepError> {
    let clock = std::time::UNIX_EPOCH + std::time::Duration::from_secs(EPOCH);
    for item in fs::read_dir(folder)? {
        let item = item?;
        let kind = item.file_type()?;
        if kind.is_dir() {
            stamp(&item.path())?;
        } else if kind.is_file() {
            fs::File::options().write(true).open(item.path())?.set_modified(clock)?;
        }
    }
    Ok(())
}

fn cargo<'a, 'c>(ctx: &'a Ctx<'c>, params: &Rust, source: &Path) -> Result<Tool<'a, 'c>, StepError> {
    let linker = format!("{}-gcc", params.arch.gnu());
    let triple = params.arch.rust_target().to_uppercase().replace('-', "_");
    Ok(Tool::new(ctx, "rust")?
        .read(source, "/src")
        .read(&ctx.input("vendor")?, "/vendor")
        .env(&format!("CARGO_TARGET_{triple}_LINKER"), linker)
        .env("CARGO_HOME", "/tmp/cargo")
        .env("CARGO_INCREMENTAL", "0")
        .env("RUSTFLAGS", "-Ctarget-feature=+crt-static")
        .env("CARGO_BUILD_JOBS", ctx.slots().to_string())
        .cwd("/src/pkg"))
}

fn cargo_args(params: &Rust, more: &[&str]) -> Vec<String> {
    let args = [
        "cargo",
        "build",
        "--release",
        "--frozen",
        "--color=never",
        "--config",
        "source.crates-io.replace-with=\"vendored\"",
        "--config",
        "source.vendored.directory=\"/vendor\"",
        "--target-dir",
        "/target",
        "--target",
        params.arch.rust_target(),
    ];
    args.iter().chain(more).map(|&a| a.to_owned()).collect()
}

fn name_of(folder: &str) -> &str {
    folder.rsplit('/').next().unwrap_or(folder)
}

/// Removes cargo's outputs for these crates from a target folder.
fn forget(folder: &Path, crates: &[String]) -> Result<(), StepError> {
    for item in fs::read_dir(folder)? {
        let item = item?;
        let name = item.file_name().to_string_lossy().replace('-', "_");
        let bare = name.strip_prefix("lib").unwrap_or(&name);
        let stem = bare.split('.').next().unwrap_or(bare);
        // `types_<16 hex digits>`, or the final `kube`
        let of = |c: &String| {
            stem == c
                || stem
                    .strip_prefix(c.as_str())
                    .and_then(|rest| rest.strip_prefix('_'))
                    .is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        if crates.iter().any(of) {
            if item.file_type()?.is_dir() { fs::remove_dir_all(item.path())? } else { fs::remove_file(item.path())? }
        } else if item.file_type()?.is_dir() {
            forget(&item.path(), crates)?;
        }
    }
    Ok(())
}

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Go {
    pub(crate) arch: Arch,
    pub(crate) bin: String,
    pub(crate) package: String,
    pub(crate) tags: Vec<String>,
    pub(crate) vars: BTreeMap<String, String>,
    pub(crate) cgo: bool,
}

/// Inputs `go` (toolbox), `vendor`, `source`; output `bin`.
pub(crate) fn go(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let params: Go = ctx.params()?;
    let scratch = ctx.scratch()?;
    let source = scratch.join("src");
    fs::create_dir(&source)?;
    Tree::from_folder(&ctx.input("source")?)?.write_to(&source)?;
    fs::create_dir(source.join("vendor"))?;
    let bin = scratch.join("bin");
    fs::create_dir(&bin)?;
    let vars: String = params.vars.iter().map(|(name, value)| format!(" -X {name}={value}")).collect();
    let linking = if params.cgo { " -linkmode=external -extldflags=-static" } else { "" };
    Tool::new(ctx, "go")?
        .writable(&source, "/src")
        .read(&ctx.input("vendor")?, "/src/vendor")
        .writable(&bin, "/out")
        .env("GOARCH", params.arch.as_str())
        .env("GOAMD64", "v1")
        .env("CGO_ENABLED", if params.cgo { "1" } else { "0" })
        .env("CC", format!("{}-gcc", params.arch.gnu()))
        .env("GOCACHE", "/tmp/go-build")
        .env("GOFLAGS", "-mod=vendor")
        .env("GOPROXY", "off")
        .env("GOTOOLCHAIN", "local")
        .env("GOTELEMETRY", "off")
        .cwd("/src")
        .run(&[
            "go",
            "build",
            "-trimpath",
            "-buildvcs=false",
            "-p",
            &ctx.slots().to_string(),
            "-tags",
            &params.tags.join(","),
            "-ldflags",
            &format!("-s -w -buildid={linking}{vars}"),
            "-o",
            &format!("/out/{}", params.bin),
            &params.package,
        ])?;
    fs::rename(bin.join(&params.bin), ctx.out_blob("bin"))?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_crates_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let names = [
            "libtypes-0123456789abcdef.rlib",
            "types-0123456789abcdef.d",
            "libtypes_extra-0123456789abcdef.rlib",
            "kube",
            "kube-client-0123456789abcdef",
        ];
        for name in names {
            fs::write(dir.path().join(name), "").unwrap();
        }
        forget(dir.path(), &["types".to_owned(), "kube".to_owned()]).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["kube-client-0123456789abcdef", "libtypes_extra-0123456789abcdef.rlib"]);
    }
}
