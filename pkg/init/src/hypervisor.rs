//! Compares the arguments that Xen received with those of the image (docs/secure-boot.md).
//!
//! ```text
//! /etc/xen-cmdline    options= of the signed image                                   no such file: no image of Xen
//! XENVER_commandline  these, with the text behind `--` of a boot entry of the firmware    the same, else refused
//! ```
//! The kernel passes the call on: /dev/xen/privcmd receives its arguments, and /dev/xen/hypercall provides memory that
//! stays in place while Xen writes to it (Linux, `include/uapi/xen/privcmd.h`, `drivers/xen/privcmd-buf.c`). Xen cuts
//! its line off behind 1023 characters, but acts on what is longer. So every character is compared, blanks at the end
//! as well. On arm64 Xen removes its name from the front of the line and leaves the blank behind it.

use crate::{error::Error, files};
use rustix::{
    ioctl::{Direction, Opcode, Updater, ioctl, opcode},
    mm::{MapFlags, ProtFlags, mmap, munmap},
};
use std::{
    fs::{self, File},
    io,
    path::Path,
    ptr,
};

const SIGNED: &str = "/etc/xen-cmdline";
const PRIVCMD: &str = "/dev/xen/privcmd";
const MEMORY: &str = "/dev/xen/hypercall";

/// A hypercall (`struct privcmd_hypercall`).
#[repr(C)]
struct Hypercall {
    number: u64,
    arguments: [u64; 5],
}

/// `__HYPERVISOR_xen_version` (Xen, `public/xen.h`).
const XEN_VERSION: u64 = 17;
/// Gives a `xen_commandline_t` (Xen, `public/version.h`).
const COMMANDLINE: u64 = 9;
/// `xen_commandline_t`.
const LEN: usize = 1024;
/// `IOCTL_PRIVCMD_HYPERCALL`.
const HYPERCALL: Opcode = opcode::from_components(Direction::None, b'P', 0, size_of::<Hypercall>());

/// Compares the arguments of the hypervisor with those that are signed, in an image of Xen.
pub(crate) fn check() -> Result<(), Error> {
    let path = Path::new(SIGNED);
    if !path.exists() {
        return Ok(());
    }
    let line = received()?;
    let arguments = if cfg!(target_arch = "aarch64") { line.strip_prefix(' ').unwrap_or(&line) } else { &line };
    compare(arguments, &files::read_text(path)?)
}

fn compare(found: &str, signed: &str) -> Result<(), Error> {
    let signed = signed.strip_suffix('\n').unwrap_or(signed);
    if found == signed {
        return Ok(());
    }
    Err(Error::Hypervisor { found: found.to_owned(), signed: signed.to_owned() })
}

/// The arguments that Xen received.
fn received() -> Result<String, Error> {
    let open = |path: &'static str| {
        let opened = fs::OpenOptions::new().read(true).write(true).open(path);
        opened.map_err(|source| Error::Io { action: "open", path: path.into(), source })
    };
    let (privcmd, memory) = (open(PRIVCMD)?, open(MEMORY)?);
    let line = ask(&privcmd, &memory).map_err(|source| Error::Io {
        action: "ask Xen for its arguments by",
        path: PRIVCMD.into(),
        source,
    })?;
    Ok(text(&line))
}

/// A text up to its zero.
fn text(line: &[u8]) -> String {
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(line).into_owned()
}

#[allow(unsafe_code)]
fn ask(privcmd: &File, memory: &File) -> io::Result<[u8; LEN]> {
    // SAFETY: a new mapping, at an address that the kernel chooses; nothing else knows of it.
    let page = unsafe { mmap(ptr::null_mut(), LEN, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, memory, 0) }?;
    // SAFETY: the mapping has `LEN` bytes. A page that nobody has written to is not yet writable on arm64 (its entry is clean),
    // and Xen, which asks the processor, would answer EFAULT.
    unsafe { page.cast::<[u8; LEN]>().write_volatile([0; LEN]) };
    let mut call = Hypercall { number: XEN_VERSION, arguments: [COMMANDLINE, page as u64, 0, 0, 0] };
    // SAFETY: the ioctl reads a `privcmd_hypercall`. Xen writes `LEN` bytes at its second argument, which the mapping has, and
    // is done with it when the call returns.
    let asked = unsafe { ioctl(privcmd, Updater::<HYPERCALL, Hypercall>::new(&mut call)) };
    // SAFETY: the mapping has `LEN` bytes, nobody writes to it any more, and bytes are aligned.
    let line = unsafe { page.cast::<[u8; LEN]>().read_volatile() };
    // SAFETY: the mapping of above; nothing refers to it.
    unsafe { munmap(page, LEN) }?;
    asked?;
    Ok(line)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_call_has_the_number_and_form_of_the_header() {
        // _IOC(_IOC_NONE, 'P', 0, sizeof(struct privcmd_hypercall)), as strace prints it for xl
        assert_eq!((HYPERCALL, size_of::<Hypercall>()), (0x0030_5000, 48));
    }

    #[test]
    fn every_character_is_compared() {
        let signed = "console=com1,vga dom0_mem=1G,max:1G";
        compare(signed, &format!("{signed}\n")).unwrap();
        for found in [
            format!("loglvl=none {signed}"),
            format!("{signed} loglvl=none"),
            format!("{signed} "),
            format!(" {signed}"),
            format!("xen {signed}"),
            signed.replace("1G,", "2G,"),
            String::new(),
        ] {
            let refused = compare(&found, &format!("{signed}\n")).unwrap_err().to_string();
            assert!(refused.contains(&format!("`{signed}`, but `{found}`")), "{refused}");
        }
    }

    #[test]
    fn the_line_ends_at_its_zero() {
        let mut line = [b'x'; LEN];
        line[..7].copy_from_slice(b"a b=c \0");
        assert_eq!(text(&line), "a b=c ");
        assert_eq!(text(&[0; LEN]), "");
        assert_eq!(text(&[b'x'; LEN]).len(), LEN);
    }
}
