//! Programs of the wrong architecture, found before a device finds them.
//!
//! Programs, libraries, objects and kernel modules are ELF files (System V gABI, *ELF Header*); a static library is an `ar`
//! archive of them. All are judged by their first 20 bytes: class, byte order and machine.

use std::{
    fmt,
    io::{self, Read},
};
use tree::{Kind, Tree, TreePath};
use types::Arch;

/// Length of the part of an ELF header that says what the file is for.
const START: usize = 20;
/// What an archive starts with (ar(5)). Thin archives, which only name their members, start otherwise.
const ARCHIVE: &[u8; 8] = b"!<arch>\n";
/// Length of the header of an archive's member.
const MEMBER: usize = 60;

/// What an ELF file is for: the fields `EI_CLASS`, `EI_DATA` and `e_machine` of its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// 1 for 32 bits, 2 for 64.
    class: u8,
    /// 1 for little-endian, 2 for big-endian.
    data: u8,
    number: u16,
}

impl Machine {
    const AMD64: u16 = 62;
    const ARM64: u16 = 183;
    /// Run by the kernel on every architecture.
    const BPF: u16 = 247;

    /// The machine that a file's first bytes name; `None` for what is no ELF file.
    #[must_use]
    pub fn of(start: &[u8]) -> Option<Self> {
        let start: &[u8; START] = start.get(..START)?.try_into().ok()?;
        if !start.starts_with(b"\x7fELF") {
            return None;
        }
        let (class, data, field) = (start[4], start[5], [start[18], start[19]]);
        let number = if data == 2 { u16::from_be_bytes(field) } else { u16::from_le_bytes(field) };
        Some(Self { class, data, number })
    }

    /// Both architectures are 64-bit and little-endian: x32, ILP32 and big-endian programs have other libraries and kernels.
    fn runs_on(self, arch: Arch) -> bool {
        let number = match arch {
            Arch::Amd64 => Self::AMD64,
            Arch::Arm64 => Self::ARM64,
        };
        self.class == 2 && self.data == 1 && [number, Self::BPF].contains(&self.number)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, class) = match self.number {
            3 => ("i386", 1),
            40 => ("armhf", 1),
            Self::AMD64 => ("amd64", 2),
            Self::ARM64 => ("arm64", 2),
            Self::BPF => ("BPF", 2),
            number => return write!(f, "ELF machine {number}"),
        };
        if self.data == 2 {
            f.write_str("big-endian ")?;
        }
        if self.class != class {
            write!(f, "{}-bit ", if self.class == 2 { 64 } else { 32 })?;
        }
        f.write_str(name)
    }
}

/// A program or library that the architecture cannot run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("/{path}{} is for {found}, not for {wanted}", member.as_ref().map(|m| format!("({m})")).unwrap_or_default())]
pub struct WrongArch {
    /// Its path.
    pub path: TreePath,
    /// The member of an archive.
    pub member: Option<String>,
    /// What it is for.
    pub found: Machine,
    /// What it should be for.
    pub wanted: Arch,
}

/// Looks at every regular file; scripts and data are no matter. Files in `allowed` may be for anything, such as firmware.
///
/// # Errors
/// Every program that `arch` cannot run, and [`crate::Error::Read`] when a file cannot be read.
pub fn check_arch(tree: &Tree, arch: Arch, allowed: &[defs::PathGlob]) -> Result<Vec<WrongArch>, crate::Error> {
    let mut wrong = Vec::new();
    for (path, entry) in tree.iter() {
        let Kind::File(content) = &entry.kind else { continue };
        if content.len() < START as u64 || allowed.iter().any(|glob| glob.covers(path.as_str())) {
            continue;
        }
        let found = content.open().and_then(|bytes| first_foreign(bytes, arch));
        let found = found.map_err(|source| crate::Error::Read { path: path.clone(), source })?;
        wrong.extend(found.map(|(member, found)| WrongArch { path: path.clone(), member, found, wanted: arch }));
    }
    Ok(wrong)
}

/// What a file is for that `arch` cannot run: itself, or the first such member of an archive.
fn first_foreign(mut bytes: impl Read, arch: Arch) -> io::Result<Option<(Option<String>, Machine)>> {
    let mut start = [0; START];
    bytes.read_exact(&mut start)?;
    if start.starts_with(ARCHIVE) {
        let rest = start[ARCHIVE.len()..].chain(bytes);
        return Ok(foreign_member(rest, arch)?.map(|(name, machine)| (Some(name), machine)));
    }
    Ok(Machine::of(&start).filter(|m| !m.runs_on(arch)).map(|machine| (None, machine)))
}

/// The first member of an archive that `arch` cannot run. What is no archive after all ends the search.
fn foreign_member(mut bytes: impl Read, arch: Arch) -> io::Result<Option<(String, Machine)>> {
    let mut header = Vec::new();
    loop {
        header.clear();
        bytes.by_ref().take(MEMBER as u64).read_to_end(&mut header)?;
        let size = header.get(48..58).and_then(|field| std::str::from_utf8(field).ok()?.trim().parse::<u64>().ok());
        let Some(size) = size.filter(|_| header.ends_with(b"`\n") && header.len() == MEMBER) else { return Ok(None) };
        let mut member = bytes.by_ref().take(size.next_multiple_of(2));
        let mut start = Vec::new();
        member.by_ref().take(START as u64).read_to_end(&mut start)?;
        if let Some(machine) = Machine::of(&start).filter(|m| !m.runs_on(arch)) {
            let name = String::from_utf8_lossy(&header[..16]);
            return Ok(Some((name.trim_end().trim_end_matches('/').to_owned(), machine)));
        }
        io::copy(&mut member, &mut io::sink())?;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tree::Entry;

    fn header(class: u8, data: u8, machine: [u8; 2]) -> Vec<u8> {
        let mut bytes = b"\x7fELF".to_vec();
        bytes.extend([class, data, 1]);
        bytes.resize(64, 0);
        bytes[18..20].copy_from_slice(&machine);
        bytes
    }

    fn elf(machine: u16) -> Vec<u8> {
        header(2, 1, machine.to_le_bytes())
    }

    fn archive(members: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = ARCHIVE.to_vec();
        for (name, content) in members {
            bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 644, content.len()).bytes());
            bytes.extend(content);
            bytes.resize(bytes.len().next_multiple_of(2), b'\n');
        }
        bytes
    }

    fn wrong(arch: Arch, files: Vec<(&str, Vec<u8>)>) -> Vec<String> {
        let mut tree = Tree::default();
        for (path, bytes) in files {
            tree.insert(TreePath::new(path).unwrap(), Entry::file(0o755, bytes)).unwrap();
        }
        let allowed = ["usr/lib/firmware/**".parse().unwrap()];
        check_arch(&tree, arch, &allowed).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_program_of_another_architecture_is_found() {
        let files = vec![
            ("usr/bin/right", elf(183)),
            ("usr/bin/wrong", elf(62)),
            ("usr/bin/bpf.o", elf(247)),
            ("usr/lib/firmware/blob", elf(94)),
            ("usr/bin/script", b"#!/bin/sh\necho not an ELF file\n".to_vec()),
            ("usr/bin/short", b"\x7fELF".to_vec()),
        ];
        assert_eq!(wrong(Arch::Arm64, files), ["/usr/bin/wrong is for amd64, not for arm64"]);
        assert_eq!(
            Machine::of(&std::fs::read("/proc/self/exe").unwrap()).map(|m| m.runs_on(Arch::host().unwrap())),
            Some(true)
        );
    }

    #[test]
    fn another_class_or_byte_order_is_another_architecture() {
        let files = vec![
            ("armeb", header(1, 2, 40_u16.to_be_bytes())),
            ("be", header(2, 2, 183_u16.to_be_bytes())),
            ("i386", header(1, 1, 3_u16.to_le_bytes())),
            ("ilp32", header(1, 1, 183_u16.to_le_bytes())),
            ("riscv", elf(243)),
            ("x32", header(1, 1, 62_u16.to_le_bytes())),
        ];
        let expected = [
            "/armeb is for big-endian armhf, not for arm64",
            "/be is for big-endian arm64, not for arm64",
            "/i386 is for i386, not for arm64",
            "/ilp32 is for 32-bit arm64, not for arm64",
            "/riscv is for ELF machine 243, not for arm64",
            "/x32 is for 32-bit amd64, not for arm64",
        ];
        assert_eq!(wrong(Arch::Arm64, files), expected);
    }

    #[test]
    fn the_members_of_static_libraries_are_looked_at() {
        let mixed = [("/", b"symbols".to_vec()), ("right.o/", elf(62)), ("wrong.o/", elf(183)), ("more.o/", elf(3))];
        let files = vec![
            ("usr/lib/libmixed.a", archive(&mixed)),
            ("usr/lib/libright.a", archive(&mixed[..2])),
            ("usr/lib/cut.a", archive(&mixed)[..100].to_vec()),
            ("usr/share/text", b"!<arch>\nis how archives start\n".to_vec()),
        ];
        assert_eq!(wrong(Arch::Amd64, files), ["/usr/lib/libmixed.a(wrong.o) is for arm64, not for amd64"]);
    }
}
