//! Unified Xen images (Xen, `docs/misc/efi.pandoc`, *Unified Xen kernel image*): the hypervisor as an EFI program, with
//! its configuration, the first domain's kernel and initramfs as further sections.
//!
//! ```text
//! xen.efi │ .osrel │ .config                                   │ .kernel │ .ramdisk │ .sbat
//!             │        └ [evek] options=… kernel=kernel …roothash=…
//!             └ what systemd-boot lists it by: in EFI/Linux it is an entry like any other, with boot counting
//! ```
//! Xen looks for its sections in memory, by the headers at the start of its image, before it looks for files. Debian's
//! program for x86 has 25 MB of debug information and no free headers; Debian's program for AArch64 has no room for
//! headers at all.

use crate::{
    pe::{self, Error},
    sbat,
};

/// The field of the first domain's arguments (Xen, `public/xen.h`, `MAX_GUEST_CMDLINE`). Xen truncates longer arguments
/// without a message. The first argument is the name of the section.
const DOM0_MOST: usize = 1023 - "kernel ".len();
/// The size in which the hypervisor keeps its own arguments (Xen, `common/kernel.c`, `saved_cmdline`).
const XEN_MOST: usize = 1023;

/// The parts of an image, besides the hypervisor.
#[derive(Debug, Clone)]
pub struct Contents<'a> {
    /// `/usr/lib/os-release`: systemd-boot reads title and version from it.
    pub os_release: &'a str,
    /// The hypervisor's arguments, one line.
    pub options: &'a str,
    /// The arguments of the first domain's kernel, one line.
    pub cmdline: &'a str,
    /// The first domain's initramfs.
    pub ramdisk: &'a [u8],
    /// The first domain's kernel.
    pub kernel: &'a [u8],
    /// SBAT lines of our own.
    pub sbat: &'a str,
}

/// Assembles an image from the hypervisor's EFI program.
///
/// # Errors
/// [`Error`], when the hypervisor is no EFI program, the sections do not fit, or Xen would truncate arguments.
pub fn assemble(xen: &[u8], contents: &Contents<'_>) -> Result<Vec<u8>, Error> {
    let config = config(contents.options, contents.cmdline)?;
    let sbat = sbat::merge([sbat::HEADER, contents.sbat].into_iter());
    let added: [(&'static str, &[u8]); 5] = [
        (".osrel", contents.os_release.as_bytes()),
        (".config", config.as_bytes()),
        (".kernel", contents.kernel),
        (".ramdisk", contents.ramdisk),
        (".sbat", sbat.as_bytes()),
    ];
    pe::check(xen, &added)?;
    let mut image = xen.to_vec();
    pe::strip_debug(&mut image)?;
    pe::make_room(&mut image, added.len())?;
    pe::append(&mut image, &added)?;
    Ok(image)
}

/// The text of the section `.config`.
fn config(options: &str, cmdline: &str) -> Result<String, Error> {
    let line = |what, line: &str, most| {
        if line.len() > most || line.contains(['\n', '\r']) {
            return Err(Error::Line { what, line: line.to_owned(), found: line.len(), most });
        }
        Ok(())
    };
    line("the hypervisor's command line", options, XEN_MOST)?;
    line("the command line of Xen's first domain", cmdline, DOM0_MOST)?;
    Ok(format!("[global]\ndefault=evek\n\n[evek]\noptions={options}\nkernel=kernel {cmdline}\n"))
}

#[cfg(test)]
mod tests;
