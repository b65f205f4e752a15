//! `debug`: signed arguments for the kernel of a device in use.

use super::keys;
use crate::{
    cli::{self, Common},
    exit::Exit,
    failure::Failure,
    session::{Session, root},
};
use boot::addon;
use efivars::{Name, Variables};
use sign::Role;
use std::{fs, path::Path};
use steps::{Error, Target};

pub(crate) fn run(common: &Common, verb: &cli::Debug) -> Result<(), Failure> {
    let session = Session::open(common)?;
    match verb {
        cli::Debug::Addon { target, add, to } => {
            let target = Target { flavour: target.hv, arch: target.arch };
            write_addon(&session, target, add.as_deref(), to)
        }
        cli::Debug::Allow { to } => write_allowance(&session, to),
        cli::Debug::Forbid { to } => write_prohibition(&session, to),
    }
}

/// Writes an addon; prints its path.
fn write_addon(session: &Session, target: Target, add: Option<&str>, to: &Path) -> Result<(), Failure> {
    let name = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if addon::named([name]).is_empty() {
        let text = format!("{}: the EFI stub takes files whose names end in `.addon.efi` only", to.display());
        return Err(Failure::new(Exit::Usage, text));
    }
    let project = session.project()?;
    let usual = project.debug_arguments(target)?;
    let arguments = add.unwrap_or(&usual);
    let keys = keys::open(session)?;
    let (graph, step) = project.addon_stub(target)?;
    let built = session.build(&project, &graph, std::slice::from_ref(&step))?;
    let stub = built.get(&step, "addon").expect("the step has this output").digest;
    let stub = session.cache.cas().read(&stub)?;
    let program = match project.addon(target, &stub, arguments, &keys) {
        Err(e @ Error::Program(_)) => return Err(Failure::new(Exit::Usage, e)),
        other => signed(other)?,
    };
    write(to, &program)?;
    session.events.say(&format!(
        "{arguments}\n\
         copy it into loader/addons on the EFI system partition of the device; the next start uses it if the firmware\n\
         trusts the debug key: `cargo xtask debug allow`"
    ));
    println!("{}", to.display());
    Ok(())
}

/// Writes the signed write of `db`, or for shim the certificate; prints its path.
fn write_allowance(session: &Session, to: &Path) -> Result<(), Failure> {
    let keys = keys::open(session)?;
    if to.extension().is_some_and(|extension| extension == "cer") {
        write(to, keys.certificate(Role::Debug).der())?;
        session.events.say(
            "copy it onto the EFI system partition of a device that starts with shim, and enroll it with MokManager\n\
             (EFI/BOOT/mm*.efi): docs/secure-boot.md",
        );
        println!("{}", to.display());
        return Ok(());
    }
    write(to, &signed(steps::allowance(&keys))?)?;
    session.events.say(&format!(
        "{}\n\
         from then on it starts everything that the debug key signed, and its TPM does not release the key of P3: have the\n\
         recovery key ready, docs/vault.md",
        to_be_done(Name::DB, to)
    ));
    println!("{}", to.display());
    Ok(())
}

/// Writes the signed write of `dbx`; prints its path.
fn write_prohibition(session: &Session, to: &Path) -> Result<(), Failure> {
    write(to, &signed(steps::prohibition(&keys::open(session)?))?)?;
    session.events.say(&format!(
        "{}\n\
         from then on it refuses everything that this debug key signed, also after another `debug allow`; its TPM does not\n\
         release the key of P3 before `vault seal`: have the recovery key ready, docs/vault.md",
        to_be_done(Name::DBX, to)
    ));
    println!("{}", to.display());
    Ok(())
}

/// The commands that apply a write of a variable on a device.
fn to_be_done(name: Name<'_>, file: &Path) -> String {
    // efivarfs requires the attributes in front, in one write with the rest (kernel,
    // `Documentation/filesystems/efivarfs.rst`); the file does not contain them. They are 0x67, in octal 147 for all
    // shells.
    let variable = Variables::default().path(name);
    format!(
        "on the device, as root, once:\n\
         chattr -i {variable}   # where it is there\n\
         {{ printf '\\147\\0\\0\\0'; cat {file}; }} | dd of={variable} bs=1M iflag=fullblock conv=notrunc",
        variable = variable.display(),
        file = file.file_name().unwrap_or_default().to_string_lossy()
    )
}

/// The signed bytes; if a private key is elsewhere, writes the request for a signature.
fn signed(made: Result<Vec<u8>, Error>) -> Result<Vec<u8>, Failure> {
    match made {
        Err(Error::Sign(sign::Error::Wanted(request))) => Err(keys::ask(request.wanted, &root().join("dist"))),
        other => Ok(other?),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes).map_err(|e| Failure::new(Exit::Other, format!("cannot write {}: {e}", path.display())))
}
