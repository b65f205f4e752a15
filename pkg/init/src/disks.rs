//! Looking for the slot on the disks that the kernel has found.

use crate::{
    error::Error,
    files,
    firmware::Started,
    gpt::{self, guid_text},
    log,
    uevent::Events,
};
use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use types::Digest;

const CLASSES: &str = "/sys/class";
const BLOCK_DEVICES: &str = "/sys/class/block";
/// Disks that spin up slowly, and USB, take their time.
const WITHIN: Duration = Duration::from_secs(60);
/// The time that the disk which the firmware has started gets to appear when another one with the slot is there already.
const OTHERS_WITHIN: Duration = Duration::from_secs(5);
/// Name of the partition that the firmware reads.
const ESP: &str = "EFI System";
/// Name of the partition with the device's state.
const PERSIST: &str = "P3";
/// Virtual disks that hold no slot.
const NOT_DISKS: [&str; 5] = ["dm-", "loop", "nbd", "ram", "zram"];

/// The partition with the store.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Its device node, `/dev/vda2`.
    pub(crate) device: PathBuf,
    /// Its device number, `major:minor`.
    pub(crate) device_number: String,
    /// The disk's device node, `/dev/vda`.
    pub(crate) disk: PathBuf,
    /// The disk's device number, `major:minor`.
    pub(crate) disk_number: String,
    /// Its name in the partition table: `IMGA`, `IMGB`.
    pub(crate) label: String,
    /// Its unique GUID.
    pub(crate) guid: [u8; 16],
    /// Where on that disk the EFI system partition lies, in bytes.
    pub(crate) esp: Option<Range<u64>>,
    /// The unique GUID of the EFI system partition.
    pub(crate) esp_guid: Option<[u8; 16]>,
    /// The unique GUID of P3, which the first start makes.
    pub(crate) persist: Option<[u8; 16]>,
    /// The disk's folder below `/sys/devices`.
    pub(crate) sys: PathBuf,
    /// Other disks with this slot, of which the firmware may have started one.
    pub(crate) others: Vec<PathBuf>,
}

impl Slot {
    /// The text of `/run/evek/slot.json`.
    pub(crate) fn to_json(&self, root_hash: Digest, data_blocks: u64) -> String {
        let json = serde_json::json!({
            "label": self.label,
            "device": self.device,
            "disk": self.disk,
            "partuuid": guid_text(&self.guid),
            "root_hash": root_hash.hex(),
            "data_blocks": data_blocks,
            "ambiguous_with": self.others,
        });
        format!("{json:#}\n")
    }
}

/// Waits until a disk has the partition with that GUID. Where several have it, the disk that the firmware has started is meant.
pub(crate) fn wait_for_slot(events: &Events, guid: &[u8; 16], started: &Started) -> Result<Slot, Error> {
    let begin = Instant::now();
    let mut first_found = None;
    loop {
        let (mut slots, mut seen) = (Vec::new(), Vec::new());
        for disk in disks()? {
            match look(&disk, guid) {
                Ok(Look::Slot(slot)) => slots.push(*slot),
                Ok(Look::Other(text)) => seen.push(text),
                // it may have gone again while we looked
                Err(e) => seen.push(format!("{disk}: {e}")),
            }
        }
        let left = WITHIN.saturating_sub(begin.elapsed());
        if slots.is_empty() && left.is_zero() {
            if seen.is_empty() {
                seen.push("no disk at all; is the controller's module in the initramfs?".to_owned());
            }
            return Err(Error::NoSlot { guid: guid_text(guid), seconds: WITHIN.as_secs(), seen: seen.join("; ") });
        }
        if slots.is_empty() {
            events.wait(left)?;
            continue;
        }
        let others_left = OTHERS_WITHIN.saturating_sub(first_found.get_or_insert_with(Instant::now).elapsed());
        match choose(slots, started, others_left.is_zero()) {
            Some(slot) => return Ok(slot),
            None => events.wait(others_left)?,
        }
    }
}

/// The slot on the disk that the firmware has started; `None` while that disk may still appear.
///
/// The firmware may name a partition GUID, a place on a bus, both, or neither. Each excludes disks only where it leaves one.
fn choose(mut slots: Vec<Slot>, started: &Started, all_there: bool) -> Option<Slot> {
    keep(&mut slots, |slot| started.esp.is_some() && slot.esp_guid.as_ref().map(guid_text) == started.esp);
    let mut is_named = true;
    if let Some(path) = &started.path {
        is_named = keep(&mut slots, |slot| path.leads_to(&slot.sys, Path::new(CLASSES)));
        if !is_named && !all_there {
            return None;
        }
    }
    let disks: Vec<_> = slots.iter().map(|slot| slot.disk.display().to_string()).collect();
    let disks = disks.join(", ");
    if slots.len() > 1 {
        log::failure(&format!(
            "several disks have this slot, and the firmware does not say which one it has started: {disks}. The first is used: \
             remove those that do not belong to this device"
        ));
    } else if !is_named {
        log::warning(&format!("{disks} has this slot, but the firmware says that it has started another disk"));
    }
    let mut slots = slots.into_iter();
    let mut slot = slots.next()?;
    slot.others = slots.map(|other| other.disk).collect();
    Some(slot)
}

/// Keeps the slots for which something holds, unless it holds for none. Returns whether it held for one.
fn keep(slots: &mut Vec<Slot>, holds: impl Fn(&Slot) -> bool) -> bool {
    let any = slots.iter().any(&holds);
    if any {
        slots.retain(holds);
    }
    any
}

/// Names of all whole disks, in order.
fn disks() -> Result<Vec<String>, Error> {
    let path = Path::new(BLOCK_DEVICES);
    let failed = |source| Error::Io { action: "read", path: path.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        let whole = !path.join(&name).join("partition").exists();
        if whole && !NOT_DISKS.iter().any(|prefix| name.starts_with(prefix)) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

enum Look {
    Slot(Box<Slot>),
    /// What else there is, for the message.
    Other(String),
}

fn look(disk: &str, guid: &[u8; 16]) -> Result<Look, Error> {
    let sys = Path::new(BLOCK_DEVICES).join(disk);
    let number = |file: &str| {
        let path = sys.join(file);
        let text = files::read_text(&path)?;
        text.trim().parse::<u64>().map_err(|e| Error::Io {
            action: "understand",
            path,
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, e),
        })
    };
    // `size` is in units of 512 bytes whatever the disk's blocks are
    let (block, bytes) = (number("queue/logical_block_size")?, number("size")? * 512);
    if bytes == 0 {
        return Ok(Look::Other(format!("{disk}: no medium")));
    }
    let device = Path::new("/dev").join(disk);
    let file = fs::File::open(&device).map_err(|source| Error::Io { action: "open", path: device.clone(), source })?;
    let partitions = match gpt::read(&file, block, bytes / block.max(1)) {
        Ok(partitions) => partitions,
        Err(fault) => return Ok(Look::Other(format!("{disk}: {fault}"))),
    };
    let Some(slot) = partitions.iter().find(|p| p.guid == *guid) else {
        let names: Vec<_> = partitions.iter().map(|p| format!("{} {}", p.name, guid_text(&p.guid))).collect();
        return Ok(Look::Other(format!("{disk}: {}", names.join(", "))));
    };
    let Some(name) = partition_name(&sys, slot.number)? else {
        return Ok(Look::Other(format!("{disk}: {} is there, its device not yet", slot.name)));
    };
    let named = |name: &str| partitions.iter().find(|p| p.name == name);
    let device_number = |sys: PathBuf| files::read_text(&sys.join("dev")).map(|text| text.trim().to_owned());
    Ok(Look::Slot(Box::new(Slot {
        device: Path::new("/dev").join(&name),
        device_number: device_number(sys.join(&name))?,
        disk: device,
        disk_number: device_number(sys.clone())?,
        label: slot.name.clone(),
        guid: slot.guid,
        esp: named(ESP).map(|p| p.range.clone()),
        esp_guid: named(ESP).map(|p| p.guid),
        persist: named(PERSIST).map(|p| p.guid),
        // a disk that has gone again leads nowhere
        sys: fs::canonicalize(&sys).unwrap_or_default(),
        others: Vec::new(),
    })))
}

/// The kernel's name of a disk's partition: `vda` and 2 make `vda2`, `nvme0n1` and 2 make `nvme0n1p2`.
fn partition_name(disk: &Path, number: u32) -> Result<Option<String>, Error> {
    let failed = |source| Error::Io { action: "read", path: disk.to_owned(), source };
    for entry in fs::read_dir(disk).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let text = fs::read_to_string(entry.path().join("partition")).unwrap_or_default();
        if text.trim().parse() == Ok(number) {
            return Ok(Some(entry.file_name().to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::boot_path::BootPath;

    /// A slot on a virtio disk with this number on the bus.
    fn slot(name: &str, device: u8) -> Slot {
        Slot {
            device: format!("/dev/{name}2").into(),
            device_number: "254:2".into(),
            disk: format!("/dev/{name}").into(),
            disk_number: "254:0".into(),
            label: "IMGA".into(),
            guid: [0xab; 16],
            esp: None,
            esp_guid: Some([device; 16]),
            persist: None,
            sys: format!("/sys/devices/pci0000:00/0000:00:{device:02x}.0/virtio{device}/block/{name}").into(),
            others: Vec::new(),
        }
    }

    /// `PciRoot(0)/Pci(device,0)`, as in a boot entry.
    fn at(device: u8) -> Started {
        let path = [2, 1, 12, 0, 0xd0, 0x41, 3, 0x0a, 0, 0, 0, 0, 1, 1, 6, 0, 0, device, 0x7f, 0xff, 4, 0];
        let entry = [&[1, 0, 0, 0, path.len() as u8, 0, 0, 0][..], &path].concat();
        Started { esp: None, path: BootPath::of_entry(&entry) }
    }

    fn chosen(slots: Vec<Slot>, started: &Started, all_there: bool) -> Option<(String, usize)> {
        let slot = choose(slots, started, all_there)?;
        Some((slot.disk.display().to_string(), slot.others.len()))
    }

    #[test]
    fn of_two_disks_with_one_image_the_one_is_taken_that_the_firmware_has_started() {
        let both = || vec![slot("vda", 2), slot("vdb", 3)];
        assert_eq!(chosen(both(), &at(3), false), Some(("/dev/vdb".into(), 0)));
        assert_eq!(chosen(both(), &at(2), false), Some(("/dev/vda".into(), 0)));
        // its GUID, where the disks have fresh ones
        let esp = Started { esp: Some(guid_text(&[3; 16])), path: None };
        assert_eq!(chosen(both(), &esp, false), Some(("/dev/vdb".into(), 0)));
    }

    #[test]
    fn a_disk_that_comes_late_is_waited_for_when_the_firmware_has_started_it() {
        assert_eq!(chosen(vec![slot("vda", 2)], &at(3), false), None);
        assert_eq!(chosen(vec![slot("vda", 2)], &at(3), true), Some(("/dev/vda".into(), 0)));
    }

    #[test]
    fn without_a_word_of_the_firmware_the_first_is_taken_and_the_others_are_named() {
        let nothing = Started::default();
        assert_eq!(chosen(vec![slot("vda", 2)], &nothing, false), Some(("/dev/vda".into(), 0)));
        assert_eq!(chosen(vec![slot("vda", 2), slot("vdb", 3)], &nothing, false), Some(("/dev/vda".into(), 1)));
    }

    #[test]
    fn what_was_found_is_written_for_others() {
        let slot = Slot { others: vec!["/dev/sdb".into()], ..slot("vda", 2) };
        let json: serde_json::Value = serde_json::from_str(&slot.to_json(Digest::from_bytes([0xab; 32]), 7)).unwrap();
        assert_eq!(json["label"], "IMGA");
        assert_eq!(json["partuuid"], "abababab-abab-abab-abab-abababababab");
        assert_eq!(json["root_hash"], "ab".repeat(32));
        assert_eq!(json["data_blocks"], 7);
        assert_eq!(json["ambiguous_with"][0], "/dev/sdb");
    }

    #[test]
    fn a_partition_is_found_by_its_number() {
        let dir = std::env::temp_dir().join(format!("evek-init-{}", std::process::id()));
        for (name, number) in [("nvme0n1p1", "1\n"), ("nvme0n1p12", "12\n")] {
            fs::create_dir_all(dir.join(name)).unwrap();
            fs::write(dir.join(name).join("partition"), number).unwrap();
        }
        fs::create_dir_all(dir.join("queue")).unwrap();
        assert_eq!(partition_name(&dir, 12).unwrap().as_deref(), Some("nvme0n1p12"));
        assert_eq!(partition_name(&dir, 2).unwrap(), None);
        fs::remove_dir_all(dir).unwrap();
    }
}
