//! The description in a kernel image: the slot that it starts, and the fields of `.osrel` by which loaders order images
//! and devices distinguish them.

use crate::pe;
use std::collections::BTreeMap;
use types::Digest;

/// A kernel image, as its sections describe it. Trust the description only after verifying the image's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// `IMAGE_ID` or `ID` (os-release(5)).
    pub id: String,
    /// `IMAGE_VERSION`: `<version>-<flavour>-<arch>`.
    pub image_version: String,
    /// `VERSION_ID`.
    pub version: String,
    /// `VARIANT_ID`: the flavour.
    pub variant: String,
    /// Root hash of the slot that it starts.
    pub root_hash: Digest,
    /// Length of that slot's store, in blocks of 4096 bytes.
    pub data_blocks: u64,
}

/// Reads the description in a kernel image, or in a unified image of Xen.
///
/// # Errors
/// A text, when it is no image of this system.
pub fn describe(program: &[u8]) -> Result<Described, String> {
    let sections = pe::sections(program).map_err(|e| e.to_string())?;
    let text = |name: &str| sections.iter().find(|s| s.name == name).map(|s| String::from_utf8_lossy(s.data));
    // Xen's image has the first domain's arguments in its configuration
    let arguments = text(".cmdline").or_else(|| text(".config")).ok_or("it has no arguments for a kernel")?;
    let value = |name: &str| arguments.split_whitespace().find_map(|a| a.strip_prefix(name)?.strip_prefix('='));
    let root_hash = value("evek.roothash").and_then(|v| v.parse().ok()).ok_or("it names no root hash")?;
    let data_blocks =
        value("evek.datablocks").and_then(|v| v.parse().ok()).ok_or("it does not say how long its slot is")?;
    let fields = fields(&text(".osrel").unwrap_or_default());
    let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let id = fields.get("IMAGE_ID").or_else(|| fields.get("ID")).cloned().unwrap_or_default();
    Ok(Described {
        id,
        image_version: field("IMAGE_VERSION"),
        version: field("VERSION_ID"),
        variant: field("VARIANT_ID"),
        root_hash,
        data_blocks,
    })
}

/// The fields of os-release(5), in our form of quoting.
#[must_use]
pub fn fields(os_release: &str) -> BTreeMap<String, String> {
    let field = |line: &str| {
        let (name, value) = line.trim_end_matches('\0').split_once('=')?;
        let quoted = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
        let plain = || value.to_owned();
        Some((name.to_owned(), quoted.map_or_else(plain, unescaped)))
    };
    os_release.lines().filter_map(field).collect()
}

fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{pe::example, uki};

    fn image(os_release: &str, cmdline: &str) -> Vec<u8> {
        let stub = example::program(1024, "sbat,1\n");
        let contents = uki::Contents {
            os_release,
            cmdline,
            uname: "6.12",
            microcode: None,
            initrd: b"initrd",
            linux: &stub,
            sbat: None,
        };
        uki::assemble(&stub, &contents).unwrap()
    }

    #[test]
    fn slot_and_version_are_found() {
        let hash = "ab".repeat(32);
        let release =
            "ID=other\nIMAGE_ID=\"evek\"\nIMAGE_VERSION=\"0.1.0-kvm-amd64\"\nVERSION_ID=\"0.1.0\"\nVARIANT_ID=kvm\n";
        let found = describe(&image(release, &format!("ro evek.roothash={hash} evek.datablocks=7 quiet"))).unwrap();
        assert_eq!((found.id.as_str(), found.image_version.as_str()), ("evek", "0.1.0-kvm-amd64"));
        assert_eq!((found.version.as_str(), found.variant.as_str()), ("0.1.0", "kvm"));
        assert_eq!((found.root_hash.hex(), found.data_blocks), (hash, 7));
    }

    #[test]
    fn a_program_without_a_slot_is_none_of_ours() {
        assert_eq!(describe(&image("ID=x\n", "ro quiet")).unwrap_err(), "it names no root hash");
        assert!(describe(b"MZ").is_err());
    }

    #[test]
    fn quotes_are_taken_off() {
        let fields = fields("A=\"x \\\"y\\\" \\$z\"\nB=plain\nnonsense\n");
        assert_eq!(fields["A"], "x \"y\" $z");
        assert_eq!((fields["B"].as_str(), fields.len()), ("plain", 2));
    }
}
