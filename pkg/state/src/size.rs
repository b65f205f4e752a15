//! Whether the disk is too small for its partitions (repart.d(5)).

use crate::paths::Paths;
use std::{collections::BTreeMap, fs, path::Path};

/// Partitions start and end at multiples of this, and the tables lie before and behind them.
const ALIGN: u64 = 1 << 20;

/// A sentence with the size that the disk has and the one that it needs; `None` where it is large enough or nothing is known.
pub(crate) fn too_small(paths: &Paths) -> Option<String> {
    let disk = fs::canonicalize(&paths.disk).ok()?;
    let folder = paths.blocks.join(disk.file_name()?);
    let size = sectors(&folder)?;
    let there = partitions(&folder);
    let wanted = wanted(&paths.definitions);
    let needed = 2 * ALIGN + wanted.iter().map(|(label, least)| *there.get(label).unwrap_or(least)).sum::<u64>();
    let missing: Vec<&str> = wanted.keys().filter(|label| !there.contains_key(*label)).map(String::as_str).collect();
    let is_too_small = needed > size && !missing.is_empty();
    is_too_small.then(|| {
        let names = missing.join(" and ");
        format!("The disk has {} and needs {} or more: there is no room for {names}", text(size), text(needed))
    })
}

fn text(bytes: u64) -> String {
    // rounded up: a disk of the size that is named is large enough
    let tenths = (bytes * 10).div_ceil(1 << 30);
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

/// The kernel gives sizes in units of 512 bytes, whatever the blocks of the disk are.
fn sectors(folder: &Path) -> Option<u64> {
    Some(fs::read_to_string(folder.join("size")).ok()?.trim().parse::<u64>().ok()? * 512)
}

/// Label → size.
fn partitions(disk: &Path) -> BTreeMap<String, u64> {
    let items = fs::read_dir(disk).into_iter().flatten().flatten();
    let partition = |folder: &Path| {
        let text = fs::read_to_string(folder.join("uevent")).ok()?;
        let label = text.lines().find_map(|line| line.strip_prefix("PARTNAME="))?.to_owned();
        Some((label, sectors(folder)?))
    };
    items.filter_map(|item| partition(&item.path())).collect()
}

/// Label → least size.
fn wanted(definitions: &Path) -> BTreeMap<String, u64> {
    let items = fs::read_dir(definitions).into_iter().flatten().flatten();
    let one = |path: &Path| {
        let text = fs::read_to_string(path).ok()?;
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        Some((value("Label")?.to_owned(), value("SizeMinBytes")?.parse().ok()?))
    };
    items.filter_map(|item| one(&item.path())).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    /// A disk of this size with the partitions of an image.
    fn disk(size: u64) -> (tempfile::TempDir, Paths) {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("repart.d")).unwrap();
        fs::write(at("vda"), "").unwrap();
        for (label, there, least) in [
            ("EFI System", Some(2 * GIB), 2 * GIB),
            ("IMGA", Some(10 * GIB), 10 * GIB),
            ("IMGB", None, GIB),
            ("CONFIG", Some(5 << 20), 5 << 20),
            ("P3", None, GIB),
        ] {
            let text = format!("[Partition]\nType=x\nLabel={label}\nSizeMinBytes={least}\n");
            fs::write(at("repart.d").join(format!("{label}.conf")), text).unwrap();
            let Some(there) = there else { continue };
            let folder = at("blocks/vda").join(label);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("uevent"), format!("PARTNAME={label}\n")).unwrap();
            fs::write(folder.join("size"), format!("{}\n", there / 512)).unwrap();
        }
        fs::write(at("blocks/vda/size"), format!("{}\n", size / 512)).unwrap();
        let paths = Paths { disk: at("vda"), blocks: at("blocks"), definitions: at("repart.d"), ..Paths::default() };
        (dir, paths)
    }

    #[test]
    fn the_needed_size_is_named() {
        let (_dir, paths) = disk(12 * GIB + (7 << 20));
        let expected = "The disk has 12.1 GiB and needs 14.1 GiB or more: there is no room for IMGB and P3";
        assert_eq!(too_small(&paths).unwrap(), expected);
    }

    #[test]
    fn a_disk_of_16_gb_is_large_enough() {
        let (_dir, paths) = disk(16_000_000_000);
        assert_eq!(too_small(&paths), None);
    }
}
