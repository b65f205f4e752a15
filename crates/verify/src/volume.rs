//! FAT volumes (Microsoft, *FAT File System Specification*): comparing the parts that they have twice, and reading
//! their files.

use crate::{label, window::Window};
use disk::Placed;
use fatfs::{Dir, FileSystem, FsOptions};
use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
};
use tree::{Entry, Tree, TreePath};

/// The limit of a file that is read into memory.
const LARGEST: u64 = 1 << 30;
/// The limit of nested folders.
const DEEPEST: usize = 8;

/// Reads the volume of a partition.
pub(crate) fn check(file: &File, place: &Placed) -> Result<(Tree, String), String> {
    copies(file, place)?;
    let bad = |e: std::io::Error| format!("{}: {e}", label(place));
    let volume = FileSystem::new(Window::new(file, place), FsOptions::new()).map_err(bad)?;
    let mut tree = Tree::default();
    read(&volume.root_dir(), "", &mut tree, DEEPEST)?;
    let files = tree.iter().filter(|(_, e)| matches!(e.kind, tree::Kind::File(_))).count();
    Ok((tree, format!("a FAT volume with {files} files, what it has twice is the same")))
}

fn read(folder: &Dir<'_, Window<'_>>, path: &str, tree: &mut Tree, depth: usize) -> Result<(), String> {
    for item in folder.iter() {
        let item = item.map_err(|e| format!("folder `{path}`: {e}"))?;
        let name = item.file_name();
        if name == "." || name == ".." {
            continue;
        }
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        let bad = |e: &dyn std::fmt::Display| format!("`{path}`: {e}");
        if item.is_dir() {
            if depth == 0 {
                return Err(bad(&"too deep a folder"));
            }
            read(&item.to_dir(), &path, tree, depth - 1)?;
            continue;
        }
        if item.len() > LARGEST {
            return Err(bad(&"too large a file"));
        }
        let mut bytes = Vec::new();
        item.to_file().read_to_end(&mut bytes).map_err(|e| bad(&e))?;
        if bytes.len() as u64 != item.len() {
            return Err(bad(&"its chain of clusters is shorter than the file"));
        }
        let place = TreePath::new(&path).map_err(|e| bad(&e))?;
        tree.insert(place, Entry::file(0o644, bytes)).map_err(|e| bad(&e))?;
    }
    Ok(())
}

/// Compares the parts that a volume has twice: the table of clusters, and on FAT32 the first sectors.
fn copies(file: &File, place: &Placed) -> Result<(), String> {
    let mut window = Window::new(file, place);
    let mut bytes = |at: u64, len: usize| -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; len];
        window.seek(SeekFrom::Start(at)).and_then(|_| window.read_exact(&mut bytes)).map_err(|e| e.to_string())?;
        Ok(bytes)
    };
    let boot = bytes(0, 512)?;
    let short = |at: usize| u64::from(u16::from_le_bytes([boot[at], boot[at + 1]]));
    let long = |at: usize| u64::from(u32::from_le_bytes([boot[at], boot[at + 1], boot[at + 2], boot[at + 3]]));
    let (sector, reserved, tables) = (short(11), short(14), boot[16]);
    if boot[510..] != [0x55, 0xaa] || ![512, 1024, 2048, 4096].contains(&sector) || tables == 0 {
        return Err("its first sector is none of a FAT volume".to_owned());
    }
    let wide = short(22) == 0;
    let table = (if wide { long(36) } else { short(22) }) * sector;
    if table > LARGEST {
        return Err("its table of clusters is too large".to_owned());
    }
    let first = bytes(reserved * sector, table as usize)?;
    for n in 1..u64::from(tables) {
        let other = bytes(reserved * sector + n * table, table as usize)?;
        if let Some(at) = first.iter().zip(&other).position(|(a, b)| a != b) {
            return Err(format!("byte {at} of its table of clusters is another in copy {}", n + 1));
        }
    }
    if wide {
        let backup = short(50);
        if backup == 0 || backup >= reserved || bytes(backup * sector, 512)? != boot {
            return Err("its first sector and the copy of it differ".to_owned());
        }
    }
    Ok(())
}
