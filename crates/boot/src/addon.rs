//! Addons of unified kernel images (UAPI group, *UKI specification*, "PE Addons"; systemd-stub(7)): EFI programs that
//! are not run and carry further arguments for the kernel. The stub lets the firmware verify their signatures.
//!
//! ```text
//! addon<arch>.efi.stub │ .sbat │ .cmdline
//!
//! command line = .cmdline of the image ␣ those of loader/addons/*.addon.efi ␣ those of <image>.efi.extra.d/*.addon.efi
//!                                        └── by name ────────────────────┘   └── by name ──────────────────────┘
//! ```
//! This module follows the stub of systemd 257 (`src/boot/stub.c`, `util.c`) to the blank: to verify that a command
//! line consists of an image's arguments and its addons', the device assembles it again. The stub truncates nothing;
//! the kernel truncates at 2048 bytes (`COMMAND_LINE_SIZE` of x86 and AArch64).
//!
//! Deliberately absent: device trees, initramfs archives and microcode in addons.

use crate::{
    arch::{WrongArch, check_arch},
    pe::{self, Error, Section, sections},
    sbat,
};
use types::Arch;

/// The folder of the addons of every image.
pub const GLOBAL: &str = "loader/addons";

/// The limit of an addon's arguments: half of the kernel's limit. The image's own arguments are far below the other
/// half.
const MOST: usize = 1024;

/// Assembles an addon.
///
/// # Errors
/// [`Error`], when the stub is no EFI program or has no room, or the arguments are empty or more than one line.
pub fn assemble(stub: &[u8], cmdline: &str, sbat: &str) -> Result<Vec<u8>, Error> {
    if cmdline.len() > MOST || cmdline.contains(|c: char| c.is_control()) {
        let (what, line) = ("the command line of an addon", cmdline.to_owned());
        return Err(Error::Line { what, line, found: cmdline.len(), most: MOST });
    }
    let cmdline = mangled(cmdline);
    let mut image = stub.to_vec();
    let merged = sbat::merge([sbat::HEADER, sbat].into_iter());
    let mut added: Vec<(&'static str, &[u8])> = vec![(".cmdline", cmdline.as_bytes())];
    // the stub of systemd 257 has no such section
    if !sbat::merge_into(&mut image, &[sbat])? {
        added.insert(0, (".sbat", merged.as_bytes()));
    }
    pe::append(&mut image, &added)?;
    Ok(image)
}

/// Why the stub ignores a program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is no EFI program.
    #[error(transparent)]
    NotPe(#[from] Error),
    /// It is for another machine, which firmware refuses.
    #[error(transparent)]
    WrongArch(#[from] WrongArch),
    /// It is for another kernel.
    #[error("it is for the kernel {wanted}, not for {found}")]
    OtherKernel {
        /// The addon's release.
        wanted: String,
        /// The image's release.
        found: String,
    },
    /// It is no addon, for example a kernel image.
    #[error("it is no addon: {problem}")]
    NoAddon {
        /// The section that shows it.
        problem: &'static str,
    },
}

/// The arguments that the stub of an image for `arch`, with a kernel of this release, reads from an addon, in one
/// normal form. Verifies no signature.
///
/// # Errors
/// [`Unfit`].
pub fn arguments(program: &[u8], arch: Arch, release: &str) -> Result<String, Unfit> {
    check_arch("it", program, arch)?;
    let sections = sections(program)?;
    let find = |name: &str| sections.iter().find(|s| s.name == name);
    if find(".linux").is_some() {
        return Err(Unfit::NoAddon { problem: "it has a kernel" });
    }
    if let Some(uname) = find(".uname").filter(|uname| !is_release(uname, release)) {
        let wanted = String::from_utf8_lossy(until_zero(uname.data)).into_owned();
        return Err(Unfit::OtherKernel { wanted, found: release.to_owned() });
    }
    let cmdline = find(".cmdline").ok_or(Unfit::NoAddon { problem: "it has no arguments" })?;
    let text = std::str::from_utf8(until_zero(cmdline.data));
    let text = text.map_err(|_| Unfit::NoAddon { problem: "its arguments are not UTF-8" })?;
    // characters without a single unit in UTF-16 are left out
    Ok(mangled(&text.chars().filter(|c| c.len_utf16() == 1).collect::<String>()))
}

/// The stub compares the first N characters, where N is the section's length: a section without a zero at its end fits
/// every release that begins with it.
fn is_release(uname: &Section<'_>, release: &str) -> bool {
    let ended = [release.as_bytes(), &[0]].concat();
    let wanted = &uname.data[..uname.data.len().min(until_zero(uname.data).len() + 1)];
    ended.starts_with(wanted)
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|b| *b == 0).next().unwrap_or_default()
}

/// Arguments without blanks around them; every control character becomes a blank.
#[must_use]
pub fn mangled(text: &str) -> String {
    let blank = |c: char| c <= ' ' || c == '\x7f';
    text.trim_matches(blank).chars().map(|c| if blank(c) { ' ' } else { c }).collect()
}

/// The command line of an image with the arguments of its addons, in the order in which the stub finds them.
#[must_use]
pub fn extended(cmdline: &str, addons: &[String]) -> String {
    let mut line = mangled(cmdline);
    let added = mangled(&addons.join(" "));
    if !added.is_empty() {
        line = if line.is_empty() { added } else { format!("{line} {added}") };
    }
    line
}

/// The addons among the files of a folder, in the stub's order. The names must not include folders.
#[must_use]
pub fn named(files: impl IntoIterator<Item = String>) -> Vec<String> {
    let ending = |name: &str| name.to_ascii_lowercase().ends_with(".addon.efi");
    let fits = |name: &String| name.is_ascii() && name.len() <= 255 && !name.starts_with('.') && ending(name);
    let mut names: Vec<String> = files.into_iter().filter(fits).collect();
    names.sort();
    names
}

/// The folder of an image's own addons. `image` is its path in the stub's form (`StubImageIdentifier`): with `\`, and
/// with a counter of starts, which is no part of the folder's name.
#[must_use]
pub fn folder_of(image: &str) -> String {
    let path: Vec<&str> = image.split(['\\', '/']).filter(|part| !part.is_empty()).collect();
    format!("{}.extra.d", without_counter(&path.join("/")))
}

/// `a+2-1.efi` becomes `a.efi`; names without a counter stay.
fn without_counter(path: &str) -> String {
    let number = |text: &str| {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        (digits > 0).then_some(digits)
    };
    let counted = path.split_once('+').and_then(|(stem, tail)| {
        let mut rest = &tail[number(tail)?..];
        if let Some(done) = rest.strip_prefix('-') {
            rest = &done[number(done)?..];
        }
        (rest.is_empty() || rest.starts_with('.')).then(|| format!("{stem}{rest}"))
    });
    counted.unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests;
