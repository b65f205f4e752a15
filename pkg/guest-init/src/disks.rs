//! The disks that make the container, found by their content.

use crate::{error::Error, uevent::Events};
use guest::{Content, PROBED, SPEC_DISK, Spec, Uuid};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const BLOCK_DEVICES: &str = "/sys/class/block";
/// Virtual disks appear at once; an emulated machine on a busy host needs more time.
const WITHIN: Duration = Duration::from_secs(60);

/// The disks of this machine.
#[derive(Debug)]
pub(crate) struct Disks {
    /// The device of the spec.
    pub(crate) spec_disk: PathBuf,
    /// The spec.
    pub(crate) spec: Spec,
    /// The devices of layers and volumes.
    pub(crate) devices: BTreeMap<Uuid, PathBuf>,
}

impl Disks {
    /// The device of a layer or volume; [`wait`](Self::wait) has found all of them.
    pub(crate) fn device(&self, uuid: Uuid) -> PathBuf {
        self.devices.get(&uuid).cloned().unwrap_or_default()
    }

    /// Waits until the spec and every disk that it names are there.
    pub(crate) fn wait(events: &Events) -> Result<Self, Error> {
        let begin = Instant::now();
        loop {
            let (missing, seen) = match look()? {
                Found { spec: Some((spec_disk, spec)), devices, seen } => {
                    let missing: Vec<String> =
                        wanted(&spec).filter(|uuid| !devices.contains_key(uuid)).map(|u| u.to_string()).collect();
                    if missing.is_empty() {
                        return Ok(Self { spec_disk, spec, devices });
                    }
                    (missing.join(", "), seen)
                }
                Found { seen, .. } => ("the spec disk".to_owned(), seen),
            };
            let left = WITHIN.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return Err(Error::NoDisk { seconds: WITHIN.as_secs(), missing, seen: seen.join(", ") });
            }
            events.wait(left)?;
        }
    }
}

fn wanted(spec: &Spec) -> impl Iterator<Item = Uuid> {
    spec.layers.iter().copied().chain(spec.volumes.iter().map(|v| v.uuid))
}

#[derive(Default)]
struct Found {
    spec: Option<(PathBuf, Spec)>,
    devices: BTreeMap<Uuid, PathBuf>,
    /// The content of every disk, for the message.
    seen: Vec<String>,
}

fn look() -> Result<Found, Error> {
    let mut found = Found::default();
    for item in fs::read_dir(BLOCK_DEVICES).map_err(Error::io("read", BLOCK_DEVICES))? {
        let item = item.map_err(Error::io("read", BLOCK_DEVICES))?;
        let name = item.file_name().to_string_lossy().into_owned();
        let device = Path::new("/dev").join(&name);
        // a device that has just come may not be readable yet: the kernel sends another event when it is
        let Ok(head) = head(&device, PROBED) else { continue };
        let content = Content::of(&head);
        found.seen.push(format!("{name}: {content:?}"));
        match content {
            Content::Spec => {
                let bytes = head_of_spec(&device)?;
                found.spec = Some((device, Spec::from_disk(&bytes)?));
            }
            Content::Erofs(uuid) | Content::Ext4(uuid) => drop(found.devices.insert(uuid, device)),
            Content::Other => {}
        }
    }
    Ok(found)
}

fn head_of_spec(device: &Path) -> Result<Vec<u8>, Error> {
    head(device, SPEC_DISK as usize / 2).map_err(Error::io("read", device))
}

fn head(device: &Path, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    fs::File::open(device)?.read_exact(&mut bytes)?;
    Ok(bytes)
}
