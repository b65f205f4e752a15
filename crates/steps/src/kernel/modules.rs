//! The tree of kept modules, decompressed, with its index by depmod.

use super::{Kernel, MODULES, boot_file};
use crate::tools::Tool;
use graph::{Ctx, StepError, Unit};
use rayon::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{BufWriter, Read as _, Write as _},
    sync::Arc as Shared,
};
use tree::{Beneath, Content, Entry, Kind, Tree, TreePath};

/// The index of modules: kept, dropped and built in.
#[derive(Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Index {
    /// Modules by name.
    pub(crate) kept: BTreeMap<String, Module>,
    /// Dropped modules by name.
    pub(crate) dropped: BTreeMap<String, Dropped>,
    /// Built-in drivers by name.
    pub(crate) builtin: BTreeSet<String>,
    /// The firmware that they name: file below `/lib/firmware` → driver.
    pub(crate) builtin_firmware: BTreeMap<String, String>,
}

/// A module.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Module {
    /// Its path below the folder of the release.
    pub(crate) path: String,
    /// The modules on which it depends.
    pub(crate) needs: Vec<String>,
    /// The firmware that it may load, as files below `/lib/firmware`.
    pub(crate) firmware: Vec<String>,
}

/// A dropped module.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Dropped {
    /// Its path below the folder of the release.
    pub(crate) path: String,
    /// The dropped module on which it depends; `None` when a pattern matches it.
    pub(crate) needs: Option<String>,
}

/// The name of a module in `lsmod`'s form, from its path.
pub(crate) fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

/// Modules that are decompressed at one time before writing: some tens of megabytes.
const AT_ONCE: usize = 256;

/// Makes the outputs `tar` and `index` from the files of the kernel's package.
pub(super) fn modules(ctx: &mut Ctx<'_>, params: &Kernel, release: &str, all: Tree) -> Result<(), StepError> {
    let system_map = boot_file(&all, "System.map-").ok().map(|(_, entry)| entry);
    let folder = TreePath::new(&format!("{MODULES}/{release}"))?;
    let mut index = Index::default();
    let mut wanted = Vec::new();
    for (path, entry) in all {
        let Some(below) = path.as_str().strip_prefix(folder.as_str()).map(|p| p.trim_start_matches('/')) else {
            continue;
        };
        if ["build", "source"].contains(&below) {
            continue;
        }
        let covers = |globs: &[defs::Located<defs::PathGlob>]| globs.iter().any(|glob| glob.covers(below));
        if covers(&params.drop) && !covers(&params.keep) {
            if below.contains(".ko") {
                index.dropped.insert(module_name(below), Dropped { path: plain(below).to_owned(), needs: None });
            }
            continue;
        }
        wanted.push((path, entry));
    }
    let mut modules = decompressed(ctx, &folder, wanted, &mut index)?;
    index.drop_dependents();
    let gone: BTreeSet<&str> = index.dropped.values().map(|d| d.path.as_str()).collect();
    modules.retain(|path, _| !gone.contains(below(path, &folder)));
    index.read_builtin(&modules, &folder)?;
    depmod(ctx, &mut modules, release, system_map)?;
    ctx.log(&format!("{} kept, {} dropped", types::count(index.kept.len(), "module"), index.dropped.len()));
    ctx.put("index", &serde_json::to_vec(&index)?)?;
    crate::layers::write_layer(ctx, &modules, &Tree::default(), params.arch, &[])
}

fn below<'p>(path: &'p TreePath, folder: &TreePath) -> &'p str {
    path.as_str().strip_prefix(folder.as_str()).unwrap_or_default().trim_start_matches('/')
}

fn plain(path: &str) -> &str {
    path.trim_end_matches(".xz")
}

/// The files with decompressed modules; the modules' own descriptions go to the index. Modules are stored plain: the
/// layer compresses them with everything else, and loading them needs no second decoder.
fn decompressed(
    ctx: &Ctx<'_>,
    folder: &TreePath,
    wanted: Vec<(TreePath, Entry)>,
    index: &mut Index,
) -> Result<Tree, StepError> {
    let spool = Shared::new(ctx.scratch()?.join("modules"));
    let mut out = BufWriter::new(File::create(spool.as_ref())?);
    let (mut at, mut modules) = (0, Tree::default());
    for (n, some) in wanted.chunks(AT_ONCE).enumerate() {
        ctx.check()?;
        ctx.progress((n * AT_ONCE) as u64, wanted.len() as u64, Unit::Items);
        let read: Vec<Option<Vec<u8>>> =
            some.par_iter().map(|(path, entry)| read(path, entry)).collect::<Result<_, _>>()?;
        for ((path, entry), bytes) in some.iter().zip(read) {
            let (mut path, mut entry) = (path.clone(), entry.clone());
            if let Some(bytes) = bytes {
                out.write_all(&bytes)?;
                let len = bytes.len() as u64;
                entry.kind = Kind::File(Content::Range { file: Shared::clone(&spool), offset: at, len });
                at += len;
                path = TreePath::new(plain(path.as_str()))?;
                let module = Module::read(below(&path, folder), &bytes);
                index.kept.insert(module_name(path.as_str()), module);
            }
            modules.insert(path, entry)?;
        }
    }
    out.flush()?;
    Ok(modules)
}

/// The largest module that is read, unpacked; the largest of Debian's kernel has 10 MB.
const MAX_MODULE: types::Bytes = types::Bytes::mib(256);

/// The plain bytes of a module; none for another file.
fn read(path: &TreePath, entry: &Entry) -> std::io::Result<Option<Vec<u8>>> {
    let Kind::File(content) = &entry.kind else { return Ok(None) };
    if path.as_str().ends_with(".ko") {
        return content.read().map(Some);
    }
    if !path.as_str().ends_with(".ko.xz") {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    debian::limit::xz(content.open()?, MAX_MODULE).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

impl Module {
    /// Reads the entries of `MODULE_INFO` in the section `.modinfo`.
    fn read(path: &str, elf: &[u8]) -> Self {
        let mut module = Self { path: path.to_owned(), ..Self::default() };
        for (key, value) in section(elf, ".modinfo").into_iter().flat_map(strings).filter_map(|s| s.split_once('=')) {
            match key {
                "depends" => module.needs = value.split(',').filter(|n| !n.is_empty()).map(module_name).collect(),
                "firmware" => module.firmware.push(value.to_owned()),
                _ => {}
            }
        }
        module.firmware.sort();
        module.firmware.dedup();
        module
    }
}

/// NUL-terminated strings.
fn strings(bytes: &[u8]) -> impl Iterator<Item = &str> {
    bytes.split(|&b| b == 0).filter_map(|s| std::str::from_utf8(s).ok())
}

/// A section of a 64-bit little-endian ELF file (System V gABI, *Sections*).
fn section<'e>(elf: &'e [u8], wanted: &str) -> Option<&'e [u8]> {
    let number = |at: usize, len: usize| -> Option<usize> {
        let bytes = elf.get(at..at.checked_add(len)?)?;
        Some(bytes.iter().rev().fold(0, |n, &b| n << 8 | usize::from(b)))
    };
    if !elf.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, size, count, names) = (number(0x28, 8)?, number(0x3a, 2)?, number(0x3c, 2)?, number(0x3e, 2)?);
    let header = |n: usize| table.checked_add(n.checked_mul(size)?);
    let bytes = |at: usize| {
        let (start, len) = (number(at + 24, 8)?, number(at + 32, 8)?);
        elf.get(start..start.checked_add(len)?)
    };
    let names = bytes(header(names)?)?;
    (0..count).filter_map(header).find_map(|at| {
        let name = names.get(number(at, 4)?..)?;
        if strings(name).next()? == wanted { bytes(at) } else { None }
    })
}

impl Index {
    /// Drops modules that depend on dropped ones: the kernel could not load them.
    fn drop_dependents(&mut self) {
        loop {
            let next = self.kept.iter().find_map(|(name, module)| {
                let missing = module.needs.iter().find(|need| self.dropped.contains_key(*need))?;
                Some((name.clone(), missing.clone()))
            });
            let Some((name, needs)) = next else { return };
            if let Some(module) = self.kept.remove(&name) {
                self.dropped.insert(name, Dropped { path: module.path, needs: Some(needs) });
            }
        }
    }

    /// Reads `modules.builtin`, and the names of firmware in `modules.builtin.modinfo` (kbuild documentation).
    fn read_builtin(&mut self, modules: &Tree, folder: &TreePath) -> Result<(), StepError> {
        let file = |name: &str| -> Result<Vec<u8>, StepError> {
            match modules.get(&folder.join(name)?).map(|e| &e.kind) {
                Some(Kind::File(content)) => Ok(content.read()?),
                _ => Ok(Vec::new()),
            }
        };
        self.builtin = String::from_utf8_lossy(&file("modules.builtin")?).lines().map(module_name).collect();
        for (driver, firmware) in strings(&file("modules.builtin.modinfo")?).filter_map(|s| s.split_once(".firmware="))
        {
            self.builtin_firmware.insert(firmware.to_owned(), driver.to_owned());
        }
        Ok(())
    }

    /// Whether a module is kept or built in.
    pub(crate) fn has(&self, name: &str) -> bool {
        let name = name.replace('-', "_");
        self.kept.contains_key(&name) || self.builtin.contains(&name)
    }

    /// Why a module is missing, with the line of the pattern that dropped it.
    pub(crate) fn missing(&self, name: &str, drop: &[defs::Located<defs::PathGlob>]) -> String {
        let name = name.replace('-', "_");
        let Some(dropped) = self.dropped.get(&name) else { return format!("the kernel has no module {name}") };
        if let Some(needs) = &dropped.needs {
            return format!("module {name} needs {needs}, and {}", self.missing(needs, drop));
        }
        match drop.iter().find(|glob| glob.covers(&dropped.path)) {
            Some(glob) => format!("module {name} is dropped by `{glob}` ({})", glob.at),
            None => format!("module {name} is dropped"),
        }
    }
}

/// Adds `modules.dep` and the other files of depmod.
fn depmod(ctx: &Ctx<'_>, modules: &mut Tree, release: &str, system_map: Option<Entry>) -> Result<(), StepError> {
    let root = ctx.scratch()?.join("depmod");
    fs::create_dir(&root)?;
    modules.write_to(&root)?;
    // depmod reads lib/modules
    std::os::unix::fs::symlink("usr/lib", root.join("lib"))?;
    let mut argv = vec!["depmod", "-b", "/out"];
    if let Some(Entry { kind: Kind::File(content), .. }) = system_map {
        fs::write(root.join("System.map"), content.read()?)?;
        argv.extend(["-F", "/out/System.map"]);
    }
    argv.push(release);
    Tool::new(ctx, "files")?.writable(&root, "/out").run(&argv)?;
    let made = Beneath::open(&root)?;
    for item in fs::read_dir(root.join(MODULES).join(release))? {
        let item = item?;
        let name = item.file_name().to_string_lossy().into_owned();
        if name.starts_with("modules.") {
            let path = TreePath::new(&format!("{MODULES}/{release}/{name}"))?;
            let bytes = made.read(&path)?;
            modules.insert(path, Entry::file(0o644, bytes))?;
        }
    }
    fs::remove_dir_all(root)?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// An ELF file with nothing but a section `.modinfo`.
    fn module(info: &str) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let info = info.replace('\n', "\0");
        let (names_at, info_at) = (64, 64 + names.len());
        let table = info_at + info.len();
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.resize(64, 0);
        elf[0x28..0x30].copy_from_slice(&(table as u64).to_le_bytes());
        for (at, value) in [(0x3a, 64u16), (0x3c, 3), (0x3e, 2)] {
            elf[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        elf.extend_from_slice(names);
        elf.extend_from_slice(info.as_bytes());
        for (name, at, len) in [(0u32, 0, 0), (1, info_at, info.len()), (10, names_at, names.len())] {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[24..32].copy_from_slice(&(at as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(len as u64).to_le_bytes());
            elf.extend_from_slice(&header);
        }
        elf
    }

    #[test]
    fn a_module_says_what_it_needs_and_asks_for() {
        let elf = module("license=GPL\nfirmware=bnx2/b.fw\nfirmware=bnx2/a.fw\ndepends=mii,crc-itu-t\nname=bnx2\n");
        let found = Module::read("kernel/drivers/net/bnx2.ko", &elf);
        assert_eq!(
            (found.needs, found.firmware),
            (vec!["mii".into(), "crc_itu_t".into()], vec!["bnx2/a.fw".into(), "bnx2/b.fw".into()])
        );
        for cut in 0..elf.len() {
            // truncation at any byte causes no panic
            Module::read("x.ko", &elf[..cut]);
        }
    }

    fn index() -> Index {
        let mut index = Index { builtin: BTreeSet::from(["virtio_pci".into()]), ..Index::default() };
        for (name, needs) in [("rds", &["rds_rdma"][..]), ("rds_rdma", &["ib_core"]), ("veth", &[])] {
            let needs = needs.iter().map(|n| (*n).to_owned()).collect();
            index.kept.insert(name.into(), Module { path: format!("kernel/net/{name}.ko"), needs, firmware: vec![] });
        }
        let path = "kernel/drivers/infiniband/ib_core.ko".to_owned();
        index.dropped.insert("ib_core".into(), Dropped { path, needs: None });
        index
    }

    #[test]
    fn what_needs_a_dropped_module_is_dropped_and_the_pattern_is_named() {
        let mut index = index();
        index.drop_dependents();
        assert_eq!(index.kept.keys().collect::<Vec<_>>(), ["veth"]);
        assert!(index.has("veth") && index.has("virtio-pci") && !index.has("rds"));
        let at = defs::Place { file: "kernel/kernel.yml".into(), line: 44, column: 7 };
        let drop = [defs::Located::new("kernel/drivers/infiniband/**".parse().unwrap(), at)];
        let text = index.missing("rds", &drop);
        let why = "module ib_core is dropped by `kernel/drivers/infiniband/**` (kernel/kernel.yml:44:7)";
        assert_eq!(text, format!("module rds needs rds_rdma, and module rds_rdma needs ib_core, and {why}"));
        assert_eq!(index.missing("zfs", &drop), "the kernel has no module zfs");
    }
}
