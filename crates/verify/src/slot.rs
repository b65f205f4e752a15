//! Verifies a slot: every block, then the content.

use crate::esp::Root;
use disk::Placed;
use std::{fs::File, path::Path};
use store::Store;
use types::{Arch, Bytes};

/// Verifies a slot; the text describes its content.
pub(crate) fn check(file: &File, place: &Placed, root: &Root, arch: Arch) -> Result<String, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let (image, files) = (folder.path().join("slot"), folder.path().join("store"));
    copy(file, place, root, &image)?;
    let slot = File::open(&image).map_err(|e| e.to_string())?;
    verity::verify(&slot, root.data_blocks, root.hash).map_err(|e| e.to_string())?;
    erofs::extract(&image, &files).map_err(|e| e.to_string())?;
    let store = Store::open(&files).map_err(|e| e.to_string())?;
    for image in store.images() {
        let name = &image.name;
        if image.document.architecture != arch.as_str() {
            return Err(format!("{name} is for {}, the boot loader for {arch}", image.document.architecture));
        }
        for layer in &image.layers {
            let found = cas::digest_of_file(&store.blob(&layer.blob)).map_err(|e| e.to_string())?;
            if found != layer.blob {
                return Err(format!("layer {} of {name} has digest {found}", layer.blob));
            }
        }
    }
    Ok(format!("{} blocks as promised, {} images for {arch}", root.data_blocks, store.images().len()))
}

/// Copies a slot out of a partition: data, and the tree behind it.
fn copy(file: &File, place: &Placed, root: &Root, to: &Path) -> Result<(), String> {
    let data = Bytes(root.data_blocks.saturating_mul(verity::BLOCK));
    let len = data.0.saturating_add(verity::overhead(data).0);
    if len > place.partition.size.0 {
        return Err(format!("{len} bytes are promised, the partition has {}", place.partition.size.0));
    }
    let out = File::create(to).map_err(|e| e.to_string())?;
    disk::copy_range(file, place.start.0, &out, 0, len).map_err(|e| e.to_string())
}
