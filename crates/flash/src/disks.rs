//! The disks of this host, and why an image is not written to one.
//!
//! ```text
//! /sys/block/<disk>  ─ size, model, removable, ro, queue/logical_block_size
//!   └ <partition>      └ holders/<dm, md, …>: their mounts are those of the disk
//! /proc/self/mountinfo, /proc/swaps, /dev/disk/by-id
//! ```

use serde::Serialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use types::Bytes;

/// A disk of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// The kernel's name, such as `sdb`. It may be another one after the next start.
    pub name: String,
    /// Its device.
    pub path: PathBuf,
    /// Names that stay the same, in `/dev/disk/by-id`.
    pub by_id: Vec<PathBuf>,
    /// Vendor and model.
    pub model: String,
    /// Its size.
    pub size: Bytes,
    /// Size of its sectors, as software sees them.
    pub sector: u64,
    /// Whether it is a stick, a card or a disk behind USB.
    pub removable: bool,
    /// Whether it is write-protected.
    pub read_only: bool,
    /// Its users now: mount points, swap, mappings, arrays.
    pub used_by: Vec<String>,
}

impl Disk {
    /// Why an image of this size cannot be written to it.
    #[must_use]
    pub fn refusals(&self, needed: Bytes) -> Vec<String> {
        let mut all: Vec<_> = self.used_by.iter().map(|user| format!("it is used: {user}")).collect();
        if self.read_only {
            all.push("it is write-protected".to_owned());
        }
        if self.size < needed {
            all.push(format!("it has {}, the image needs {needed}", self.size));
        }
        if self.sector != segments::SECTOR {
            all.push(format!("its sectors have {} bytes, those of the image 512", self.sector));
        }
        all
    }
}

/// Where the kernel shows disks.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// `/sys`
    pub sys: PathBuf,
    /// `/proc`
    pub proc: PathBuf,
    /// `/dev`
    pub dev: PathBuf,
}

impl Default for Kernel {
    fn default() -> Self {
        Self { sys: "/sys".into(), proc: "/proc".into(), dev: "/dev".into() }
    }
}

impl Kernel {
    /// All disks, by name. Devices that no hardware stands behind are none: loop devices, mappings, memory.
    ///
    /// # Errors
    /// When the kernel's lists cannot be read.
    pub fn disks(&self) -> io::Result<Vec<Disk>> {
        let users = Users::read(self)?;
        let mut all = Vec::new();
        for entry in fs::read_dir(self.sys.join("block"))? {
            let folder = entry?.path();
            if folder.join("device").exists() {
                all.push(self.disk(&folder, &users)?);
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    fn disk(&self, folder: &Path, users: &Users) -> io::Result<Disk> {
        let name = file_name(folder);
        let path = self.dev.join(&name);
        let number = |file: &str| text(&folder.join(file)).parse::<u64>().unwrap_or_default();
        let words = ["device/vendor", "device/model", "device/name"].map(|file| text(&folder.join(file)));
        let model = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
        // the folder of a disk behind USB is below that of its port
        let real = fs::canonicalize(folder)?;
        let is_usb = real.components().any(|part| part.as_os_str().to_string_lossy().starts_with("usb"));
        let is_card = name.starts_with("mmcblk") && text(&folder.join("device/type")) == "SD";
        Ok(Disk {
            by_id: self.names(&path),
            path,
            model,
            size: Bytes(number("size") * 512),
            sector: number("queue/logical_block_size"),
            removable: number("removable") == 1 || is_usb || is_card,
            read_only: number("ro") == 1,
            used_by: users.of(folder, 0)?,
            name,
        })
    }

    /// The names of a device in `/dev/disk/by-id`.
    fn names(&self, device: &Path) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.dev.join("disk/by-id")) else { return Vec::new() };
        let links = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let device = fs::canonicalize(device).ok();
        let mut names: Vec<_> =
            links.filter(|link| device.is_some() && fs::canonicalize(link).ok() == device).collect();
        names.sort();
        names
    }
}

/// The users of block devices, by the devices' numbers and names.
struct Users {
    /// `major:minor` and mount point.
    mounts: Vec<(String, String)>,
    /// Paths of devices.
    swaps: Vec<String>,
}

/// Mappings over mappings are this deep at most.
const DEEPEST: usize = 8;

impl Users {
    fn read(kernel: &Kernel) -> io::Result<Self> {
        // proc_pid_mountinfo(5): the third field and the fifth
        let mounts = fs::read_to_string(kernel.proc.join("self/mountinfo"))?;
        let mount = |line: &str| {
            let mut fields = line.split(' ');
            Some((fields.nth(2)?.to_owned(), fields.nth(1)?.to_owned()))
        };
        // absent in a kernel without swap
        let swaps = text(&kernel.proc.join("swaps"));
        let swap = |line: &str| Some(line.split_whitespace().next()?.to_owned());
        Ok(Self {
            mounts: mounts.lines().filter_map(mount).collect(),
            swaps: swaps.lines().skip(1).filter_map(swap).collect(),
        })
    }

    /// Of a device, of its partitions, and of what holds any of them.
    fn of(&self, folder: &Path, depth: usize) -> io::Result<Vec<String>> {
        let (name, numbers) = (file_name(folder), text(&folder.join("dev")));
        let mounted = self.mounts.iter().filter(|(of, _)| *of == numbers);
        let mut all: Vec<_> = mounted.map(|(_, point)| format!("{name} is mounted at {point}")).collect();
        if self.swaps.iter().any(|path| path.ends_with(&format!("/{name}"))) {
            all.push(format!("{name} is swap"));
        }
        if depth < DEEPEST {
            for holder in folders(&folder.join("holders"))? {
                let mut users = self.of(&fs::canonicalize(&holder)?, depth + 1)?;
                if users.is_empty() {
                    users.push(format!("{} holds {name}", file_name(&holder)));
                }
                all.extend(users);
            }
        }
        for part in folders(folder)?.into_iter().filter(|part| part.join("partition").exists()) {
            all.extend(self.of(&part, depth + 1)?);
        }
        all.dedup();
        Ok(all)
    }
}

/// The folders in a folder, by name; none where there is no such folder.
fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut all: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    all.retain(|path| path.is_dir());
    all.sort();
    Ok(all)
}

fn text(file: &Path) -> String {
    fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A kernel with a system disk under device mapper, a stick with a mounted partition, a free stick and a loop device.
    fn kernel(root: &Path) -> Kernel {
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (port, name, numbers, size, model) in [
            ("pci/nvme", "nvme0n1", "259:0", "1000", "Fast"),
            ("pci/usb1/1-1", "sdb", "8:16", "62521344", "Stick"),
            ("pci/usb1/1-2", "sdc", "8:32", "8", "Small"),
        ] {
            let folder = format!("sys/devices/{port}/block/{name}");
            for (file, text) in [
                ("dev", numbers),
                ("size", size),
                ("device/model", model),
                ("queue/logical_block_size", "512"),
                ("ro", "0"),
            ] {
                write(&format!("{folder}/{file}"), text);
            }
            fs::create_dir_all(root.join("sys/block")).unwrap();
            symlink(root.join(&folder), root.join("sys/block").join(name)).unwrap();
            write(&format!("dev/{name}"), "");
        }
        write("sys/block/loop0/dev", "7:0");
        write("sys/devices/pci/nvme/block/nvme0n1/nvme0n1p9/partition", "9");
        write("sys/devices/pci/nvme/block/nvme0n1/nvme0n1p9/dev", "259:9");
        write("sys/devices/virtual/block/dm-0/dev", "254:0");
        fs::create_dir_all(root.join("sys/devices/pci/nvme/block/nvme0n1/nvme0n1p9/holders")).unwrap();
        symlink(
            root.join("sys/devices/virtual/block/dm-0"),
            root.join("sys/devices/pci/nvme/block/nvme0n1/nvme0n1p9/holders/dm-0"),
        )
        .unwrap();
        write("sys/devices/pci/usb1/1-1/block/sdb/sdb1/partition", "1");
        write("sys/devices/pci/usb1/1-1/block/sdb/sdb1/dev", "8:17");
        write(
            "proc/self/mountinfo",
            "21 1 254:0 / /persist rw - ext4 /dev/mapper/persist rw\n22 1 8:17 / /media rw - vfat x rw\n",
        );
        write("proc/swaps", "Filename Type Size Used Priority\n");
        fs::create_dir_all(root.join("dev/disk/by-id")).unwrap();
        symlink("../../sdb", root.join("dev/disk/by-id/usb-Stick_1-0:0")).unwrap();
        Kernel { sys: root.join("sys"), proc: root.join("proc"), dev: root.join("dev") }
    }

    #[test]
    fn disks_are_listed_with_what_uses_them() {
        let root = tempfile::tempdir().unwrap();
        let kernel = kernel(root.path());
        let disks = kernel.disks().unwrap();
        let names: Vec<_> = disks.iter().map(|disk| (disk.name.as_str(), disk.removable)).collect();
        assert_eq!(names, [("nvme0n1", false), ("sdb", true), ("sdc", true)]);
        assert_eq!(disks[0].used_by, ["dm-0 is mounted at /persist"]);
        assert_eq!(disks[1].used_by, ["sdb1 is mounted at /media"]);
        assert_eq!(disks[1].by_id, [root.path().join("dev/disk/by-id/usb-Stick_1-0:0")]);
        assert_eq!((disks[1].model.as_str(), disks[1].size), ("Stick", Bytes(62_521_344 * 512)));
        assert_eq!(disks[1].refusals(Bytes(1)), ["it is used: sdb1 is mounted at /media"]);
        assert_eq!(disks[2].refusals(Bytes(8 * 512)), [""; 0]);
        assert_eq!(disks[2].refusals(Bytes::gib(1)), ["it has 4.1 kB, the image needs 1.07 GB"]);
    }

    #[test]
    fn a_mapping_that_nothing_mounts_still_holds_its_disk() {
        let root = tempfile::tempdir().unwrap();
        let kernel = kernel(root.path());
        fs::write(root.path().join("proc/self/mountinfo"), "").unwrap();
        fs::write(root.path().join("proc/swaps"), "Filename\n/dev/sdb1 partition 1 0 -2\n").unwrap();
        for (file, text) in [("ro", "1"), ("queue/logical_block_size", "4096")] {
            fs::write(root.path().join("sys/block/sdc").join(file), text).unwrap();
        }
        let disks = kernel.disks().unwrap();
        assert_eq!(disks[0].used_by, ["dm-0 holds nvme0n1p9"]);
        assert_eq!(disks[1].used_by, ["sdb1 is swap"]);
        let refusals = disks[2].refusals(Bytes(1));
        assert_eq!(refusals, ["it is write-protected", "its sectors have 4096 bytes, those of the image 512"]);
    }
}
