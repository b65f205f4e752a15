//! Programs of the wrong architecture, found before a device finds them.

use std::{fmt, io::Read as _};
use tree::{Kind, Tree, TreePath};
use types::Arch;

/// The machine an ELF file is for (System V gABI, `e_machine`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// `EM_X86_64`
    Amd64,
    /// `EM_AARCH64`
    Arm64,
    /// `EM_BPF`: run by the kernel on every architecture.
    Bpf,
    /// Any other, by number.
    Other(u16),
}

impl Machine {
    fn runs_on(self, arch: Arch) -> bool {
        matches!((self, arch), (Self::Bpf, _) | (Self::Amd64, Arch::Amd64) | (Self::Arm64, Arch::Arm64))
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amd64 => f.write_str("amd64"),
            Self::Arm64 => f.write_str("arm64"),
            Self::Bpf => f.write_str("BPF"),
            Self::Other(3) => f.write_str("i386"),
            Self::Other(40) => f.write_str("armhf"),
            Self::Other(number) => write!(f, "ELF machine {number}"),
        }
    }
}

/// A program or library that the architecture cannot run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("/{path} is for {found}, not for {wanted}")]
pub struct WrongArch {
    /// Its path.
    pub path: TreePath,
    /// What it is for.
    pub found: Machine,
    /// What it should be for.
    pub wanted: Arch,
}

/// The machine that a file's first 20 bytes name; `None` for what is no ELF file.
#[must_use]
pub fn elf_machine(start: &[u8]) -> Option<Machine> {
    let start: &[u8; 20] = start.get(..20)?.try_into().ok()?;
    if !start.starts_with(b"\x7fELF") {
        return None;
    }
    let field = [start[18], start[19]];
    let machine = if start[5] == 2 { u16::from_be_bytes(field) } else { u16::from_le_bytes(field) };
    Some(match machine {
        62 => Machine::Amd64,
        183 => Machine::Arm64,
        247 => Machine::Bpf,
        other => Machine::Other(other),
    })
}

/// Looks at every regular file; scripts and data are no matter. Files in `allowed` may be for anything, such as firmware.
///
/// # Errors
/// Every program that `arch` cannot run, and [`crate::Error::Read`] when a file cannot be read.
pub fn check_arch(tree: &Tree, arch: Arch, allowed: &[defs::PathGlob]) -> Result<Vec<WrongArch>, crate::Error> {
    let mut wrong = Vec::new();
    for (path, entry) in tree.iter() {
        let Kind::File(content) = &entry.kind else { continue };
        if content.len() < 20 || allowed.iter().any(|glob| glob.covers(path.as_str())) {
            continue;
        }
        let mut start = [0; 20];
        let read = content.open().and_then(|mut bytes| bytes.read_exact(&mut start));
        read.map_err(|source| crate::Error::Read { path: path.clone(), source })?;
        if let Some(found) = elf_machine(&start).filter(|machine| !machine.runs_on(arch)) {
            wrong.push(WrongArch { path: path.clone(), found, wanted: arch });
        }
    }
    Ok(wrong)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tree::Entry;

    fn elf(machine: u16) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(64, 0);
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes
    }

    #[test]
    fn a_program_of_another_architecture_is_found() {
        let mut tree = Tree::default();
        for (path, bytes) in [
            ("usr/bin/right", elf(183)),
            ("usr/bin/wrong", elf(62)),
            ("usr/bin/bpf.o", elf(247)),
            ("usr/lib/firmware/blob", elf(94)),
            ("usr/bin/script", b"#!/bin/sh\necho not an ELF file\n".to_vec()),
            ("usr/bin/short", b"\x7fELF".to_vec()),
        ] {
            tree.insert(TreePath::new(path).unwrap(), Entry::file(0o755, bytes)).unwrap();
        }
        let found = check_arch(&tree, Arch::Arm64, &["usr/lib/firmware/**".parse().unwrap()]).unwrap();
        let text: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(text, ["/usr/bin/wrong is for amd64, not for arm64"]);
        assert_eq!(
            elf_machine(&std::fs::read("/proc/self/exe").unwrap()).map(|m| m.runs_on(Arch::host().unwrap())),
            Some(true)
        );
    }
}
