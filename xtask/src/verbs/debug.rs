//! `debug`: arguments for the kernel of a device that is in use, signed by a key of their own.

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

/// Writes an addon; prints where.
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
         copy it into loader/addons on the EFI system partition of the device; it counts from the next start on, if the\n\
         firmware knows the debug key, which it does after `cargo xtask debug allow`"
    ));
    println!("{}", to.display());
    Ok(())
}

/// Writes the signed write of `db`, or for shim the certificate; prints where.
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
         from then on it starts whatever the debug key has signed, and its TPM does not give the key of P3: have the recovery\n\
         key ready, docs/vault.md",
        to_be_done(Name::DB, to)
    ));
    println!("{}", to.display());
    Ok(())
}

/// Writes the signed write of `dbx`; prints where.
fn write_prohibition(session: &Session, to: &Path) -> Result<(), Failure> {
    write(to, &signed(steps::prohibition(&keys::open(session)?))?)?;
    session.events.say(&format!(
        "{}\n\
         from then on it starts nothing that this debug key has signed, whatever `debug allow` writes; its TPM does not give\n\
         the key of P3 before `vault seal`: have the recovery key ready, docs/vault.md",
        to_be_done(Name::DBX, to)
    ));
    println!("{}", to.display());
    Ok(())
}

/// How a device takes a write of a variable.
fn to_be_done(name: Name<'_>, file: &Path) -> String {
    // The file does not have the attributes, which efivarfs wants in front, in one write with the rest (kernel,
    // `Documentation/filesystems/efivarfs.rst`): 0x67, which is 147 in octal, for all shells.
    let variable = Variables::default().path(name);
    format!(
        "on the device, as root, once:\n\
         chattr -i {variable}   # where it is there\n\
         {{ printf '\\147\\0\\0\\0'; cat {file}; }} | dd of={variable} bs=1M iflag=fullblock conv=notrunc",
        variable = variable.display(),
        file = file.file_name().unwrap_or_default().to_string_lossy()
    )
}

/// What has been signed; else the request goes where others look for it.
fn signed(made: Result<Vec<u8>, Error>) -> Result<Vec<u8>, Failure> {
    match made {
        Err(Error::Sign(sign::Error::Wanted(request))) => Err(keys::ask(request.wanted, &root().join("dist"))),
        other => Ok(other?),
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes).map_err(|e| Failure::new(Exit::Other, format!("cannot write {}: {e}", path.display())))
}
