//! The overlay over the disk image, written to before the machine starts.

use super::{OVERLAY, text};
use crate::{
    Change, Error, Machine,
    tools::{Call, Tools, Uses},
};
use disk::Placed;
use std::{fs, os::unix::fs::FileExt as _, path::Path};
use tree::{Entry, Tree, TreePath};
use types::Bytes;

/// Name within the sockets' folder of what is written to a partition.
const CONTENT: &str = "content.img";

/// Makes an overlay over the image that changes nothing yet.
pub(super) fn make_overlay(machine: &Machine, tools: &Tools, disk: &Path, dir: &Path) -> Result<(), Error> {
    let length = fs::metadata(disk).map_err(Error::io("look at", disk))?.len();
    let size = machine.disk_size.map_or(length, |s| s.0);
    if size < length {
        let reason = format!("a disk of {size} bytes is smaller than the image, which has {length}");
        return Err(Error::Disk { disk: disk.to_owned(), reason });
    }
    let (image, folder) = (Uses::disk(disk), Uses::machine(dir));
    let (backing, overlay) = (text(image.view()), text(&folder.view().join(OVERLAY)));
    let args = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", &backing, &overlay, &size.to_string()];
    tools.run(&Call::new("qemu-img", args).uses(image).uses(folder))
}

/// The overlay of a disk, to be written to before the machine starts.
pub(super) struct Overlay<'a> {
    pub(super) tools: &'a Tools,
    pub(super) disk: &'a Path,
    pub(super) dir: &'a Path,
    pub(super) scratch: &'a Path,
}

impl Overlay<'_> {
    /// Puts a CONFIG partition with these files there.
    pub(super) fn config(&self, files: &[(String, Vec<u8>)]) -> Result<(), Error> {
        let place = self.partition("CONFIG")?;
        config_image(&self.scratch.join(CONTENT), place.partition.size, files)?;
        self.write(place.start, place.partition.size)
    }

    pub(super) fn change(&self, change: &Change) -> Result<(), Error> {
        match change {
            Change::Content { label, file } => {
                let place = self.partition(label)?;
                let size = fs::copy(file, self.scratch.join(CONTENT)).map_err(Error::io("copy", file))?;
                if size > place.partition.size.0 {
                    return Err(self.bad(format!("{} does not fit its partition {label}", file.display())));
                }
                self.write(place.start, Bytes(size))
            }
            Change::Damage { label, at } => {
                let place = self.byte(label, *at)?;
                let mut byte = [0];
                let file = fs::File::open(self.disk).map_err(Error::io("open", self.disk))?;
                file.read_exact_at(&mut byte, place.0).map_err(Error::io("read", self.disk))?;
                self.io(&format!("write -q -P {} {} 1", byte[0] ^ 0xff, place.0))
            }
        }
    }

    /// Where a partition is.
    fn partition(&self, label: &str) -> Result<Placed, Error> {
        let file = fs::File::open(self.disk).map_err(Error::io("open", self.disk))?;
        let table = disk::gpt::read(&file).map_err(|e| self.bad(e.to_string()))?;
        table.by_label(label).cloned().ok_or_else(|| self.bad(format!("it has no partition with the label {label}")))
    }

    /// Where a byte of a partition is on the disk.
    fn byte(&self, label: &str, at: Bytes) -> Result<Bytes, Error> {
        let place = self.partition(label)?;
        if at >= place.partition.size {
            return Err(self.bad(format!("its partition {label} has no byte {}", at.0)));
        }
        Ok(place.start + at)
    }

    /// Writes the file [`CONTENT`], of this size.
    fn write(&self, at: Bytes, size: Bytes) -> Result<(), Error> {
        let file = Uses::sockets(self.scratch).view().join(CONTENT);
        self.io(&format!("write -q -s {} {at} {size}", file.display(), at = at.0, size = size.0))
    }

    fn io(&self, command: &str) -> Result<(), Error> {
        // qemu-io splits its commands at blanks and knows no quotes, so the file is not in a folder of the user's naming.
        let (folder, sockets) = (Uses::machine(self.dir), Uses::sockets(self.scratch));
        let overlay = text(&folder.view().join(OVERLAY));
        let call = Call::new("qemu-io", ["-f", "qcow2", "-c", command, &overlay]);
        self.tools.run(&call.uses(Uses::disk(self.disk)).uses(folder).uses(sockets))
    }

    fn bad(&self, reason: String) -> Error {
        Error::Disk { disk: self.disk.to_owned(), reason }
    }
}

/// Makes the FAT volume that becomes the partition.
fn config_image(image: &Path, size: Bytes, files: &[(String, Vec<u8>)]) -> Result<(), Error> {
    let bad = |problem: String| Error::Config { problem };
    let mut tree = Tree::default();
    for (path, bytes) in files {
        let path = TreePath::new(path).map_err(|e| bad(e.to_string()))?;
        tree.insert(path, Entry::file(0o644, bytes.clone())).map_err(|e| bad(e.to_string()))?;
    }
    let volume = disk::fat::Volume { size, label: "CONFIG".to_owned(), id: 0 };
    let out = fs::File::create(image).map_err(Error::io("write", image))?;
    disk::fat::write(&out, &volume, &tree).map_err(|e| bad(e.to_string()))
}
