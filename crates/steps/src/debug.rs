//! An owner's debugging access to a device: an addon with further arguments for its kernel, and a write that makes its
//! firmware trust the addon's signer.
//!
//! ```text
//! addon<arch>.efi.stub │ .cmdline      signed by `debug`  ─► loader/addons/ on the ESP
//! certificate of `debug`, to be added  signed by `KEK`    ─► the firmware's variable `db`, or, to forbid it, `dbx`
//! ```

use crate::{Error, Project, Target, texts};
use boot::addon;
use sign::{Keys, Role, Wanted, efi, variable};

impl Project {
    /// Arguments for debugging: the first stage stops when it fails, and a root shell runs on the kernel's last
    /// console.
    ///
    /// # Errors
    /// [`Error::NoStub`] for a flavour that takes no addons.
    pub fn debug_arguments(&self, target: Target) -> Result<String, Error> {
        if self.defs.flavour(target.flavour)?.xen.is_some() {
            return Err(Error::NoStub { flavour: target.flavour });
        }
        let cmdline = self.cmdline(target)?;
        let console = cmdline.iter().rev().find_map(|a| a.strip_prefix("console=")?.split(',').next());
        // with a name, systemd-debug-generator(8) uses that terminal instead of tty9
        let shell = console.map_or_else(String::new, |console| format!("={console}"));
        Ok(format!("evek.debug systemd.debug_shell{shell}"))
    }

    /// An addon that gives the kernel of a flavour these arguments, signed by the debug key.
    ///
    /// # Errors
    /// [`Error::NoStub`], [`Error::Program`] for arguments that are not one line, [`Error::Sign`] when the private key
    /// is elsewhere.
    pub fn addon(&self, target: Target, stub: &[u8], arguments: &str, keys: &Keys) -> Result<Vec<u8>, Error> {
        self.debug_arguments(target)?;
        let program = addon::assemble(stub, arguments, &texts::sbat(self))?;
        let (pending, certificate) = (efi::Pending::new(&program)?, keys.certificate(Role::Debug));
        let what = format!("addon for {}: {arguments}", target.arch);
        let signature = keys.sign(&[Wanted::new(what, Role::Debug, certificate, pending.digest())])?;
        Ok(pending.attach(certificate, &signature[0])?)
    }
}

/// The write that makes firmware with these keys trust the debug key, too, in the form of `.auth` files.
///
/// # Errors
/// [`Error::Sign`] when the private key is elsewhere.
pub fn allowance(keys: &Keys) -> Result<Vec<u8>, Error> {
    let pending = variable::Pending::addition(Role::Db, keys.certificate(Role::Debug), keys.owner());
    addition(keys, &pending.expect("db is a variable"), "db")
}

/// The write that revokes the debug key in firmware with these keys, in the form of `.auth` files.
///
/// # Errors
/// [`Error::Sign`] when the private key is elsewhere.
pub fn prohibition(keys: &Keys) -> Result<Vec<u8>, Error> {
    addition(keys, &variable::Pending::prohibition(keys.certificate(Role::Debug), keys.owner()), "dbx")
}

fn addition(keys: &Keys, pending: &variable::Pending, name: &str) -> Result<Vec<u8>, Error> {
    let what = format!("addition of the debug key's certificate to the firmware's variable {name}");
    let role = variable::authority(Role::Db);
    let signature = keys.sign(&[Wanted::new(what, role, keys.certificate(role), pending.digest())])?;
    Ok(pending.attach(keys.certificate(role), &signature[0])?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use boot::pe::example;
    use defs::Definitions;
    use lock::Lock;
    use sign::{Purpose, Trust};
    use std::path::Path;
    use types::{Arch, Flavour};

    fn project() -> Project {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let (defs, lock) = (Definitions::read(&root).unwrap(), Lock::read(&root.join(lock::FILE_NAME)).unwrap());
        Project { defs, lock, version: "0.1.0".to_owned(), modules: None }
    }

    #[test]
    fn the_shell_is_on_the_kernels_serial_console() {
        let project = project();
        let usual = |flavour, arch| project.debug_arguments(Target { flavour, arch });
        for (flavour, arch, console) in [
            (Flavour::Kvm, Arch::Amd64, "ttyS0"),
            (Flavour::Kvm, Arch::Arm64, "ttyAMA0"),
            (Flavour::Kubevirt, Arch::Amd64, "ttyS0"),
        ] {
            assert_eq!(usual(flavour, arch).unwrap(), format!("evek.debug systemd.debug_shell={console}"));
        }
        let refused = usual(Flavour::Xen, Arch::Amd64).unwrap_err().to_string();
        assert!(refused.contains("HV=xen takes no addons") && refused.contains("no EFI stub"), "{refused}");
    }

    #[test]
    fn an_addon_is_started_by_firmware_that_was_told_to_and_by_no_other() {
        let (dir, project) = (tempfile::tempdir().unwrap(), project());
        let keys = Keys::generate(&dir.path().join("keys"), Purpose::Development, "Test").unwrap();
        let target = Target { flavour: Flavour::Kvm, arch: Arch::Amd64 };
        let stub = example::signable(example::of_sections(1024, (4096, 512), &[(".text", 4096, 1024, b"code", 0)]));
        let program = project.addon(target, &stub, "evek.debug", &keys).unwrap();
        assert_eq!(addon::arguments(&program, Arch::Amd64, "6.12").unwrap(), "evek.debug");
        assert_eq!(program, project.addon(target, &stub, "evek.debug", &keys).unwrap(), "the same each time");

        let new = variable::list(keys.certificate(Role::Db), keys.owner());
        assert!(Trust::read(&new, &[]).unwrap().signer(&program).is_err());
        let write = allowance(&keys).unwrap();
        let told = [&new, variable::written(&write).unwrap()].concat();
        let told = Trust::read(&told, &[]).unwrap();
        assert_eq!(told.signer(&program).unwrap(), keys.certificate(Role::Debug));
        let (allowed, write) = (allowance(&keys).unwrap(), prohibition(&keys).unwrap());
        let forbidden = Trust::read(variable::written(&allowed).unwrap(), variable::written(&write).unwrap()).unwrap();
        assert!(forbidden.signer(&program).unwrap_err().to_string().contains("dbx forbids"));

        let refused = |target, arguments| project.addon(target, &stub, arguments, &keys).unwrap_err();
        assert!(matches!(refused(target, "a\nb"), Error::Program(_)));
        assert!(matches!(refused(Target { flavour: Flavour::Xen, ..target }, "a"), Error::NoStub { .. }));
    }
}
