//! Laying out and writing a volume.

use super::{
    Volume,
    geometry::{Geometry, Width},
    name::{self, Name},
};
use crate::{Error, SECTOR, sparse::copy_range};
use std::{collections::BTreeMap, fs::File, io, os::unix::fs::FileExt as _};
use tree::{Content, Kind, Tree, TreePath};
use types::EPOCH;

pub(super) const SLOT: usize = 32;
pub(super) const FOLDER: u8 = 0x10;
pub(super) const ARCHIVE: u8 = 0x20;
pub(super) const LABEL: u8 = 0x08;

/// A folder or file with its place.
struct Node<'a> {
    path: &'a str,
    /// `None` for a folder.
    content: Option<&'a Content>,
    parent: usize,
    children: Vec<usize>,
    name: Option<Name>,
    first: u32,
    clusters: u32,
}

/// Writes a volume with the files of a tree to a file, which is emptied first and stays sparse.
///
/// # Errors
/// [`Error::Volume`] when size or label are impossible or the files do not fit, [`Error::File`] for an entry that FAT
/// cannot hold, [`Error::Io`].
pub fn write(out: &File, volume: &Volume, tree: &Tree) -> Result<(), Error> {
    let label = volume.label_field()?;
    let mut nodes = nodes(tree)?;
    let root_slots = 1 + slots(&nodes, 0);
    let geometry = Geometry::new(volume, root_slots)?;
    let used = place(&mut nodes, &geometry, root_slots);
    if used > u64::from(geometry.clusters) {
        let (has, needs) = (u64::from(geometry.clusters), used);
        return Err(volume.error(format!(
            "its files need {} MiB, it has room for {} MiB: make it larger",
            (needs * geometry.cluster_len()).div_ceil(1 << 20),
            (has * geometry.cluster_len()) >> 20
        )));
    }
    let io = |e| Error::io(format!("write FAT volume {}", volume.label))(e);
    out.set_len(0).and_then(|()| out.set_len(volume.size.0)).map_err(io)?;
    write_reserved(out, volume, &label, &geometry, used as u32).map_err(io)?;
    write_fats(out, &nodes, &geometry).map_err(io)?;
    for at in 0..nodes.len() {
        match nodes[at].content {
            None => write_folder(out, &nodes, at, &geometry, &label).map_err(io)?,
            Some(content) if content.is_empty() => {}
            Some(content) => write_file(out, content, geometry.cluster(nodes[at].first))
                .map_err(Error::io(format!("copy /{} into FAT volume {}", nodes[at].path, volume.label)))?,
        }
    }
    Ok(())
}

/// The folders and files, the root first, parents before children.
fn nodes(tree: &Tree) -> Result<Vec<Node<'_>>, Error> {
    let node =
        |path, content, parent| Node { path, content, parent, children: Vec::new(), name: None, first: 0, clusters: 0 };
    let mut nodes = vec![node("", None, 0)];
    let mut folders = BTreeMap::from([(TreePath::default(), 0)]);
    for (path, entry) in tree.iter().filter(|(path, _)| !path.is_root()) {
        let refuse = |problem: String| Error::File { path: path.to_string(), problem };
        let kind = match &entry.kind {
            Kind::Hardlink(to) => {
                tree.get(to).map(|e| &e.kind).ok_or_else(|| refuse(format!("links to /{to}: missing")))?
            }
            kind => kind,
        };
        let content = match kind {
            Kind::Dir => None,
            Kind::File(content) if u32::try_from(content.len()).is_ok() => Some(content),
            Kind::File(_) => return Err(refuse("larger than 4 GiB - 1".to_owned())),
            other => return Err(refuse(format!("FAT has no {}", other.name()))),
        };
        let parent = path.parent().and_then(|p| folders.get(&p).copied());
        let parent = parent.ok_or_else(|| refuse("its folder is missing".to_owned()))?;
        let at = nodes.len();
        nodes[parent].children.push(at);
        nodes.push(node(path.as_str(), content, parent));
        if content.is_none() {
            folders.insert(path.clone(), at);
        }
    }
    for at in 0..nodes.len() {
        let children = nodes[at].children.clone();
        let names: Vec<&str> = children.iter().map(|c| nodes[*c].path.rsplit('/').next().unwrap_or_default()).collect();
        let named = name::of_folder(&names)
            .map_err(|(n, problem)| Error::File { path: nodes[children[n]].path.to_owned(), problem })?;
        for (child, name) in children.into_iter().zip(named) {
            nodes[child].name = Some(name);
        }
    }
    Ok(nodes)
}

fn slots(nodes: &[Node<'_>], folder: usize) -> usize {
    nodes[folder].children.iter().filter_map(|c| nodes[*c].name.as_ref()).map(Name::slots).sum()
}

/// Gives folders, then files, their runs of clusters; returns how many are used.
fn place(nodes: &mut [Node<'_>], geometry: &Geometry, root_slots: usize) -> u64 {
    let mut used = 0;
    for folders in [true, false] {
        for at in 0..nodes.len() {
            let len = match nodes[at].content {
                Some(content) if !folders => content.len(),
                None if folders && at == 0 && geometry.width == Width::Fat16 => continue,
                None if folders && at == 0 => (root_slots * SLOT) as u64,
                None if folders => ((2 + slots(nodes, at)) * SLOT) as u64,
                _ => continue,
            };
            let clusters = len.div_ceil(geometry.cluster_len());
            if clusters > 0 {
                // beyond u32 only when the files do not fit, which the caller reports
                nodes[at].first = u32::try_from(used + 2).unwrap_or(u32::MAX);
                nodes[at].clusters = clusters as u32;
                used += clusters;
            }
        }
    }
    used
}

fn write_reserved(out: &File, volume: &Volume, label: &[u8; 11], g: &Geometry, used: u32) -> io::Result<()> {
    let mut boot = [0u8; SECTOR as usize];
    let mut put = |at: usize, bytes: &[u8]| boot[at..at + bytes.len()].copy_from_slice(bytes);
    put(3, b"EVE-K   ");
    put(11, &(SECTOR as u16).to_le_bytes());
    put(13, &[g.cluster_sectors as u8]);
    put(14, &(g.reserved as u16).to_le_bytes());
    put(16, &[2]);
    put(17, &((g.root_sectors * 16) as u16).to_le_bytes());
    match u16::try_from(g.sectors) {
        Ok(sectors) if g.width == Width::Fat16 => put(19, &sectors.to_le_bytes()),
        _ => put(32, &g.sectors.to_le_bytes()),
    }
    put(21, &[0xf8]);
    put(24, &63u16.to_le_bytes());
    put(26, &255u16.to_le_bytes());
    put(510, &[0x55, 0xaa]);
    let tail = match g.width {
        Width::Fat16 => {
            put(0, &[0xeb, 0x3c, 0x90]);
            put(22, &(g.fat_sectors as u16).to_le_bytes());
            put(54, b"FAT16   ");
            36
        }
        Width::Fat32 => {
            put(0, &[0xeb, 0x58, 0x90]);
            put(36, &g.fat_sectors.to_le_bytes());
            put(44, &2u32.to_le_bytes());
            put(48, &1u16.to_le_bytes());
            put(50, &6u16.to_le_bytes());
            put(82, b"FAT32   ");
            64
        }
    };
    put(tail, &[0x80, 0, 0x29]);
    put(tail + 3, &volume.id.to_le_bytes());
    put(tail + 7, label);
    out.write_all_at(&boot, 0)?;
    if g.width == Width::Fat32 {
        let mut info = [0u8; SECTOR as usize];
        info[..4].copy_from_slice(b"RRaA");
        info[484..488].copy_from_slice(b"rrAa");
        info[488..492].copy_from_slice(&(g.clusters - used).to_le_bytes());
        info[492..496].copy_from_slice(&(used + 2).min(g.clusters + 1).to_le_bytes());
        info[510..].copy_from_slice(&[0x55, 0xaa]);
        for (sector, bytes) in [(1, &info), (6, &boot), (7, &info)] {
            out.write_all_at(bytes, sector * SECTOR)?;
        }
    }
    Ok(())
}

/// Writes both tables up to the last used cluster. The rest are holes, which read as free.
fn write_fats(out: &File, nodes: &[Node<'_>], g: &Geometry) -> io::Result<()> {
    // entry 0 repeats the media byte, entry 1 says that the volume was unmounted and has no errors
    let mut entries: Vec<u32> = match g.width {
        Width::Fat16 => vec![0xfff8, 0xffff],
        Width::Fat32 => vec![0x0fff_fff8, 0x0fff_ffff],
    };
    let end = entries[1];
    let mut runs: Vec<&Node<'_>> = nodes.iter().filter(|n| n.clusters > 0).collect();
    runs.sort_by_key(|n| n.first);
    for run in runs {
        entries.extend(run.first + 1..run.first + run.clusters);
        entries.push(end);
    }
    let len = g.width.entry_len();
    let bytes: Vec<u8> = entries.iter().flat_map(|e| e.to_le_bytes().into_iter().take(len)).collect();
    g.fats().try_for_each(|at| out.write_all_at(&bytes, at))
}

fn write_folder(out: &File, nodes: &[Node<'_>], at: usize, g: &Geometry, label: &[u8; 11]) -> io::Result<()> {
    let folder = &nodes[at];
    let mut bytes = Vec::new();
    if at == 0 {
        bytes.extend(slot(label, LABEL, 0, 0));
    } else {
        // the root is 0 here even where FAT32 gives it a cluster
        let parent = if folder.parent == 0 { 0 } else { nodes[folder.parent].first };
        bytes.extend(slot(b".          ", FOLDER, folder.first, 0));
        bytes.extend(slot(b"..         ", FOLDER, parent, 0));
    }
    for child in folder.children.iter().map(|c| &nodes[*c]) {
        let Some(name) = &child.name else { continue };
        let (attributes, size) = child.content.map_or((FOLDER, 0), |c| (ARCHIVE, c.len() as u32));
        bytes.extend(name.long_slots());
        bytes.extend(slot(&name.short, attributes, child.first, size));
    }
    let place = if at == 0 && g.width == Width::Fat16 { g.root() } else { g.cluster(folder.first) };
    out.write_all_at(&bytes, place)
}

pub(super) fn slot(name: &[u8; 11], attributes: u8, first: u32, size: u32) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    slot[..11].copy_from_slice(name);
    slot[11] = attributes;
    let (date, time) = dos_clock(EPOCH);
    slot[14..16].copy_from_slice(&time.to_le_bytes());
    slot[16..18].copy_from_slice(&date.to_le_bytes());
    slot[18..20].copy_from_slice(&date.to_le_bytes());
    slot[20..22].copy_from_slice(&((first >> 16) as u16).to_le_bytes());
    slot[22..24].copy_from_slice(&time.to_le_bytes());
    slot[24..26].copy_from_slice(&date.to_le_bytes());
    slot[26..28].copy_from_slice(&(first as u16).to_le_bytes());
    slot[28..].copy_from_slice(&size.to_le_bytes());
    slot
}

/// Seconds since 1970 as the date and time of FAT, from 1980 to 2107.
pub(super) fn dos_clock(seconds: u64) -> (u16, u16) {
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for len in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < len {
            break;
        }
        days -= len;
        month += 1;
    }
    let date = year.saturating_sub(1980) << 9 | month << 5 | (days + 1);
    let time = (second / 3600) << 11 | (second / 60 % 60) << 5 | (second % 60 / 2);
    (date as u16, time as u16)
}

fn write_file(out: &File, content: &Content, at: u64) -> io::Result<()> {
    match content {
        Content::Inline(bytes) => out.write_all_at(bytes, at),
        Content::Range { file, offset, len } => copy_range(&File::open(file.as_ref())?, *offset, out, at, *len),
    }
}
