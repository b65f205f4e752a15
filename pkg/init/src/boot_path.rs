//! The disk that the firmware has started, by the device path of its boot entry (UEFI 2.10 §3.1.3, §10.3).
//!
//! ```text
//!  BootCurrent ─► Boot0001 ─► PciRoot(0)/Pci(0x1f,2)/Sata(1,…)/HD(…)
//!                                  │
//!  /sys/class/block/sdb ─► /sys/devices/pci0000:00/0000:00:1f.2/ata2/host1/target1:0:0/1:0:0:0/block/sdb
//! ```
//! All devices of one image have the same partition GUIDs, so `HD(…)` and `LoaderDevicePartUUID` cannot tell two such
//! disks apart. The controller's place on the PCI bus, and the port, target or namespace behind it, can.
//!
//! Deliberately absent: entries with a short path, such as `HD(…)/File(…)` alone or `UsbClass(…)`, which name no place, and disks
//! that are on no PCI bus.

use std::{fs, path::Path};

/// Where a disk is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BootPath {
    /// Device and function of each bridge and of the controller.
    pci: Vec<(u8, u8)>,
    behind: Vec<Behind>,
}

/// A step behind the controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    Sata { port: u16 },
    Scsi { target: u16, lun: u16 },
    Nvme { namespace: u32 },
    Usb { port: u8 },
}

impl BootPath {
    /// The path in a boot entry (`EFI_LOAD_OPTION`); `None` where it names no place on a PCI bus.
    pub(crate) fn of_entry(option: &[u8]) -> Option<Self> {
        let length = usize::from(u16::from_le_bytes(option.get(4..6)?.try_into().ok()?));
        let text = option.get(6..)?;
        let end = text.chunks_exact(2).position(|unit| unit == [0, 0])?;
        Self::parse(text.get(2 * end + 2..)?.get(..length)?)
    }

    fn parse(mut nodes: &[u8]) -> Option<Self> {
        let mut path = Self { pci: Vec::new(), behind: Vec::new() };
        while let [kind, subkind, low, high, ..] = *nodes {
            let length = usize::from(u16::from_le_bytes([low, high]));
            let data = nodes.get(4..length)?;
            let word = |at: usize| Some(u16::from_le_bytes(data.get(at..at + 2)?.try_into().ok()?));
            match (kind, subkind) {
                (0x7f, _) => break,
                (1, 1) => path.pci.push((*data.get(1)?, *data.first()?)),
                (3, 2) => path.behind.push(Behind::Scsi { target: word(0)?, lun: word(2)? }),
                (3, 5) => path.behind.push(Behind::Usb { port: *data.first()? }),
                (3, 0x12) => path.behind.push(Behind::Sata { port: word(0)? }),
                (3, 0x17) => {
                    path.behind.push(Behind::Nvme { namespace: u32::from_le_bytes(data.get(..4)?.try_into().ok()?) });
                }
                _ => {}
            }
            nodes = nodes.get(length..)?;
        }
        (!path.pci.is_empty()).then_some(path)
    }

    /// Whether it is the path of this disk. `disk` is the real path of the disk below `/sys/devices`; `classes` is `/sys/class`.
    pub(crate) fn leads_to(&self, disk: &Path, classes: &Path) -> bool {
        let parts: Vec<String> = disk.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let pci: Vec<(u8, u8)> = parts.iter().filter_map(|part| pci_function(part)).collect();
        pci == self.pci && self.steps_lead_to(disk, &parts, classes)
    }

    /// What the kernel does not show of a step is no contradiction.
    fn steps_lead_to(&self, disk: &Path, parts: &[String], classes: &Path) -> bool {
        let scsi = parts.iter().find_map(|part| scsi_address(part));
        // a path has one step of each kind, except through hubs
        let usb = self.behind.iter().filter_map(|step| match step {
            Behind::Usb { port } => Some(u32::from(*port) + 1),
            _ => None,
        });
        let (usb, ports) = (usb.collect::<Vec<u32>>(), usb_ports(parts));
        // kernel and firmware number the ports of a root hub differently
        let is_same_usb = ports.is_empty() || usb.is_empty() || ports.get(1..) == usb.get(1..);
        // EDK II names the disk behind a USB bridge by a logical unit, which is not compared
        let is_usb = !ports.is_empty();
        is_same_usb
            && self.behind.iter().all(|step| match *step {
                Behind::Sata { port } => ata_port(parts, classes).is_none_or(|found| found == u32::from(port) + 1),
                Behind::Scsi { target, lun } => {
                    is_usb || scsi.is_none_or(|found| found == (u64::from(target), u64::from(lun)))
                }
                Behind::Nvme { namespace } => number(&disk.join("nsid")).is_none_or(|found| found == namespace),
                Behind::Usb { .. } => true,
            })
    }
}

/// `0000:00:1f.2`
fn pci_function(part: &str) -> Option<(u8, u8)> {
    let mut fields = part.split([':', '.']);
    let (domain, bus, device, function) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let is_address = fields.next().is_none() && domain.len() >= 4 && bus.len() == 2 && part.contains('.');
    let hex = |text| u8::from_str_radix(text, 16).ok();
    is_address.then_some(())?;
    Some((hex(device)?, hex(function)?))
}

/// Target and unit of `host:channel:target:unit`.
fn scsi_address(part: &str) -> Option<(u64, u64)> {
    let fields: Vec<u64> = part.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    match fields[..] {
        [_, _, target, unit] => Some((target, unit)),
        _ => None,
    }
}

/// The port on its controller that `ata7`, a number of the kernel's, is.
fn ata_port(parts: &[String], classes: &Path) -> Option<u32> {
    let name = parts.iter().find(|part| part.strip_prefix("ata").is_some_and(|n| n.parse::<u32>().is_ok()))?;
    number(&classes.join("ata_port").join(name).join("port_no"))
}

/// The ports from the root hub on, of the last `2-1.4` in a path.
fn usb_ports(parts: &[String]) -> Vec<u32> {
    let ports = |part: &String| {
        let (bus, ports) = part.split_once('-')?;
        bus.parse::<u32>().ok()?;
        ports.split('.').map(str::parse).collect::<Result<Vec<u32>, _>>().ok()
    };
    parts.iter().rev().find_map(ports).unwrap_or_default()
}

fn number(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
#[path = "boot_path_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
