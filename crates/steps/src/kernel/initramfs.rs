//! The initramfs: the first stage and the modules that it loads.

use super::{MODULES, module_name};
use boot::cpio;
use defs::Located;
use graph::{Ctx, StepError};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
};
use tree::{Entry, Kind, Tree, TreePath};
use types::Arch;

/// The version of the step: raise it when the same modules would give another initramfs.
pub(crate) const VERSION: u32 = 1;

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Initramfs {
    pub(crate) arch: Arch,
    /// Modules to load, by name. The modules on which they depend are loaded before.
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
    crate::layers::check_arch(&tree, params.arch, &[])?;
    let mut out = zstd::Encoder::new(File::create(ctx.out_blob("initrd"))?, 10)?;
    // any number of workers gives the same bytes, except none
    out.multithread(1)?;
    cpio::write(&tree, &mut out)?;
    out.finish()?;
    Ok(())
}

/// `modules.dep` and `modules.builtin`: the dependencies of each module, by path below the folder of the release (kmod,
/// modules.dep(5)).
struct Index {
    needs: BTreeMap<String, Vec<String>>,
    by_name: BTreeMap<String, String>,
    builtin: BTreeSet<String>,
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

    /// The paths of these modules and all their dependencies, each after its dependencies.
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
        // depmod lists indirect dependencies too, the nearest first
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
