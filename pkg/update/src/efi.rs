//! The firmware's boot variables (UEFI 2.10 §3.1, §3.3).
//!
//! ```text
//!  Boot0007     EFI_LOAD_OPTION: "EVE-k second boot loader", which partition, which file     ours only
//!  BootNext     0007            what starts next, once: the firmware removes it before       ours only
//!  BootOrder    0001 0000 …     what starts, the first that can                              ours goes to its end
//!  BootCurrent  0001            what has started this system                                 is read
//! ```
//! Deliberately absent: the entries of others. They are neither changed nor removed.

use crate::{error::Error, paths::Paths};
use disk::{Guid, Placed, SECTOR};
use efivars::{Attributes, Name, Variable, Vendor::Global};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, fmt, io};

/// `LOAD_OPTION_ACTIVE` (§3.1.3).
const ACTIVE: u32 = 1;
/// The description of our boot entry.
pub(crate) const DESCRIPTION: &str = "EVE-k second boot loader";

/// The number of a boot entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct BootNumber(pub(crate) u16);

impl BootNumber {
    /// By the name of an entry: four digits, capitals (§3.1.1).
    fn of_name(name: &str) -> Option<Self> {
        let digits = name.strip_prefix("Boot")?;
        let number = u16::from_str_radix(digits, 16).ok().map(Self)?;
        (number.to_string() == format!("Boot{digits}")).then_some(number)
    }
}

impl fmt::Display for BootNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Boot{:04X}", self.0)
    }
}

/// These variables; a machine without UEFI has none.
#[derive(Debug, Clone)]
pub(crate) struct Variables(efivars::Variables);

impl Variables {
    pub(crate) fn of(paths: &Paths) -> Self {
        Self(efivars::Variables::at(&paths.variables))
    }

    /// The entry that has started this system.
    pub(crate) fn current(&self) -> Result<Option<BootNumber>, Error> {
        Ok(numbers(&self.read("BootCurrent")?).next())
    }

    /// The entry that starts next, once.
    pub(crate) fn next(&self) -> Result<Option<BootNumber>, Error> {
        Ok(numbers(&self.read("BootNext")?).next())
    }

    /// The entries that are tried, in this order.
    pub(crate) fn order(&self) -> Result<Vec<BootNumber>, Error> {
        Ok(numbers(&self.read("BootOrder")?).collect())
    }

    /// Whether an entry is ours. One that cannot be read is not.
    pub(crate) fn is_own(&self, number: BootNumber) -> bool {
        self.read(&number.to_string()).is_ok_and(|option| description(&option).as_deref() == Some(DESCRIPTION))
    }

    /// Our entry.
    pub(crate) fn own(&self) -> Result<Option<BootNumber>, Error> {
        Ok(self.taken()?.into_iter().find(|number| self.is_own(*number)))
    }

    /// Makes our entry, or changes the one that there is.
    pub(crate) fn set_own(&self, option: &[u8]) -> Result<BootNumber, Error> {
        let taken = self.taken()?;
        let own = taken.iter().copied().find(|number| self.is_own(*number));
        let number = own.or_else(|| (0..=u16::MAX).map(BootNumber).find(|number| !taken.contains(number)));
        let full = || Error::io("make", "another boot entry")(io::ErrorKind::StorageFull.into());
        let number = number.ok_or_else(full)?;
        self.write(&number.to_string(), option)?;
        Ok(number)
    }

    /// Lets an entry start next, once.
    pub(crate) fn set_next(&self, number: BootNumber) -> Result<(), Error> {
        self.write("BootNext", &number.0.to_le_bytes())
    }

    /// Removes BootNext, if it names this entry.
    pub(crate) fn forget_next(&self, number: BootNumber) -> Result<(), Error> {
        if self.next()? != Some(number) {
            return Ok(());
        }
        Ok(self.0.remove(Name(Global, "BootNext"))?)
    }

    /// Has an entry tried when none before it could be started.
    pub(crate) fn put_last(&self, number: BootNumber) -> Result<(), Error> {
        let others = self.order()?.into_iter().filter(|other| *other != number);
        let order: Vec<u8> = others.chain([number]).flat_map(|number| number.0.to_le_bytes()).collect();
        self.write("BootOrder", &order)
    }

    /// The numbers of all entries, and those that the order has without an entry: who takes one of these starts in its place.
    fn taken(&self) -> Result<BTreeSet<BootNumber>, Error> {
        let mut taken = BTreeSet::from_iter(self.order()?);
        taken.extend(self.0.names(Global)?.iter().filter_map(|name| BootNumber::of_name(name)));
        Ok(taken)
    }

    /// A variable's value; empty where there is no such variable.
    fn read(&self, name: &str) -> Result<Vec<u8>, Error> {
        Ok(self.0.value(Name(Global, name))?)
    }

    fn write(&self, name: &str, value: &[u8]) -> Result<(), Error> {
        let variable = Variable { attributes: Attributes::KEPT, value: value.to_vec() };
        Ok(self.0.write(Name(Global, name), &variable)?)
    }
}

/// The numbers in a variable's value.
fn numbers(value: &[u8]) -> impl Iterator<Item = BootNumber> {
    value.chunks_exact(2).map(|pair| BootNumber(u16::from_le_bytes([pair[0], pair[1]])))
}

/// A boot entry (`EFI_LOAD_OPTION`, §3.1.3) that starts a file of a partition, with an argument for that program: shim
/// gets the path of the program that it starts (shim, `README.md`).
pub(crate) fn load_option(description: &str, partition: &Placed, file: &str, argument: Option<&str>) -> Vec<u8> {
    let path = [hard_drive(partition), file_path(file), node(0x7f, 0xff, &[])].concat();
    let mut option = ACTIVE.to_le_bytes().to_vec();
    option.extend((path.len() as u16).to_le_bytes());
    option.extend(utf16(description));
    option.extend(path);
    option.extend(argument.map(|path| utf16(&native(path))).unwrap_or_default());
    option
}

/// What a boot entry is called; `None` where it is none.
fn description(option: &[u8]) -> Option<String> {
    let units: Vec<u16> = option.get(6..)?.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let end = units.iter().position(|unit| *unit == 0)?;
    String::from_utf16(&units[..end]).ok()
}

/// A partition by its number, place, size and GUID (§10.3.5.1): firmware finds it on whichever disk it is.
fn hard_drive(placed: &Placed) -> Vec<u8> {
    let mut data = placed.partition.number.to_le_bytes().to_vec();
    data.extend((placed.start.0 / SECTOR).to_le_bytes());
    data.extend((placed.partition.size.0 / SECTOR).to_le_bytes());
    data.extend(guid(placed.partition.guid));
    // a GUID partition table, and the signature is a GUID
    data.extend([2, 2]);
    node(4, 1, &data)
}

/// A file (§10.3.5.4).
fn file_path(file: &str) -> Vec<u8> {
    node(4, 4, &utf16(&native(file)))
}

/// A path as UEFI writes it, from the partition's root.
fn native(file: &str) -> String {
    format!("\\{}", file.replace('/', "\\"))
}

/// A node of a device path (§10.2): type, subtype, length with these four bytes.
fn node(kind: u8, subtype: u8, data: &[u8]) -> Vec<u8> {
    let mut node = vec![kind, subtype];
    node.extend((4 + data.len() as u16).to_le_bytes());
    node.extend(data);
    node
}

/// As UEFI stores it: the first three fields little-endian (appendix A).
fn guid(guid: Guid) -> [u8; 16] {
    let mut bytes = *guid.as_bytes();
    for field in [0..4, 4..6, 6..8] {
        bytes[field].reverse();
    }
    bytes
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use disk::{Partition, PartitionType};
    use std::{fs, path::PathBuf};
    use types::Bytes;

    fn esp() -> Placed {
        let partition = Partition {
            number: 1,
            label: "EFI System".into(),
            kind: PartitionType::EfiSystem,
            guid: "01234567-89ab-cdef-0011-223344556677".parse().unwrap(),
            size: Bytes::mib(5),
            attributes: 0,
            content: None,
        };
        Placed { partition, start: Bytes::mib(1) }
    }

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    /// Written by hand from the tables of UEFI 2.10 that are named. On a machine, `efibootmgr -v` reads such an entry as
    /// `HD(1,GPT,01234567-89ab-cdef-0011-223344556677,0x800,0x2800)/File(\EFI\evek\BOOTX64.EFI)`.
    #[test]
    fn a_boot_entry_is_what_the_specification_says() {
        let rows = [
            // §3.1.3: Attributes, FilePathListLength = 42 + 48 + 4, Description
            "01000000 5e00",
            "4500 5600 4500 2d00 6b00 2000 7300 6500 6300 6f00 6e00 6400 2000", // EVE-k second_
            "6200 6f00 6f00 7400 2000 6c00 6f00 6100 6400 6500 7200 0000",      // boot loader
            // §10.3.5.1: type 4, subtype 1, length 42; number; start and size in sectors; signature; GPT; GUID
            "04 01 2a00 01000000 0008000000000000 0028000000000000",
            "67452301 ab89 efcd 0011 223344556677 02 02",
            // §10.3.5.4: type 4, subtype 4, length 4 + 2 * (21 + 1)
            "04 04 3000",
            "5c00 4500 4600 4900 5c00 6500 7600 6500 6b00 5c00", // \EFI\evek\
            "4200 4f00 4f00 5400 5800 3600 3400 2e00 4500 4600 4900 0000", // BOOTX64.EFI
            // §10.3.1: the end of the whole path
            "7f ff 0400",
        ];
        let option = load_option(DESCRIPTION, &esp(), "EFI/evek/BOOTX64.EFI", None);
        assert_eq!(option, unhex(&rows.concat()));
        let told = load_option(DESCRIPTION, &esp(), "EFI/evek/BOOTX64.EFI", Some("a/b"));
        assert_eq!(told, unhex(&[rows.concat(), "5c00 6100 5c00 6200 0000".to_owned()].concat()));
        assert_eq!(description(&option).as_deref(), Some(DESCRIPTION));
        for none in [&option[..5], &option[..20], &[]] {
            assert_eq!(description(none), None);
        }
    }

    impl Variables {
        fn path(&self, name: &str) -> PathBuf {
            self.0.path(Name(Global, name))
        }
    }

    fn variables(list: &[(&str, &str)]) -> (tempfile::TempDir, Variables) {
        let folder = tempfile::tempdir().unwrap();
        let variables = Variables(efivars::Variables::at(folder.path()));
        for (name, bytes) in list {
            fs::write(variables.path(name), unhex(bytes)).unwrap();
        }
        (folder, variables)
    }

    #[test]
    fn an_entry_gets_a_number_that_nobody_has_and_keeps_it() {
        let others = [("Boot0000", "07000000 01000000 0000 4100 0000"), ("BootOrder", "07000000 0100 0000")];
        let (_folder, variables) = variables(&others);
        let option = load_option(DESCRIPTION, &esp(), "EFI/evek/BOOTX64.EFI", None);
        // 0001 has no entry, and what gets it would be the first that starts
        assert_eq!(variables.set_own(&option).unwrap(), BootNumber(2));
        assert_eq!(fs::read(variables.path("Boot0002")).unwrap(), [&[7, 0, 0, 0], &option[..]].concat());
        let mut moved = esp();
        moved.start = Bytes::mib(9);
        let option = load_option(DESCRIPTION, &moved, "EFI/evek/BOOTX64.EFI", None);
        assert_eq!(variables.set_own(&option).unwrap(), BootNumber(2));
        assert_eq!(variables.read("Boot0002").unwrap(), option);
        assert_eq!(variables.own().unwrap(), Some(BootNumber(2)));
        assert!(!variables.is_own(BootNumber(0)) && !variables.is_own(BootNumber(1)));
        for (name, bytes) in others {
            assert_eq!(fs::read(variables.path(name)).unwrap(), unhex(bytes), "{name}");
        }
    }

    #[test]
    fn the_order_of_others_stays() {
        for (before, after) in [
            ("07000000 0300 0100", "07000000 0300 0100 0a00"),
            ("07000000 0300 0100 0a00", "07000000 0300 0100 0a00"),
            ("07000000 0a00 0300 0100", "07000000 0300 0100 0a00"),
        ] {
            let (_folder, variables) = variables(&[("BootOrder", before)]);
            variables.put_last(BootNumber(10)).unwrap();
            assert_eq!(fs::read(variables.path("BootOrder")).unwrap(), unhex(after), "{before}");
        }
    }

    #[test]
    fn only_our_own_start_is_taken_back() {
        let (_folder, variables) = variables(&[]);
        variables.forget_next(BootNumber(0x1f)).unwrap();
        variables.set_next(BootNumber(0x1f)).unwrap();
        assert_eq!(fs::read(variables.path("BootNext")).unwrap(), unhex("07000000 1f00"));
        variables.forget_next(BootNumber(1)).unwrap();
        assert_eq!(variables.next().unwrap(), Some(BootNumber(0x1f)));
        variables.forget_next(BootNumber(0x1f)).unwrap();
        assert_eq!((variables.next().unwrap(), variables.path("BootNext").exists()), (None, false));
    }

    #[test]
    fn names_of_entries_are_four_digits_in_capitals() {
        assert_eq!(BootNumber::of_name("Boot00AF"), Some(BootNumber(0xaf)));
        for name in ["Boot00af", "Boot0AF", "Boot00AF0", "BootNext", "BootOrder", "Boot+0AF"] {
            assert_eq!(BootNumber::of_name(name), None, "{name}");
        }
    }

    #[test]
    fn where_there_are_no_variables_none_is_read_and_none_can_be_written() {
        let variables = Variables(efivars::Variables::at("/nowhere"));
        assert_eq!((variables.current().unwrap(), variables.next().unwrap()), (None, None));
        assert_eq!(variables.own().unwrap(), None);
        assert!(variables.set_own(&[]).is_err() && variables.set_next(BootNumber(1)).is_err());
    }
}
