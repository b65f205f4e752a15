//! The architecture of an EFI program or a kernel.

use crate::pe::{Error, u16_at, u32_at};
use types::Arch;

/// Why the firmware of an architecture does not start an EFI program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongArch {
    /// It is no EFI program, for example a kernel that is compressed as a whole.
    #[error("{what}: {source}")]
    NotPe {
        /// The file.
        what: String,
        /// The problem.
        source: Error,
    },
    /// An EFI program for the right machine, and no kernel.
    #[error("{what} is no kernel for {wanted}: {problem}")]
    NoKernel {
        /// The file.
        what: String,
        /// The architecture.
        wanted: Arch,
        /// The missing part.
        problem: &'static str,
    },
    /// It is for another machine.
    #[error("{what} is for {found}, not for {wanted}")]
    Other {
        /// The file.
        what: String,
        /// Its machine.
        found: String,
        /// The expected machine.
        wanted: Arch,
    },
}

/// Verifies the field *Machine* in the header of an EFI program (Microsoft, *PE Format*, Machine Types). The program's
/// first page suffices. `what` names the program in messages.
///
/// # Errors
/// [`WrongArch`]
pub fn check_arch(what: &str, image: &[u8], wanted: Arch) -> Result<(), WrongArch> {
    let not_pe = |source| WrongArch::NotPe { what: what.to_owned(), source };
    let at = u32_at(image, 0x3c).map_err(not_pe)?;
    if !image.starts_with(b"MZ") || image.get(at..at + 4) != Some(b"PE\0\0") {
        return Err(not_pe(Error::NotPe { problem: "no PE signature".into() }));
    }
    let machine = u16_at(image, at + 4).map_err(not_pe)?;
    let found = match machine {
        0x8664 => Arch::Amd64.to_string(),
        0xaa64 => Arch::Arm64.to_string(),
        0x14c => "i386".to_owned(),
        0x1c2 | 0x1c4 => "armhf".to_owned(),
        other => format!("PE machine {other:#x}"),
    };
    if found == wanted.as_str() { Ok(()) } else { Err(WrongArch::Other { what: what.to_owned(), found, wanted }) }
}

/// Verifies that the firmware of an architecture can start a kernel: it must be an EFI program, and a bzImage with a
/// 64-bit entry (kernel documentation, *The Linux/x86 Boot Protocol*), an `Image` (*Booting AArch64 Linux*), or one of
/// these that unpacks itself (`EFI_ZBOOT`). `what` names the kernel in messages.
///
/// # Errors
/// [`WrongArch`]
pub fn check_kernel(what: &str, image: &[u8], wanted: Arch) -> Result<(), WrongArch> {
    check_arch(what, image, wanted)?;
    let lacks = |problem| Err(WrongArch::NoKernel { what: what.to_owned(), wanted, problem });
    if image.get(4..8) == Some(b"zimg") {
        return Ok(());
    }
    match wanted {
        Arch::Amd64 if image.get(0x202..0x206) != Some(b"HdrS") => lacks("no setup header `HdrS` at 0x202"),
        Arch::Amd64 if u16_at(image, 0x206).is_ok_and(|version| version < 0x20c) => {
            lacks("its boot protocol is older than 2.12, the first with 64-bit entries")
        }
        Arch::Amd64 if u16_at(image, 0x236).is_ok_and(|flags| flags & 1 == 0) => lacks("no 64-bit entry"),
        Arch::Arm64 if image.get(0x38..0x3c) != Some(b"ARM\x64") => lacks("no magic `ARM\\x64` at 0x38"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(arch: Arch) -> Vec<u8> {
        let mut image = vec![0; 0x400];
        image[..2].copy_from_slice(b"MZ");
        image[0x3d] = 3;
        image[0x300..0x304].copy_from_slice(b"PE\0\0");
        let machine: u16 = if arch == Arch::Amd64 { 0x8664 } else { 0xaa64 };
        image[0x304..0x306].copy_from_slice(&machine.to_le_bytes());
        if arch == Arch::Amd64 {
            image[0x202..0x206].copy_from_slice(b"HdrS");
            image[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
            image[0x236] = 0x7f;
        } else {
            image[0x38..0x3c].copy_from_slice(b"ARM\x64");
        }
        image
    }

    #[test]
    fn a_kernel_has_the_header_of_its_architecture() {
        let said = |image: &[u8], arch| check_kernel("vmlinuz", image, arch).err().map(|e| e.to_string());
        for (arch, other) in [(Arch::Amd64, Arch::Arm64), (Arch::Arm64, Arch::Amd64)] {
            assert_eq!(said(&kernel(arch), arch), None);
            assert_eq!(said(&kernel(arch), other), Some(format!("vmlinuz is for {arch}, not for {other}")));
        }
        let changed = |arch, at: usize, byte| {
            let mut image = kernel(arch);
            image[at] = byte;
            said(&image, arch).unwrap_or_default()
        };
        for (arch, at, byte, text) in [
            (Arch::Amd64, 0x202, 0, "vmlinuz is no kernel for amd64: no setup header `HdrS` at 0x202"),
            (Arch::Amd64, 0x206, 0x0b, "older than 2.12"),
            (Arch::Amd64, 0x236, 0x7e, "no 64-bit entry"),
            (Arch::Arm64, 0x38, 0, "vmlinuz is no kernel for arm64: no magic `ARM\\x64` at 0x38"),
        ] {
            let found = changed(arch, at, byte);
            assert!(found.contains(text), "{found}");
        }
        let mut packed = kernel(Arch::Arm64);
        packed[0x38] = 0;
        packed[4..8].copy_from_slice(b"zimg");
        assert_eq!(said(&packed, Arch::Arm64), None);
    }

    fn program(machine: u16) -> Vec<u8> {
        let mut image = vec![0; 128];
        image[..2].copy_from_slice(b"MZ");
        image[0x3c] = 64;
        image[64..68].copy_from_slice(b"PE\0\0");
        image[68..70].copy_from_slice(&machine.to_le_bytes());
        image
    }

    fn said(image: &[u8], arch: Arch) -> String {
        check_arch("vmlinuz", image, arch).err().map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn firmware_starts_programs_of_its_own_architecture_only() {
        assert_eq!(said(&program(0x8664), Arch::Amd64), "");
        assert_eq!(said(&program(0xaa64), Arch::Arm64), "");
        assert_eq!(said(&program(0x8664), Arch::Arm64), "vmlinuz is for amd64, not for arm64");
        assert_eq!(said(&program(0xaa64), Arch::Amd64), "vmlinuz is for arm64, not for amd64");
        assert_eq!(said(&program(0x5064), Arch::Amd64), "vmlinuz is for PE machine 0x5064, not for amd64");
        assert_eq!(said(b"\x1f\x8b compressed", Arch::Arm64), "vmlinuz: not an EFI program: it ends before byte 60");
        assert_eq!(said(&[0; 128], Arch::Arm64), "vmlinuz: not an EFI program: no PE signature");
    }
}
