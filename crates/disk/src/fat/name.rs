//! VFAT names: the eleven bytes for every reader and, where these do not suffice, the long form in front.

use std::collections::{BTreeMap, BTreeSet};

/// The two forms of a name in its folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) short: [u8; 11],
    long: Vec<u16>,
}

/// UTF-16 units in a slot of a long form.
const LONG_UNITS: usize = 13;

/// The places of the units in a slot.
fn places() -> impl Iterator<Item = usize> {
    (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2))
}

/// The checksum of a short form, by which slots of the long form refer to it.
pub(super) fn sum(short: &[u8]) -> u8 {
    short.iter().fold(0u8, |sum, b| sum.rotate_right(1).wrapping_add(*b))
}

/// The units of a slot of a long form, those behind the end included.
pub(super) fn units(slot: &[u8]) -> impl Iterator<Item = u16> {
    places().map(|at| u16::from_le_bytes([slot[at], slot[at + 1]]))
}

/// The name of a short form. Byte 12 of the entry marks the halves in small letters: an extension of Windows NT, which
/// EDK II and Linux read.
pub(super) fn of_short(short: &[u8], case: u8) -> String {
    let half = |part: &[u8], lower: bool| -> String {
        let part = String::from_utf8_lossy(part.trim_ascii_end()).into_owned();
        if lower { part.to_ascii_lowercase() } else { part }
    };
    let (base, extension) = (half(&short[..8], case & 0x08 != 0), half(&short[8..11], case & 0x10 != 0));
    if extension.is_empty() { base } else { format!("{base}.{extension}") }
}

impl Name {
    /// 32-byte slots that the name takes, its entry included.
    pub(super) fn slots(&self) -> usize {
        1 + self.long.len().div_ceil(LONG_UNITS)
    }

    /// The slots of the long form, the last part first, as they lie in front of the entry.
    pub(super) fn long_slots(&self) -> Vec<u8> {
        let sum = sum(&self.short);
        let mut out = Vec::new();
        for (n, part) in self.long.chunks(LONG_UNITS).enumerate().rev() {
            // a part that is not full ends in a zero, then ones
            let mut units = [0xffff; LONG_UNITS];
            units[..part.len()].copy_from_slice(part);
            if part.len() < LONG_UNITS {
                units[part.len()] = 0;
            }
            let last = (n + 1) * LONG_UNITS >= self.long.len();
            let mut slot = [0; 32];
            slot[0] = (n + 1) as u8 | if last { 0x40 } else { 0 };
            slot[11] = 0x0f;
            slot[13] = sum;
            for (at, unit) in places().zip(units) {
                slot[at..at + 2].copy_from_slice(&unit.to_le_bytes());
            }
            out.extend_from_slice(&slot);
        }
        out
    }
}

/// Both forms for all names of a folder.
///
/// # Errors
/// The position of the impossible name, and the reason.
pub(super) fn of_folder(names: &[&str]) -> Result<Vec<Name>, (usize, String)> {
    let mut seen = BTreeMap::new();
    for (n, name) in names.iter().enumerate() {
        check(name).map_err(|why| (n, why.to_owned()))?;
        if let Some(other) = seen.insert(name.to_uppercase(), name) {
            return Err((n, format!("differs from `{other}` in capitals only")));
        }
    }
    // exact short names first, so that no generated name takes their place
    let mut taken: BTreeSet<[u8; 11]> = names.iter().filter_map(|name| exact(name)).collect();
    let named = names.iter().enumerate().map(|(n, name)| {
        if let Some(short) = exact(name) {
            return Ok(Name { short, long: Vec::new() });
        }
        let in_capitals = exact(&name.to_ascii_uppercase());
        let short = in_capitals.into_iter().chain(numbered(name)).find(|short| taken.insert(*short));
        let short = short.ok_or_else(|| (n, "too many names like it in one folder".to_owned()))?;
        Ok(Name { short, long: name.encode_utf16().collect() })
    });
    named.collect()
}

/// Both forms for one more name in a folder with these short forms. The caller ensures that no long form is equal.
///
/// # Errors
/// Why the name is impossible.
pub(super) fn beside(name: &str, taken: &BTreeSet<[u8; 11]>) -> Result<Name, String> {
    check(name)?;
    let free = |short: &[u8; 11]| !taken.contains(short);
    if let Some(short) = exact(name).filter(free) {
        return Ok(Name { short, long: Vec::new() });
    }
    let short = exact(&name.to_ascii_uppercase()).into_iter().chain(numbered(name)).find(free);
    let short = short.ok_or("too many names like it in one folder")?;
    Ok(Name { short, long: name.encode_utf16().collect() })
}

fn check(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("is empty"),
        _ if name.encode_utf16().count() > 255 => Err("longer than 255 characters"),
        _ if name.contains(|c: char| c.is_control() || "\"*/:<>?\\|".contains(c)) => Err("has a character not allowed"),
        _ if name.ends_with(['.', ' ']) => Err("ends in a dot or space"),
        _ => Ok(()),
    }
}

fn plain(b: u8) -> bool {
    b.is_ascii_uppercase() || b.is_ascii_digit() || b"$%'-_@~`!(){}^#&".contains(&b)
}

/// The short form of a name that needs no long one.
fn exact(name: &str) -> Option<[u8; 11]> {
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let fits = (1..=8).contains(&base.len())
        && extension.len() <= 3
        && !name.ends_with('.')
        && base.bytes().chain(extension.bytes()).all(plain);
    fits.then(|| field(base.as_bytes(), extension.as_bytes()))
}

fn field(base: &[u8], extension: &[u8]) -> [u8; 11] {
    let mut short = [b' '; 11];
    short[..base.len()].copy_from_slice(base);
    short[8..8 + extension.len()].copy_from_slice(extension);
    short
}

/// Short forms with a number, `NAME~1.EXT` and on, for a name that does not fit.
fn numbered(name: &str) -> impl Iterator<Item = [u8; 11]> {
    let (base, extension) = name.trim_start_matches('.').rsplit_once('.').unwrap_or((name, ""));
    let squeeze = |part: &str, len: usize| -> Vec<u8> {
        let kept = part.chars().filter(|c| *c != ' ' && *c != '.');
        let bytes = kept.map(|c| u8::try_from(c.to_ascii_uppercase()).ok().filter(|b| plain(*b)).unwrap_or(b'_'));
        bytes.take(len).collect()
    };
    let (base, extension) = (squeeze(base, 6), squeeze(extension, 3));
    (1..=999_999).map(move |n| {
        let tail = format!("~{n}");
        let mut numbered = base[..base.len().min(8 - tail.len())].to_vec();
        numbered.extend_from_slice(tail.as_bytes());
        field(&numbered, &extension)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn shorts(names: &[&str]) -> Vec<String> {
        let named = of_folder(names).unwrap();
        named.iter().map(|n| String::from_utf8(n.short.to_vec()).unwrap() + &n.slots().to_string()).collect()
    }

    #[test]
    fn short_forms_are_unique_and_exact_names_keep_theirs() {
        assert_eq!(shorts(&["BOOTX64.EFI", "EFI", "loader"]), ["BOOTX64 EFI1", "EFI        1", "LOADER     2"]);
        assert_eq!(
            shorts(&["loader.conf", "loader.config", "LOADER~1.CON", ".hidden", "ünï.x y"]),
            ["LOADER~2CON2", "LOADER~3CON2", "LOADER~1CON1", "HIDDEN~1   2", "_N_~1   XY 2"]
        );
        let many: Vec<String> = (0..20).map(|n| format!("a long name {n}")).collect();
        let named = shorts(&many.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!((named[0].as_str(), named[19].as_str()), ("ALONGN~1   2", "ALONG~20   3"));
    }

    #[test]
    fn a_name_beside_others_takes_a_short_form_that_is_free() {
        let taken: BTreeSet<_> = of_folder(&["evek-0.1.0+3.efi", "LOADER"]).unwrap().iter().map(|n| n.short).collect();
        let short = |name: &str| {
            let name = beside(name, &taken).unwrap();
            String::from_utf8(name.short.to_vec()).unwrap() + &name.slots().to_string()
        };
        assert_eq!(short("evek-0.1.0.efi"), "EVEK-0~2EFI3");
        assert_eq!(short("loader"), "LOADER~1   2");
        assert_eq!(short("LOADER"), "LOADER~1   2");
        assert_eq!(short("BOOTX64.EFI"), "BOOTX64 EFI1");
        assert!(beside("", &taken).is_err() && beside("..", &taken).is_err());
    }

    #[test]
    fn a_short_form_stands_for_a_name() {
        assert_eq!(of_short(b"BOOTX64 EFI", 0), "BOOTX64.EFI");
        assert_eq!(of_short(b"BOOTX64 EFI", 0x18), "bootx64.efi");
        assert_eq!(of_short(b"LOADER     ", 0x10), "LOADER");
    }

    #[test]
    fn names_that_fat_cannot_hold_are_refused() {
        for bad in ["a:b", "dot.", "tail ", "a\nb"] {
            assert!(of_folder(&["good", bad]).unwrap_err().0 == 1, "{bad}");
        }
        assert!(of_folder(&[&"x".repeat(256)]).is_err());
        assert!(of_folder(&["Same", "sAME"]).unwrap_err().1.contains("capitals"));
    }
}
