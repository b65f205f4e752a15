//! Kernel images as systemd-boot sees them (UAPI group, *Boot Loader Specification*; systemd, *Automatic Boot Assessment*).

use crate::compare;
use boot::Described;
use std::{cmp::Ordering, fmt};

/// The starts that an image has left, and those that it has had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    /// Starts that are left.
    pub left: u32,
    /// Starts so far.
    pub done: u32,
}

/// A file name, `<stem>[+<left>[-<done>]].efi`. An image without a counter is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The part that stays the same.
    pub stem: String,
    /// The counter.
    pub tries: Option<Tries>,
}

impl Name {
    /// Reads a file name; `None` for other files.
    #[must_use]
    pub fn parse(file: &str) -> Option<Self> {
        let extension = file.len().checked_sub(4).filter(|at| file.is_char_boundary(*at))?;
        let (name, efi) = file.split_at(extension);
        if !efi.eq_ignore_ascii_case(".efi") || name.is_empty() {
            return None;
        }
        let number = |text: &str| text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
        let counted = name.rsplit_once('+').and_then(|(stem, counter)| {
            let (left, done) = counter.split_once('-').unwrap_or((counter, "0"));
            Some(Self { stem: stem.to_owned(), tries: Some(Tries { left: number(left)?, done: number(done)? }) })
        });
        Some(counted.unwrap_or_else(|| Self { stem: name.to_owned(), tries: None }))
    }

    /// The same image with another counter.
    #[must_use]
    pub fn with(&self, tries: Option<Tries>) -> Self {
        Self { stem: self.stem.clone(), tries }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.stem)?;
        match self.tries {
            None => {}
            Some(Tries { left, done: 0 }) => write!(f, "+{left}")?,
            Some(Tries { left, done }) => write!(f, "+{left}-{done}")?,
        }
        f.write_str(".efi")
    }
}

/// A kernel image in `EFI/Linux`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its file name as it is.
    pub file: String,
    /// The same, parsed.
    pub name: Name,
    /// Its description, from the image itself.
    pub image: Described,
}

impl Entry {
    /// Whether it starts only when nothing else can.
    #[must_use]
    pub fn is_last_resort(&self) -> bool {
        self.name.tries.is_some_and(|tries| tries.left == 0)
    }

    /// The order in which systemd-boot 257 prefers images; the least is started (`boot_entry_compare` of its `boot.c`).
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        let id = |entry: &Self| format!("{}.efi", entry.name.stem).to_ascii_lowercase();
        (self.is_last_resort().cmp(&other.is_last_resort()))
            .then_with(|| self.image.id.cmp(&other.image.id))
            .then_with(|| compare(&other.image.image_version, &self.image.image_version))
            .then_with(|| compare(&id(other), &id(self)))
            .then_with(|| match (self.name.tries, other.name.tries) {
                (Some(a), Some(b)) => b.left.cmp(&a.left).then(a.done.cmp(&b.done)),
                _ => Ordering::Equal,
            })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use types::Digest;

    fn tries(left: u32, done: u32) -> Option<Tries> {
        Some(Tries { left, done })
    }

    #[test]
    fn names_have_counters_or_none() {
        for (file, stem, expected) in [
            ("evek-0.1.efi", "evek-0.1", None),
            ("evek-0.1+3.efi", "evek-0.1", tries(3, 0)),
            ("evek-0.1+2-1.efi", "evek-0.1", tries(2, 1)),
            ("a+b+0-3.EFI", "a+b", tries(0, 3)),
            ("a+x.efi", "a+x", None),
            ("a+1-.efi", "a+1-", None),
        ] {
            assert_eq!(Name::parse(file), Some(Name { stem: stem.into(), tries: expected }), "{file}");
        }
        for none in ["evek.conf", ".efi", "", "äää"] {
            assert_eq!(Name::parse(none), None, "{none}");
        }
        let name = Name::parse("evek-0.1+2-1.efi").unwrap();
        assert_eq!(name.to_string(), "evek-0.1+2-1.efi");
        assert_eq!(name.with(None).to_string(), "evek-0.1.efi");
        assert_eq!(name.with(tries(3, 0)).to_string(), "evek-0.1+3.efi");
    }

    #[test]
    fn the_newest_that_has_tries_left_is_first() {
        let entry = |file: &str, version: &str| Entry {
            file: file.to_owned(),
            name: Name::parse(file).unwrap(),
            image: Described {
                id: "evek".into(),
                image_version: version.into(),
                version: String::new(),
                variant: String::new(),
                root_hash: Digest::of(file.as_bytes()),
                data_blocks: 1,
            },
        };
        let mut entries = [
            entry("d+0-3.efi", "4"),
            entry("a.efi", "1"),
            entry("c+2-1.efi", "3"),
            entry("b.efi", "2"),
            entry("e+0.efi", "5"),
        ];
        entries.sort_by(Entry::order);
        assert_eq!(entries.map(|e| e.name.stem), ["c", "b", "a", "e", "d"]);
    }
}
