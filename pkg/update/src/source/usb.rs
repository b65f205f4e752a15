//! The first removable medium that has updates: a folder `evek-updates` or a tar file in its root. It is mounted read-only, for
//! as long as the update takes.

use super::{Source, files};
use crate::{error::Error, paths::Paths};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::{
    fs,
    io::Read,
    ops::Range,
    path::{Path, PathBuf},
};
use types::{Arch, Digest, Flavour};

const DEVICES: &str = "/sys/class/block";
const FOLDER: &str = "evek-updates";
/// File systems that sticks have.
const KINDS: [&str; 4] = ["vfat", "exfat", "ext4", "iso9660"];

pub(crate) struct Usb {
    // dropped first: files are open below the mount
    source: Box<dyn Source>,
    _mounted: Mounted,
}

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // a medium that was pulled out; the next start knows nothing of it
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

impl Usb {
    pub(crate) fn find(paths: &Paths) -> Result<Self, Error> {
        let mut seen = Vec::new();
        for name in devices(paths)? {
            let Some(mounted) = open(&Path::new("/dev").join(&name), &paths.media) else { continue };
            match updates(&mounted.0) {
                Some(path) => return Ok(Self { source: files::open(&path)?, _mounted: mounted }),
                None => seen.push(name),
            }
        }
        let found = if seen.is_empty() { "nothing that can be read".to_owned() } else { seen.join(", ") };
        let problem = format!("no medium has a folder {FOLDER} or a tar file; there is {found}");
        Err(Error::Source { address: "usb".to_owned(), problem })
    }
}

/// Names of disks and partitions that are not the device's own disk.
fn devices(paths: &Paths) -> Result<Vec<String>, Error> {
    let own = fs::canonicalize(&paths.disk).map_err(Error::io("find", &paths.disk))?;
    let own = own.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folder = Path::new(DEVICES);
    let mut names = Vec::new();
    for item in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let name = item.map_err(Error::io("read", folder))?.file_name().to_string_lossy().into_owned();
        let at = fs::canonicalize(folder.join(&name)).unwrap_or_default();
        let is_own = name == own || at.parent().is_some_and(|disk| disk.ends_with(&own));
        let is_medium = !["dm-", "loop", "nbd", "ram", "zram"].iter().any(|start| name.starts_with(start));
        if is_medium && !is_own {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn open(device: &Path, at: &Path) -> Option<Mounted> {
    fs::create_dir_all(at).ok()?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mounted = KINDS.iter().any(|kind| mount(device, at, *kind, flags, None).is_ok());
    mounted.then(|| Mounted(at.to_owned()))
}

fn updates(at: &Path) -> Option<PathBuf> {
    let folder = at.join(FOLDER);
    if folder.join("index.json").exists() {
        return Some(folder);
    }
    let mut files: Vec<_> = fs::read_dir(at).ok()?.filter_map(|item| Some(item.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "tar"));
    files.sort();
    files.pop()
}

impl Source for Usb {
    fn address(&self) -> String {
        self.source.address()
    }

    fn manifest(&self, flavour: Flavour, arch: Arch) -> Result<Vec<u8>, Error> {
        self.source.manifest(flavour, arch)
    }

    fn open(&self, blob: &Digest, range: Range<u64>) -> Result<Box<dyn Read + '_>, Error> {
        self.source.open(blob, range)
    }
}
