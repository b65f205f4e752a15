//! Compiling the kernel from Debian's source package, in the toolbox set `kernel`, for any architecture on any host.

use super::{MODULES, config::CERTIFICATE};
use crate::tools::Tool;
use debian::limit;
use graph::{Ctx, StepError};
use std::{fs, path::Path};
use tree::{Beneath, Entry, Kind, Tree, TreePath};
use types::Arch;

/// The version of the step: raise it when the same package would give another source tree.
pub(crate) const SOURCE_VERSION: u32 = 1;
/// The version of the step: raise it when the same source and configuration would be compiled differently.
pub(crate) const BUILD_VERSION: u32 = 2;

/// Folders that no build reads: a tenth of the tree. Kconfig reads one file of the documentation.
const UNREAD: [&str; 2] = ["Documentation", "tools/testing"];
const READ: &str = "Documentation/Kconfig";

/// `types::EPOCH` as the kernel shows it in `uname -v`.
const TIMESTAMP: &str = "Thu Jan  1 00:00:00 UTC 2026";

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Build {
    pub(crate) arch: Arch,
    /// The certificate, in PEM, of the signer of its modules: the kernel loads no other modules.
    pub(crate) certificate: String,
}

/// Input `deb/…` (linux-source-…); output tree `source`.
pub(crate) fn source(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let scratch = ctx.scratch()?;
    let mut packed = None;
    for (i, label) in ctx.labels("deb/").enumerate() {
        let deb = debian::deb::unpack(&ctx.input(label)?, &scratch.join(format!("{i}.data")))?;
        let mut files = deb.into_iter().filter(|(path, _)| path.as_str().starts_with("usr/src/linux-source-"));
        packed = packed.or_else(|| files.find(|(path, _)| path.as_str().ends_with(".tar.xz")));
    }
    let Some((path, Entry { kind: Kind::File(content), .. })) = packed else {
        return Err(StepError::msg("no usr/src/linux-source-*.tar.xz in the source package"));
    };
    ctx.log(&format!("unpacking /{path}"));
    let plain = scratch.join("source.tar");
    std::io::copy(&mut limit::xz(content.open()?, limit::DATA_TAR), &mut fs::File::create(&plain)?)?;
    ctx.check()?;
    let all = debian::deb::read_plain_tar(&plain)?;
    let top = path.name().trim_end_matches(".tar.xz");
    let mut tree = Tree::default();
    for (path, entry) in all {
        let Some(below) = path.as_str().strip_prefix(top).map(|p| p.trim_start_matches('/')) else { continue };
        let unread =
            UNREAD.iter().any(|u| below.strip_prefix(u).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
        if !below.is_empty() && (!unread || below == READ) {
            tree.insert(TreePath::new(below)?, entry)?;
        }
    }
    let out = ctx.out_tree("source")?;
    tree.write_to(&out)?;
    Ok(())
}

/// Kbuild's names of the architecture's folder and of the architecture, and its image: target and file.
pub(super) const fn kbuild_arch(arch: Arch) -> (&'static str, &'static str, &'static str, &'static str) {
    match arch {
        Arch::Amd64 => ("x86", "x86_64", "bzImage", "arch/x86/boot/bzImage"),
        Arch::Arm64 => ("arm64", "arm64", "Image", "arch/arm64/boot/Image"),
    }
}

/// The sandbox of a run of make, independent of the machine, the user and the time.
pub(super) fn kbuild<'a, 'c>(tool: Tool<'a, 'c>, ctx: &Ctx<'_>, out: &Path) -> Result<Tool<'a, 'c>, StepError> {
    let fixed = [
        ("KBUILD_BUILD_TIMESTAMP", TIMESTAMP),
        ("KBUILD_BUILD_USER", "evek"),
        ("KBUILD_BUILD_HOST", "evek"),
        ("KBUILD_BUILD_VERSION", "1"),
        ("KCONFIG_NOTIMESTAMP", "1"),
        // our own depmod runs over the kept modules
        ("DEPMOD", "true"),
    ];
    let tool = tool.read(&ctx.input("source")?, "/src").writable(out, "/out").cwd("/out");
    Ok(fixed.into_iter().fold(tool, |tool, (name, value)| tool.env(name, value)))
}

/// make with targets or variables. The compiler always has its full name, also for the host.
pub(super) fn argv(arch: Arch, more: &[&str]) -> Vec<String> {
    let own = ["make", "-C", "/src", "O=/out"].map(str::to_owned);
    let of_arch = [format!("ARCH={}", kbuild_arch(arch).1), format!("CROSS_COMPILE={}-", arch.gnu())];
    own.into_iter().chain(of_arch).chain(more.iter().map(|m| (*m).to_owned())).collect()
}

/// Inputs `config`, the trees `kernel` (toolbox) and `source`; output `packed`: a tar with the content of Debian's
/// image package, without signatures of modules.
pub(crate) fn build(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let Build { arch, certificate } = ctx.params()?;
    let scratch = ctx.scratch()?;
    let (out, installed) = (scratch.join("out"), scratch.join("out/installed"));
    fs::create_dir_all(&installed)?;
    fs::copy(ctx.input("config")?, out.join(".config"))?;
    fs::write(out.join(CERTIFICATE), certificate)?;
    let (_, _, target, image) = kbuild_arch(arch);
    let jobs = format!("-j{}", ctx.slots());
    let run = |more: &[&str]| kbuild(Tool::new(ctx, "kernel")?, ctx, &out)?.run(&argv(arch, more));
    run(&[&jobs, "-s", target, "modules"])?;
    run(&[&jobs, "-s", "INSTALL_MOD_PATH=/out/installed", "INSTALL_MOD_STRIP=1", "modules_install"])?;
    let made = Beneath::open(&out)?;
    let release = String::from_utf8(made.read(&TreePath::new("include/config/kernel.release")?)?)?;
    let release = release.trim();

    let mut tree = Tree::default();
    for (from, to) in [(image, "vmlinuz"), (".config", "config"), ("System.map", "System.map")] {
        let len = made.file(&TreePath::new(from)?)?.metadata()?.len();
        tree.insert(TreePath::new(&format!("boot/{to}-{release}"))?, Entry::file_from(0o644, out.join(from), len))?;
    }
    let modules = TreePath::new(&format!("{MODULES}/{release}"))?;
    for (path, entry) in Tree::from_folder(&installed.join("lib/modules").join(release))? {
        tree.insert(modules.join(path.as_str())?, entry)?;
    }
    let file = fs::File::create(ctx.out_blob("packed"))?;
    oci::layer::write_tar(&tree, file, |_| ())?;
    Ok(())
}
