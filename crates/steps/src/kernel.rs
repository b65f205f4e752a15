//! The kernel: image and modules out of Debian's package, the module index by depmod, and the initramfs with what the first
//! stage needs.

use crate::tools::Tool;
use boot::cpio;
use defs::{Located, PathGlob};
use graph::{Ctx, StepError, Unit};
use rayon::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{Read as _, Write as _},
    sync::Arc as Shared,
};
use tree::{Content, Entry, Kind, Tree, TreePath};
use types::Arch;

/// Raised when the same package would give another kernel or module tree.
pub(crate) const KERNEL_VERSION: u32 = 1;
/// Raised when the same modules would give another initramfs.
pub(crate) const INITRAMFS_VERSION: u32 = 1;

const MODULES: &str = "usr/lib/modules";

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Kernel {
    pub(crate) arch: Arch,
    /// Module paths that are left out, below the folder of the release.
    pub(crate) drop: Vec<Located<PathGlob>>,
}

/// Inputs `deb/…` (one of them is the kernel) and the tree `files` (toolbox); outputs `vmlinuz`, `release`, `tar` (modules).
pub(crate) fn kernel(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let params: Kernel = ctx.params()?;
    let scratch = ctx.scratch()?;
    let mut all = Tree::default();
    let labels: Vec<String> = ctx.labels("deb/").map(str::to_owned).collect();
    for (i, label) in labels.iter().enumerate() {
        all.merge(debian::deb::unpack(&ctx.input(label)?, &scratch.join(format!("{i}.data")))?)?;
    }
    let image = all.iter().find_map(|(path, entry)| match &entry.kind {
        Kind::File(content) if path.as_str().starts_with("boot/vmlinu") => {
            Some((path.name().to_owned(), content.clone()))
        }
        _ => None,
    });
    let (name, content) = image.ok_or_else(|| StepError::msg("no boot/vmlinuz-* in the kernel package"))?;
    let (_, release) = name.split_once('-').ok_or_else(|| StepError::msg(format!("no release in the name {name}")))?;
    fs::write(ctx.out_blob("vmlinuz"), content.read()?)?;
    ctx.put("release", release.as_bytes())?;
    let system_map = all.iter().find(|(path, _)| path.as_str().starts_with("boot/System.map-")).map(|(_, e)| e.clone());

    let mut modules = Tree::default();
    let folder = TreePath::new(&format!("{MODULES}/{release}"))?;
    let wanted: Vec<(TreePath, Entry)> = all
        .into_iter()
        .filter(|(path, _)| {
            let below = path.as_str().strip_prefix(folder.as_str()).map(|p| p.trim_start_matches('/'));
            below.is_some_and(|p| !["build", "source"].contains(&p) && !params.drop.iter().any(|glob| glob.covers(p)))
        })
        .collect();
    let spool = Shared::new(scratch.join("modules"));
    let mut out = std::io::BufWriter::new(File::create(spool.as_ref())?);
    let mut at = 0;
    for (n, some) in wanted.chunks(AT_ONCE).enumerate() {
        ctx.check()?;
        ctx.progress((n * AT_ONCE) as u64, wanted.len() as u64, Unit::Items);
        let plain: Vec<Option<Vec<u8>>> =
            some.par_iter().map(|(path, entry)| decompress(path, entry)).collect::<Result<_, _>>()?;
        for ((path, entry), bytes) in some.iter().zip(plain) {
            let (mut path, mut entry) = (path.clone(), entry.clone());
            if let Some(bytes) = bytes {
                out.write_all(&bytes)?;
                let len = bytes.len() as u64;
                entry.kind = Kind::File(Content::Range { file: Shared::clone(&spool), offset: at, len });
                at += len;
                path = TreePath::new(path.as_str().trim_end_matches(".xz"))?;
            }
            modules.insert(path, entry)?;
        }
    }
    out.flush()?;
    drop(out);
    depmod(ctx, &mut modules, release, system_map)?;
    crate::layers::write_layer(ctx, &modules, &Tree::default(), params.arch)
}

/// How many modules are decompressed before they are written: some tens of megabytes.
const AT_ONCE: usize = 256;

/// The bytes of a compressed module. Modules are stored plain: the layer compresses them with everything else, and loading
/// them takes no second decoder.
fn decompress(path: &TreePath, entry: &Entry) -> std::io::Result<Option<Vec<u8>>> {
    let Kind::File(content) = &entry.kind else { return Ok(None) };
    if !path.as_str().ends_with(".ko.xz") {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    lzma_rust2::XzReader::new(content.open()?, false).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Adds `modules.dep` and its kin.
fn depmod(ctx: &Ctx<'_>, modules: &mut Tree, release: &str, system_map: Option<Entry>) -> Result<(), StepError> {
    let root = ctx.scratch()?.join("depmod");
    fs::create_dir(&root)?;
    modules.write_to(&root)?;
    // depmod looks below lib/modules
    std::os::unix::fs::symlink("usr/lib", root.join("lib"))?;
    let mut argv = vec!["depmod", "-b", "/out"];
    if let Some(Entry { kind: Kind::File(content), .. }) = system_map {
        fs::write(root.join("System.map"), content.read()?)?;
        argv.extend(["-F", "/out/System.map"]);
    }
    argv.push(release);
    Tool::new(ctx, "files")?.writable(&root, "/out").run(&argv)?;
    for item in fs::read_dir(root.join(MODULES).join(release))? {
        let item = item?;
        let name = item.file_name().to_string_lossy().into_owned();
        if name.starts_with("modules.") {
            let path = TreePath::new(&format!("{MODULES}/{release}/{name}"))?;
            modules.insert(path, Entry::file(0o644, fs::read(item.path())?))?;
        }
    }
    fs::remove_dir_all(root)?;
    Ok(())
}

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Initramfs {
    /// Modules to load, by name; what they need is loaded before.
    pub(crate) modules: Vec<Located<String>>,
}

/// Inputs `modules` (tar), `release`, `init` (program); output `initrd`.
pub(crate) fn initramfs(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let params: Initramfs = ctx.params()?;
    let release = fs::read_to_string(ctx.input("release")?)?;
    let all = debian::deb::read_plain_tar(&ctx.input("modules")?)?;
    let index = Index::read(&all, &release)?;
    let mut names: Vec<String> = params.modules.iter().map(|m| m.value.clone()).collect();
    names.dedup();
    let mut list = String::new();
    let mut tree = Tree::default();
    for path in index.in_order(&names)? {
        let full = TreePath::new(&format!("{MODULES}/{release}/{path}"))?;
        let entry =
            all.get(&full).ok_or_else(|| StepError::msg(format!("modules.dep names /{full}, which is not there")))?;
        list.push_str(&format!("/{full}\n"));
        tree.insert(full, entry.clone())?;
    }
    tree.insert(TreePath::new("etc/modules-initramfs")?, Entry::file(0o644, list.into_bytes()))?;
    let init = ctx.input("init")?;
    let len = fs::metadata(&init)?.len();
    tree.insert(TreePath::new("init")?, Entry::file_from(0o755, init, len))?;
    for folder in ["dev", "proc", "run", "sys", "sysroot"] {
        tree.insert(TreePath::new(folder)?, Entry::dir(0o755))?;
    }
    let mut out = zstd::Encoder::new(File::create(ctx.out_blob("initrd"))?, 10)?;
    // one worker and many give the same bytes; none gives others
    out.multithread(1)?;
    cpio::write(&tree, &mut out)?;
    out.finish()?;
    Ok(())
}

/// `modules.dep` and `modules.builtin`: what each module needs, by path below the folder of the release (kmod, modules.dep(5)).
struct Index {
    needs: BTreeMap<String, Vec<String>>,
    by_name: BTreeMap<String, String>,
    builtin: BTreeSet<String>,
}

fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

impl Index {
    fn read(all: &Tree, release: &str) -> Result<Self, StepError> {
        let text = |name: &str| -> Result<String, StepError> {
            let path = TreePath::new(&format!("{MODULES}/{release}/{name}"))?;
            match all.get(&path).map(|e| &e.kind) {
                Some(Kind::File(content)) => Ok(String::from_utf8_lossy(&content.read()?).into_owned()),
                _ => Err(StepError::msg(format!("the modules of {release} have no {name}"))),
            }
        };
        Ok(Self::parse(&text("modules.dep")?, &text("modules.builtin")?))
    }

    fn parse(dep: &str, builtin: &str) -> Self {
        let needs: BTreeMap<String, Vec<String>> = dep
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(path, needs)| (path.to_owned(), needs.split_whitespace().map(str::to_owned).collect()))
            .collect();
        let by_name = needs.keys().map(|path| (module_name(path), path.clone())).collect();
        Self { needs, by_name, builtin: builtin.lines().map(module_name).collect() }
    }

    /// The paths of these modules and all they need, each after what it needs.
    fn in_order(&self, names: &[String]) -> Result<Vec<String>, StepError> {
        let mut order = Vec::new();
        for name in names {
            let name = name.replace('-', "_");
            match self.by_name.get(&name) {
                Some(path) => self.add(path, &mut order),
                None if self.builtin.contains(&name) => {}
                None => {
                    return Err(StepError::msg(format!(
                        "the kernel has no module `{name}`: see `initramfs:` in kernel/kernel.yml and hv/*.yml"
                    )));
                }
            }
        }
        Ok(order)
    }

    fn add(&self, path: &str, order: &mut Vec<String>) {
        if order.iter().any(|p| p == path) {
            return;
        }
        // depmod lists the needs of the needs too, the nearest first
        for need in self.needs.get(path).into_iter().flatten().rev() {
            self.add(need, order);
        }
        order.push(path.to_owned());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/fs/erofs/erofs.ko: kernel/lib/libcrc32c.ko kernel/fs/netfs/netfs.ko\n\
                       kernel/lib/libcrc32c.ko:\nkernel/fs/netfs/netfs.ko:\nkernel/drivers/md/dm-verity.ko: kernel/drivers/md/dm-mod.ko\n\
                       kernel/drivers/md/dm-mod.ko:\n";

    #[test]
    fn what_a_module_needs_is_loaded_first() {
        let index = Index::parse(DEP, "kernel/drivers/virtio/virtio_pci.ko\n");
        let order = index.in_order(&["dm_verity".into(), "virtio-pci".into(), "erofs".into()]).unwrap();
        let names: Vec<_> = order.iter().map(|p| module_name(p)).collect();
        assert_eq!(names, ["dm_mod", "dm_verity", "netfs", "libcrc32c", "erofs"]);
    }

    #[test]
    fn a_module_that_the_kernel_lacks_is_an_error() {
        let text = Index::parse(DEP, "").in_order(&["zfs".into()]).unwrap_err().to_string();
        assert!(text.starts_with("the kernel has no module `zfs`"), "{text}");
    }
}
