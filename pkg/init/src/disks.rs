//! Looking for the slot on the disks that the kernel has found.

use crate::{
    error::Error,
    files,
    gpt::{self, guid_text},
    uevent::Events,
};
use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use types::Digest;

const BLOCK_DEVICES: &str = "/sys/class/block";
/// Disks that spin up slowly, and USB, take their time.
const WITHIN: Duration = Duration::from_secs(60);
/// Name of the partition that the firmware reads.
const ESP: &str = "EFI System";
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
}

impl Slot {
    /// What `/run/evek/slot.json` says.
    pub(crate) fn to_json(&self, root_hash: Digest, data_blocks: u64) -> String {
        let json = serde_json::json!({
            "label": self.label,
            "device": self.device,
            "disk": self.disk,
            "partuuid": guid_text(&self.guid),
            "root_hash": root_hash.hex(),
            "data_blocks": data_blocks,
        });
        format!("{json:#}\n")
    }
}

/// Waits until a disk has the partition with that GUID.
pub(crate) fn wait_for_slot(events: &Events, guid: &[u8; 16]) -> Result<Slot, Error> {
    let begin = Instant::now();
    loop {
        let mut seen = Vec::new();
        for disk in disks()? {
            match look(&disk, guid) {
                Ok(Look::Slot(slot)) => return Ok(slot),
                Ok(Look::Other(text)) => seen.push(text),
                // it may have gone again while we looked
                Err(e) => seen.push(format!("{disk}: {e}")),
            }
        }
        let left = WITHIN.saturating_sub(begin.elapsed());
        if left.is_zero() {
            if seen.is_empty() {
                seen.push("no disk at all; is the controller's module in the initramfs?".to_owned());
            }
            return Err(Error::NoSlot { guid: guid_text(guid), seconds: WITHIN.as_secs(), seen: seen.join("; ") });
        }
        events.wait(left)?;
    }
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
    Slot(Slot),
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
    let device_number = |sys: PathBuf| files::read_text(&sys.join("dev")).map(|text| text.trim().to_owned());
    Ok(Look::Slot(Slot {
        device: Path::new("/dev").join(&name),
        device_number: device_number(sys.join(&name))?,
        disk: device,
        disk_number: device_number(sys)?,
        label: slot.name.clone(),
        guid: slot.guid,
        esp: partitions.iter().find(|p| p.name == ESP).map(|p| p.range.clone()),
    }))
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

    #[test]
    fn what_was_found_is_written_for_others() {
        let slot = Slot {
            device: "/dev/vda2".into(),
            device_number: "254:2".into(),
            disk: "/dev/vda".into(),
            disk_number: "254:0".into(),
            label: "IMGA".into(),
            guid: [0xab; 16],
            esp: None,
        };
        let json: serde_json::Value = serde_json::from_str(&slot.to_json(Digest::from_bytes([0xab; 32]), 7)).unwrap();
        assert_eq!(json["label"], "IMGA");
        assert_eq!(json["partuuid"], "abababab-abab-abab-abab-abababababab");
        assert_eq!(json["root_hash"], "ab".repeat(32));
        assert_eq!(json["data_blocks"], 7);
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
