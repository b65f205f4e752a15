//! Firmware for the kept modules, and microcode for the processor.

use super::Index;
use crate::{packages, size::Origins};
use defs::PathGlob;
use graph::{Ctx, StepError};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
};
use tree::{Entry, Kind, Tree, TreePath};
use types::{Arch, Bytes};

/// The version of the step: raise it when the same packages would give another layer.
pub(crate) const FIRMWARE_VERSION: u32 = 1;
/// The version of the step: raise it when the same packages would give another archive.
pub(crate) const MICROCODE_VERSION: u32 = 1;

/// The kernel's folder of firmware.
const FOLDER: &str = "usr/lib/firmware";

#[derive(serde::Serialize, serde::Deserialize)]
pub(crate) struct Firmware {
    pub(crate) arch: Arch,
}

/// The report about firmware that modules name.
#[derive(Debug, Default, serde::Serialize)]
struct Report {
    /// Taken files by package.
    packages: BTreeMap<String, Taken>,
    /// Files that no package has, with the drivers that name them.
    missing: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Default, serde::Serialize)]
struct Taken {
    files: usize,
    size: Bytes,
}

/// Inputs `deb/…`, `index`; outputs `tar` (a layer), `origins` (the package of each file), `report` (JSON).
pub(crate) fn firmware(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let params: Firmware = ctx.params()?;
    let index: Index = serde_json::from_slice(&fs::read(ctx.input("index")?)?)?;
    let merged = packages::all(ctx)?;
    let from = merged.origins();
    let offered = merged.tree;
    let mut wanted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, module) in &index.kept {
        for file in &module.firmware {
            wanted.entry(file).or_default().insert(name);
        }
    }
    for (file, driver) in &index.builtin_firmware {
        wanted.entry(file).or_default().insert(driver);
    }
    let (mut layer, mut report) = (Tree::default(), Report::default());
    for (file, by) in wanted {
        let found = matching(&offered, file)?;
        if found.is_empty() {
            report.missing.insert(file.to_owned(), by.into_iter().map(str::to_owned).collect());
        }
        for path in found {
            take(&offered, &path, &mut layer)?;
        }
    }
    let mut origins = Origins::new();
    for (path, entry) in layer.iter() {
        if let (Kind::File(content), Some(package)) = (&entry.kind, from.get(path)) {
            let taken = report.packages.entry(package.clone()).or_default();
            taken.files += 1;
            taken.size.0 += content.len();
            origins.entry(package.clone()).or_default().push(path.as_str().to_owned());
        }
    }
    ctx.log(&format!("{} of modules in no package", types::count(report.missing.len(), "firmware file")));
    ctx.put("origins", &serde_json::to_vec(&origins)?)?;
    ctx.put("report", &serde_json::to_vec_pretty(&report)?)?;
    crate::layers::write_layer(ctx, &layer, &Tree::default(), params.arch, &[])
}

/// The files that a driver's name refers to: the file of this name, or all that match a pattern; where a number before
/// `.ucode` is the highest interface that the driver supports, the newest supported file.
fn matching(offered: &Tree, name: &str) -> Result<Vec<TreePath>, StepError> {
    let path = TreePath::new(&format!("{FOLDER}/{name}"))?;
    if offered.get(&path).is_some() {
        return Ok(vec![path]);
    }
    if name.contains(['*', '?']) {
        let glob: PathGlob = path.as_str().parse()?;
        return Ok(offered.iter().filter(|(p, _)| glob.matches(p.as_str())).map(|(p, _)| p.clone()).collect());
    }
    let numbered = |path: &str| -> Option<(String, u32)> {
        let (start, number) = path.strip_suffix(".ucode")?.rsplit_once('-')?;
        Some((start.to_owned(), number.parse().ok()?))
    };
    let Some((start, most)) = numbered(path.as_str()) else { return Ok(Vec::new()) };
    let older = offered.iter().filter_map(|(path, _)| {
        numbered(path.as_str()).filter(|(s, n)| *s == start && *n < most).map(|(_, n)| (n, path.clone()))
    });
    Ok(older.max().map(|(_, path)| path).into_iter().collect())
}

/// Takes a file, and for a link also the links and folders up to its target.
fn take(offered: &Tree, path: &TreePath, layer: &mut Tree) -> Result<(), StepError> {
    let mut path = offered.real_path(path)?;
    for _ in 0..40 {
        let Some(entry) = offered.get(&path) else { return Ok(()) };
        layer.insert(path.clone(), entry.clone())?;
        let Kind::Symlink(target) = &entry.kind else { return Ok(()) };
        path = offered.real_path(&path.resolve(target))?;
    }
    Ok(())
}

/// The kernel's name of the file with all microcode of a maker, and the folder of the files that it consists of (kernel
/// documentation, *The Linux Microcode Loader*).
const MICROCODE: [(&str, &str); 2] = [("AuthenticAMD.bin", "amd-ucode"), ("GenuineIntel.bin", "intel-ucode")];

/// Inputs `deb/…`; output `cpio`: an uncompressed archive, which the kernel reads first.
pub(crate) fn microcode(ctx: &mut Ctx<'_>) -> Result<(), StepError> {
    let all = packages::all(ctx)?.tree;
    let mut tree = Tree::default();
    for (file, folder) in MICROCODE {
        let folder = TreePath::new(&format!("{FOLDER}/{folder}"))?;
        let mut bytes = Vec::new();
        for (path, entry) in all.iter().filter(|(path, _)| path.is_below(&folder)) {
            // beside microcode there are signatures of it, which the kernel does not read
            if let Kind::File(content) = &entry.kind
                && !path.as_str().ends_with(".asc")
            {
                bytes.extend(content.read()?);
            }
        }
        if bytes.is_empty() {
            return Err(StepError::msg(format!("no /{folder}/* in the packages of set microcode")));
        }
        tree.insert(TreePath::new(&format!("kernel/x86/microcode/{file}"))?, Entry::file(0o644, bytes))?;
    }
    boot::cpio::write(&tree, File::create(ctx.out_blob("cpio"))?)?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn offered() -> Tree {
        let mut tree = Tree::default();
        for path in ["bnx2/a.fw", "brcm/x-1.txt", "brcm/x-2.txt", "iwl/x-7.ucode", "iwl/x-9.ucode", "iwl/y-9.ucode"] {
            tree.insert(TreePath::new(&format!("{FOLDER}/{path}")).unwrap(), Entry::file(0o644, vec![1])).unwrap();
        }
        let link = TreePath::new(&format!("{FOLDER}/cxgb/t4.bin")).unwrap();
        tree.insert(link, Entry::symlink("../bnx2/a.fw")).unwrap();
        tree
    }

    #[test]
    fn a_driver_gets_the_files_that_it_means() {
        for (name, expected) in [
            ("bnx2/a.fw", &["bnx2/a.fw"][..]),
            ("bnx2/b.fw", &[]),
            ("brcm/x-*.txt", &["brcm/x-1.txt", "brcm/x-2.txt"]),
            ("iwl/x-8.ucode", &["iwl/x-7.ucode"]),
            ("iwl/x-95.ucode", &["iwl/x-9.ucode"]),
            ("iwl/x-6.ucode", &[]),
        ] {
            let found = matching(&offered(), name).unwrap();
            let found: Vec<_> =
                found.iter().map(|p| p.as_str().trim_start_matches(FOLDER).trim_start_matches('/')).collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn what_a_link_leads_to_comes_along() {
        let mut layer = Tree::default();
        take(&offered(), &TreePath::new(&format!("{FOLDER}/cxgb/t4.bin")).unwrap(), &mut layer).unwrap();
        let files: Vec<_> = layer.iter().filter(|(_, e)| !matches!(e.kind, Kind::Dir)).map(|(p, _)| p.name()).collect();
        assert_eq!(files, ["a.fw", "t4.bin"]);
    }
}
