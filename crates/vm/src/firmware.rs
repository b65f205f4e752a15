//! UEFI firmware in two flash chips: its code, and the store of its variables (UEFI PI 1.8 vol. 3).

use crate::{Error, machine::escape, tools::Tools};
use std::{
    fs,
    path::{Path, PathBuf},
};
use types::Arch;

/// Which firmware a machine has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Firmware {
    /// One that starts any program.
    #[default]
    Open,
    /// One that starts programs of the owners whose keys it has (UEFI 2.10 §32). Without a platform key, in *setup mode*, it
    /// starts any program, and takes keys.
    SecureBoot(Variables),
}

/// What firmware knows when a machine is switched on, keys among it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variables {
    /// Nothing.
    None,
    /// The keys that machines are sold with: Microsoft's.
    Microsoft,
    /// What another machine has left in the file `variables.fd` of its folder.
    Left(PathBuf),
}

impl Firmware {
    /// The code, as QEMU sees the path, and the template of the variables.
    const fn files(&self, arch: Arch) -> (&'static str, &'static str) {
        match (self, arch) {
            (Self::Open, Arch::Amd64) => ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
            (Self::Open, Arch::Arm64) => ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
            (Self::SecureBoot(Variables::Microsoft), Arch::Amd64) => {
                ("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd")
            }
            (Self::SecureBoot(Variables::Microsoft), Arch::Arm64) => {
                ("/usr/share/AAVMF/AAVMF_CODE.secboot.fd", "/usr/share/AAVMF/AAVMF_VARS.ms.fd")
            }
            (Self::SecureBoot(_), Arch::Amd64) => {
                ("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd")
            }
            (Self::SecureBoot(_), Arch::Arm64) => {
                ("/usr/share/AAVMF/AAVMF_CODE.secboot.fd", "/usr/share/AAVMF/AAVMF_VARS.fd")
            }
        }
    }

    /// The code, as QEMU sees the path.
    pub(crate) fn code(&self, arch: Arch) -> &'static str {
        self.files(arch).0
    }

    /// Writes a new machine's own variables.
    pub(crate) fn prepare(&self, arch: Arch, tools: &Tools, variables: &Path) -> Result<(), Error> {
        let template = self.files(arch).1;
        let from = match self {
            Self::SecureBoot(Variables::Left(path)) => path.clone(),
            _ => tools.file(template),
        };
        let bytes = fs::read(&from).map_err(Error::io("read firmware variables", &from))?;
        fs::write(variables, bytes).map_err(Error::io("write", variables))
    }

    /// QEMU's arguments for the hardware that it needs. On x86 the flash chip accepts writes from system management mode only.
    pub(crate) fn hardware(&self, arch: Arch) -> Vec<String> {
        if *self == Self::Open || arch != Arch::Amd64 {
            return Vec::new();
        }
        ["-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"].map(str::to_owned).to_vec()
    }
}

/// Both flash chips: code and variables.
pub(crate) fn flash(code: &Path, variables: &Path) -> [String; 4] {
    let option = || "-drive".to_owned();
    let code = format!("if=pflash,unit=0,format=raw,readonly=on,file={}", escape(code));
    [option(), code, option(), format!("if=pflash,unit=1,format=raw,file={}", escape(variables))]
}
