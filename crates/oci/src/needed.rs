//! Libraries that programs need and an image lacks, found before a device finds them.
//!
//! What the dynamic loader would look for (System V gABI, ch. 5 "Dynamic Linking"; ld.so(8)): the interpreter of `PT_INTERP`
//! and each `DT_NEEDED`, in the folders of `DT_RUNPATH` or `DT_RPATH`, of `/etc/ld.so.conf` and of Debian's own list.
//! Libraries that a program opens with dlopen(3) are not in its headers and not seen here.

use crate::Error;
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
};
use tree::{Kind, Tree, TreePath};

/// A program or library that needs a library which is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("/{path} needs {library}, which is in no layer of the image")]
pub struct MissingLibrary {
    /// The program.
    pub path: TreePath,
    /// What it needs: a library's name, or an interpreter's path.
    pub library: String,
}

/// Looks at every ELF file of `layer`, which lies in `full` with all that is below it.
///
/// # Errors
/// Every library that is missing; [`Error::Read`] when a file cannot be read.
pub fn check_needed(layer: &Tree, full: &Tree) -> Result<Vec<MissingLibrary>, Error> {
    let folders = library_folders(full)?;
    let mut missing = Vec::new();
    for (path, entry) in layer.iter() {
        let Kind::File(content) = &entry.kind else { continue };
        if content.len() < 64 {
            continue;
        }
        let unreadable = |source| Error::Read { path: path.clone(), source };
        let mut start = [0; 4];
        content.open().and_then(|mut bytes| bytes.read_exact(&mut start)).map_err(unreadable)?;
        if start != *b"\x7fELF" {
            continue;
        }
        // what is no dynamic ELF64 file needs nothing
        let Some(wanted) = Dynamic::read(&content.read().map_err(unreadable)?) else { continue };
        // a library beside this one is loaded by the library that loads this one, and the loader does not look for a
        // loaded name again
        let beside = path.parent();
        let own = wanted.search.iter().filter_map(|folder| search_folder(path, folder));
        let own: Vec<TreePath> = own.chain(beside).collect();
        let is_there = |name: &str| {
            if name.contains('/') {
                return TreePath::new(name).is_ok_and(|file| full.follow(&file).is_some());
            }
            own.iter().chain(&folders).any(|f| f.join(name).is_ok_and(|file| full.follow(&file).is_some()))
        };
        let lacking = wanted.interpreter.iter().chain(&wanted.needed).filter(|name| !is_there(name));
        missing.extend(lacking.map(|name| MissingLibrary { path: path.clone(), library: name.clone() }));
    }
    Ok(missing)
}

/// A folder of a search path, whose `$ORIGIN` is the folder that the program is in.
fn search_folder(program: &TreePath, folder: &str) -> Option<TreePath> {
    let folder = folder.replace("${ORIGIN}", "$ORIGIN");
    match folder.strip_prefix("$ORIGIN") {
        // as a symbolic link beside the program would be resolved, so that `..` works
        Some(rest) => Some(program.resolve(rest.trim_start_matches('/'))),
        None => TreePath::new(&folder).ok(),
    }
}

/// The folders that the loader searches by default, and those of `/etc/ld.so.conf.d`.
fn library_folders(full: &Tree) -> Result<Vec<TreePath>, Error> {
    let mut folders = BTreeSet::new();
    for (path, entry) in full.iter() {
        let text = match &entry.kind {
            Kind::File(content) if path.as_str().starts_with("etc/ld.so.conf.d/") => {
                content.read().map_err(|source| Error::Read { path: path.clone(), source })?
            }
            _ => continue,
        };
        let lines = String::from_utf8_lossy(&text).into_owned();
        folders
            .extend(lines.lines().map(str::trim).filter(|l| l.starts_with('/')).filter_map(|l| TreePath::new(l).ok()));
    }
    let own = ["usr/lib64", "usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib"];
    folders.extend(own.iter().filter_map(|folder| TreePath::new(folder).ok()));
    Ok(folders.into_iter().collect())
}

/// What the headers of an ELF64 file ask of the loader.
#[derive(Debug, Default, PartialEq, Eq)]
struct Dynamic {
    interpreter: Option<String>,
    needed: Vec<String>,
    search: Vec<String>,
}

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

impl Dynamic {
    /// `None` for what is not little-endian ELF64, the only kind that our architectures load, or has no dynamic section.
    fn read(file: &[u8]) -> Option<Self> {
        if file.get(4..6)? != [2, 1] {
            return None;
        }
        let (table, size, count) = (number(file, 32, 8)?, number(file, 54, 2)?, number(file, 56, 2)?);
        let mut segments: BTreeMap<u32, Vec<[u64; 3]>> = BTreeMap::new();
        for n in 0..count {
            let at = table.checked_add(n.checked_mul(size)?)?;
            let field = |offset: u64| number(file, at.checked_add(offset)?, 8);
            let kind = u32::try_from(number(file, at, 4)?).ok()?;
            // offset, address, length in the file
            segments.entry(kind).or_default().push([field(8)?, field(16)?, field(32)?]);
        }
        let first = |kind: u32| segments.get(&kind).and_then(|s| s.first()).copied();
        let mut found = Self::default();
        if let Some([offset, ..]) = first(PT_INTERP) {
            found.interpreter = text(file, offset);
        }
        let [start, _, len] = first(PT_DYNAMIC)?;
        let entries = (0..len / 16).map_while(|n| {
            let at = start.checked_add(n * 16)?;
            Some((number(file, at, 8)?, number(file, at.checked_add(8)?, 8)?))
        });
        let entries: Vec<(u64, u64)> = entries.take_while(|(tag, _)| *tag != DT_NULL).collect();
        let (_, strings) = *entries.iter().find(|(tag, _)| *tag == DT_STRTAB)?;
        // the string table is given by its address; the segment that is loaded there says where it is in the file
        let [offset, address, _] =
            *segments.get(&PT_LOAD)?.iter().find(|[_, at, len]| (*at..at.saturating_add(*len)).contains(&strings))?;
        let string = |at: u64| text(file, (strings - address).checked_add(offset)?.checked_add(at)?);
        for (tag, value) in &entries {
            match *tag {
                DT_NEEDED => found.needed.push(string(*value)?),
                DT_RPATH | DT_RUNPATH => found.search.extend(string(*value)?.split(':').map(str::to_owned)),
                _ => {}
            }
        }
        Some(found)
    }
}

fn number(file: &[u8], at: u64, len: usize) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let bytes = file.get(at..at.checked_add(len)?)?;
    Some(bytes.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
}

fn text(file: &[u8], at: u64) -> Option<String> {
    let rest = file.get(usize::try_from(at).ok()?..)?;
    let end = rest.iter().position(|b| *b == 0)?;
    Some(String::from_utf8_lossy(&rest[..end]).into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tree::Entry;

    /// An ELF64 file with one loaded segment at address 0x1000, an interpreter and these dynamic strings.
    fn elf(strings: &[(u64, &str)]) -> Vec<u8> {
        let mut file = vec![0; 64 + 3 * 56];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32] = 64;
        (file[54], file[56]) = (56, 3);
        let interpreter = file.len() as u64;
        file.extend(b"/lib64/ld-linux.so.2\0");
        let table = file.len() as u64;
        let mut entries = vec![(DT_STRTAB, 0x1000 + table)];
        for (tag, string) in strings {
            entries.push((*tag, file.len() as u64 - table));
            file.extend(string.bytes().chain([0]));
        }
        let dynamic = file.len() as u64;
        for (tag, value) in entries.iter().chain([&(DT_NULL, 0), &(DT_NEEDED, 99)]) {
            file.extend([tag.to_le_bytes(), value.to_le_bytes()].concat());
        }
        let len = file.len() as u64;
        for (n, (kind, offset, address, len)) in
            [(PT_LOAD, 0, 0x1000, len), (PT_DYNAMIC, dynamic, 0, len - dynamic), (PT_INTERP, interpreter, 0, 21)]
                .into_iter()
                .enumerate()
        {
            let at = 64 + n * 56;
            file[at..at + 4].copy_from_slice(&kind.to_le_bytes());
            for (field, value) in [(8, offset), (16, address), (32, len)] {
                file[at + field..at + field + 8].copy_from_slice(&u64::to_le_bytes(value));
            }
        }
        file
    }

    fn tree(files: &[(&str, Entry)]) -> Tree {
        let mut tree = Tree::default();
        for (path, entry) in files {
            tree.insert(TreePath::new(path).unwrap(), entry.clone()).unwrap();
        }
        tree
    }

    fn missing(files: &[(&str, Entry)]) -> Vec<String> {
        let tree = tree(files);
        check_needed(&tree, &tree).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_library_that_is_not_there_is_named_with_who_needs_it() {
        let program = Entry::file(0o755, elf(&[(DT_NEEDED, "libc.so.6"), (DT_NEEDED, "libssl.so.3")]));
        let library = Entry::file(0o644, b"no ELF file".repeat(9));
        let there = [
            ("lib64", Entry::symlink("usr/lib64")),
            ("usr/lib64/ld-linux.so.2", library.clone()),
            ("usr/bin/curl", program),
            ("usr/lib/x86_64-linux-gnu/libc.so.6", library.clone()),
        ];
        assert_eq!(missing(&there), ["/usr/bin/curl needs libssl.so.3, which is in no layer of the image"]);
        let all = [&there[..], &[("usr/lib/x86_64-linux-gnu/libssl.so.3", library.clone())]].concat();
        assert!(missing(&all).is_empty());
        let without_loader = [&all[2..]].concat();
        assert_eq!(
            missing(&without_loader),
            ["/usr/bin/curl needs /lib64/ld-linux.so.2, which is in no layer of the image"]
        );
        let dangling =
            [&there[..], &[("usr/lib/x86_64-linux-gnu/libssl.so.3", Entry::symlink("libssl.so.3.0"))]].concat();
        assert_eq!(missing(&dangling).len(), 1, "a link that leads nowhere is no library");
    }

    #[test]
    fn libraries_are_looked_for_where_the_loader_would() {
        let library = Entry::file(0o644, b"no ELF file".repeat(9));
        let strings = [(DT_NEEDED, "liba.so"), (DT_NEEDED, "libb.so"), (DT_NEEDED, "libc.so")];
        let program = elf(&[&strings[..], &[(DT_RUNPATH, "$ORIGIN/../lib/own:/opt/lib")]].concat());
        let files = [
            ("usr/lib64/ld-linux.so.2", library.clone()),
            ("lib64", Entry::symlink("usr/lib64")),
            ("usr/bin/program", Entry::file(0o755, program)),
            ("usr/lib/own/liba.so", library.clone()),
            ("opt/lib/libb.so", library.clone()),
            ("etc/ld.so.conf.d/more.conf", Entry::file(0o644, b"# more\n/usr/local/lib\n".to_vec())),
            ("usr/local/lib/libc.so", library),
        ];
        assert_eq!(missing(&files), Vec::<String>::new());
        let elsewhere: Vec<_> = files.iter().filter(|(p, _)| !p.starts_with("etc")).cloned().collect();
        assert_eq!(missing(&elsewhere), ["/usr/bin/program needs libc.so, which is in no layer of the image"]);
    }

    #[test]
    fn cut_off_and_static_files_need_nothing() {
        let whole = elf(&[(DT_NEEDED, "libc.so.6")]);
        for len in 0..whole.len() {
            // whatever it says, it does not panic
            let _ = Dynamic::read(&whole[..len]);
        }
        assert_eq!(Dynamic::read(&whole).unwrap().needed, ["libc.so.6"]);
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert!(Dynamic::read(&own).is_some_and(|d| d.needed.iter().any(|n| n.starts_with("libc.so"))));
    }
}
