//! The container's root: its layers, memory above them, its volumes, and the kernel's own file systems.

use crate::{disks::Disks, error::Error};
use guest::Uuid;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use std::{
    ffi::CString,
    fs,
    path::{Path, PathBuf},
};

/// Where the container's root is.
pub(crate) const ROOT: &str = "/run/container";
const LAYERS: &str = "/run/layers";
const UPPER: &str = "/run/upper";

fn folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::io("create", path))
}

fn kernel(kind: &str, target: &Path, flags: MountFlags, options: &std::ffi::CStr) -> Result<(), Error> {
    folder(target)?;
    mount(kind, target, kind, flags, options).map_err(|e| Error::mount(kind, target.display(), e))
}

/// What this program itself needs.
pub(crate) fn first() -> Result<(), Error> {
    let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    kernel("devtmpfs", Path::new("/dev"), MountFlags::NOSUID, c"mode=0755")?;
    kernel("proc", Path::new("/proc"), plain, c"")?;
    kernel("sysfs", Path::new("/sys"), plain, c"")?;
    // overlayfs' upper layer lies here: devices and set-user-id bits are the container's own affair
    kernel("tmpfs", Path::new("/run"), MountFlags::empty(), c"mode=0755")
}

/// Mounts everything that the container sees.
pub(crate) fn root(disks: &Disks) -> Result<(), Error> {
    let device = |uuid: &Uuid| disks.devices.get(uuid).cloned().unwrap_or_default();
    let mut layers = Vec::new();
    for (n, uuid) in disks.spec.layers.iter().enumerate() {
        let target = PathBuf::from(format!("{LAYERS}/{n}"));
        folder(&target)?;
        let device = device(uuid);
        mount(&device, &target, "erofs", MountFlags::RDONLY | MountFlags::NODEV, None)
            .map_err(|e| Error::mount(device.display(), target.display(), e))?;
        layers.push(target);
    }
    let (upper, work) = (Path::new(UPPER).join("fs"), Path::new(UPPER).join("work"));
    [&upper, &work].into_iter().try_for_each(|path| folder(path))?;
    folder(Path::new(ROOT))?;
    let options = overlay_options(&layers, &upper, &work);
    let options = CString::new(options).map_err(|e| Error::mount("overlay", ROOT, e))?;
    mount("overlay", ROOT, "overlay", MountFlags::empty(), options.as_c_str())
        .map_err(|e| Error::mount("overlay", ROOT, e))?;
    for volume in &disks.spec.volumes {
        let target = below_root(&volume.target);
        folder(&target)?;
        let device = device(&volume.uuid);
        mount(&device, &target, "ext4", MountFlags::NODEV, None)
            .map_err(|e| Error::mount(device.display(), target.display(), e))?;
    }
    kernel_file_systems()
}

fn kernel_file_systems() -> Result<(), Error> {
    let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    kernel("proc", &below_root("proc"), plain, c"")?;
    kernel("sysfs", &below_root("sys"), plain | MountFlags::RDONLY, c"")?;
    kernel("cgroup2", &below_root("sys/fs/cgroup"), plain, c"")?;
    // the same devices as this program's
    folder(&below_root("dev"))?;
    mount_bind("/dev", below_root("dev")).map_err(|e| Error::mount("/dev", "the container's /dev", e))?;
    kernel(
        "devpts",
        &below_root("dev/pts"),
        MountFlags::NOSUID | MountFlags::NOEXEC,
        c"mode=0620,ptmxmode=0666,gid=5",
    )?;
    kernel("tmpfs", &below_root("dev/shm"), MountFlags::NOSUID | MountFlags::NODEV, c"mode=1777")?;
    kernel("tmpfs", &below_root("tmp"), MountFlags::NOSUID | MountFlags::NODEV, c"mode=1777")?;
    kernel("tmpfs", &below_root("run"), MountFlags::NOSUID | MountFlags::NODEV, c"mode=0755")
}

/// A path of the container, as seen from here.
pub(crate) fn below_root(path: &str) -> PathBuf {
    Path::new(ROOT).join(path.trim_start_matches('/'))
}

/// `layers` are bottom first, as in an image; overlayfs wants the top first.
fn overlay_options(layers: &[PathBuf], upper: &Path, work: &Path) -> String {
    let top_first: Vec<_> = layers.iter().rev().map(|p| p.display().to_string()).collect();
    format!("lowerdir={},upperdir={},workdir={}", top_first.join(":"), upper.display(), work.display())
}

/// Takes everything off the volumes, so that they are whole when the power goes. What is still in use is at least synced.
pub(crate) fn flush() {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let volumes = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (_, target, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "ext4").then(|| target.to_owned())
    });
    for target in volumes.collect::<Vec<_>>().into_iter().rev() {
        if let Err(e) = unmount(&target, UnmountFlags::empty()) {
            eprintln!("guest-init: cannot unmount {target}: {e}");
        }
    }
    rustix::fs::sync();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_layer_comes_first_in_an_overlay() {
        let layers = ["/run/layers/0", "/run/layers/1"].map(PathBuf::from);
        let options = overlay_options(&layers, Path::new("/u"), Path::new("/w"));
        assert_eq!(options, "lowerdir=/run/layers/1:/run/layers/0,upperdir=/u,workdir=/w");
    }

    #[test]
    fn a_path_of_the_container_stays_below_its_root() {
        assert_eq!(below_root("/var/lib"), Path::new("/run/container/var/lib"));
        assert_eq!(below_root("//etc"), Path::new("/run/container/etc"));
    }
}
