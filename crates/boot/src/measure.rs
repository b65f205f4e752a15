//! Predicts the TPM's registers of a unified kernel image at the start of its kernel (UAPI group, *UKI specification*,
//! "UKI TPM PCR Measurements"; systemd-stub(7)).
//!
//! The stub extends PCR 11 twice for each section: by the digest of its name with a NUL byte, then by the digest of its
//! bytes.

use crate::pe::{Error, sections};
use std::{collections::BTreeMap, fmt::Write as _};
use types::{Digest, Hasher};

/// The platform configuration register that the stub extends.
pub const PCR: u32 = 11;

/// The register that the device extends by the files of CONFIG, as EVE does.
pub const CONFIG_PCR: u32 = 14;

/// The measured sections, in the order of the specification, which differs from the file's.
const MEASURED: [&str; 13] = [
    ".linux", ".osrel", ".cmdline", ".initrd", ".ucode", ".splash", ".dtb", ".uname", ".sbat", ".pcrpkey", ".profile",
    ".dtbauto", ".hwids",
];

/// A register's value (SHA-256 bank), which is zero after a reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Register(Digest);

impl Default for Register {
    fn default() -> Self {
        Self(Digest::from_bytes([0; 32]))
    }
}

impl Register {
    /// A register with this value.
    #[must_use]
    pub const fn holding(value: Digest) -> Self {
        Self(value)
    }

    /// Its value after it is extended by the digest of some bytes (TCG, *TPM 2.0 Library* part 1, "Extend of a PCR").
    #[must_use]
    pub fn extended(self, bytes: &[u8]) -> Self {
        let mut hash = Hasher::default();
        hash.update(self.0.as_bytes());
        hash.update(Digest::of(bytes).as_bytes());
        Self(hash.finish())
    }

    /// Its value.
    #[must_use]
    pub const fn value(self) -> Digest {
        self.0
    }
}

/// The words by which systemd extends register 11 after P3 is open, in this order (systemd-pcrphase.service(8)). From
/// then on the TPM releases the key of P3 to no program.
pub const PHASES: [&str; 2] = ["sysinit", "ready"];

/// The value of register 11 after the stub of an image started its kernel.
///
/// # Errors
/// [`Error::NotPe`].
pub fn measure(image: &[u8]) -> Result<Register, Error> {
    let sections = sections(image)?;
    let found = |name: &&str| sections.iter().find(|section| section.name == *name);
    let register = MEASURED.iter().filter_map(found).fold(Register::default(), |register, section| {
        register.extended(format!("{}\0", section.name).as_bytes()).extended(section.data)
    });
    Ok(register)
}

/// Whether an image has a stub that measures it. Xen's image has none.
///
/// # Errors
/// [`Error::NotPe`].
pub fn is_measured(image: &[u8]) -> Result<bool, Error> {
    Ok(sections(image)?.iter().any(|section| section.name == ".linux"))
}

/// The words by which register 14 is extended for the files of CONFIG, by their paths (`apps/a.yml`): `config:`, and the digest
/// of the list that `LC_ALL=C find . -type f -printf '%P\0' | sort -z | xargs -0 sha256sum` prints there.
#[must_use]
pub fn config_event(files: &BTreeMap<String, Digest>) -> String {
    let mut list = String::new();
    for (path, digest) in files {
        // writing to a String cannot fail
        let _ = writeln!(list, "{}  {path}", digest.hex());
    }
    format!("config:{}", Digest::of(list.as_bytes()).hex())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{
        pe::{self, example},
        uki,
    };

    #[test]
    fn the_order_is_that_of_the_specification() {
        let stub = example::program(1024, "sbat,1\n");
        let contents = uki::Contents {
            os_release: "ID=evek\n",
            cmdline: "ro",
            uname: "6.12",
            microcode: None,
            initrd: b"initrd",
            linux: &stub,
            sbat: None,
        };
        let image = uki::assemble(&stub, &contents).unwrap();
        let sbat = pe::sections(&image).unwrap()[0].data;
        let expected = [
            (".linux", stub.as_slice()),
            (".osrel", b"ID=evek\n"),
            (".cmdline", b"ro"),
            (".initrd", b"initrd"),
            (".uname", b"6.12"),
            (".sbat", sbat),
        ];
        let expected = expected.iter().fold(Register::default(), |register, (name, data)| {
            register.extended(format!("{name}\0").as_bytes()).extended(data)
        });
        assert_eq!(measure(&image).unwrap(), expected);
        assert_ne!(measure(&stub).unwrap(), expected);
    }

    /// `printf abc | sha256sum`, appended to 32 zero bytes and hashed again.
    #[test]
    fn a_register_is_extended_as_the_library_specification_says() {
        let value = Register::default().extended(b"abc").value().hex();
        assert_eq!(value, "589f9ffed4c477966bfb8d41f37895b08c69047df8f911d6f3b57fbe08faee8d");
    }
}
