//! The container's root: its layers, memory above them, and the kernel's own file systems.

use crate::{disks::Disks, error::Error};
use guest::Uuid;
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2},
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount},
};
use std::{
    ffi::{CStr, CString},
    fs,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

/// The container's root.
pub(crate) const ROOT: &str = "/run/container";
const LAYERS: &str = "/run/layers";
const UPPER: &str = "/run/upper";

fn folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::io("create", path))
}

fn kernel(kind: &str, target: &Path, flags: MountFlags, options: &CStr) -> Result<(), Error> {
    folder(target)?;
    mount(kind, target, kind, flags, options).map_err(|e| Error::mount(kind, target.display(), e))
}

/// Mounts the file systems that this program needs.
pub(crate) fn first() -> Result<(), Error> {
    let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    kernel("devtmpfs", Path::new("/dev"), MountFlags::NOSUID, c"mode=0755")?;
    kernel("proc", Path::new("/proc"), plain, c"")?;
    kernel("sysfs", Path::new("/sys"), plain, c"")?;
    // overlayfs' upper layer lies here, and the container may have devices and set-user-id bits in its root
    kernel("tmpfs", Path::new("/run"), MountFlags::empty(), c"mode=0755")
}

/// The container's root, in which paths are the container's: no link in an image or a volume leaves it.
pub(crate) struct Root(OwnedFd);

/// Mounts the layers, and memory above them.
pub(crate) fn overlay(disks: &Disks) -> Result<Root, Error> {
    let device = |uuid: &Uuid| disks.device(*uuid);
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
    Root::open(Path::new(ROOT))
}

impl Root {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let root = openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        root.map(Self).map_err(|e| Error::io("open", path)(e.into()))
    }

    /// Opens a path of the container.
    pub(crate) fn find(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    /// Opens a folder of the container, and makes it where it is missing.
    pub(crate) fn folder(&self, path: &Path) -> Result<OwnedFd, Error> {
        let (mut at, mut here) = (self.find(Path::new(""), OFlags::PATH), PathBuf::new());
        for part in path.iter() {
            here.push(part);
            at = match (at, self.find(&here, OFlags::PATH | OFlags::DIRECTORY)) {
                (Ok(at), Err(Errno::NOENT)) => mkdirat(&at, part, Mode::from_raw_mode(0o755))
                    .and_then(|()| self.find(&here, OFlags::PATH | OFlags::DIRECTORY)),
                (Ok(_), found) => found,
                (Err(e), _) => Err(e),
            };
        }
        at.map_err(|e| Error::io("create in the container", Path::new("/").join(path))(e.into()))
    }

    fn kernel(&self, kind: &str, target: &str, flags: MountFlags, options: &CStr) -> Result<(), Error> {
        let folder = self.folder(Path::new(target))?;
        mount(kind, by_number(&folder), kind, flags, options).map_err(|e| Error::mount(kind, target, e))
    }

    /// Mounts the kernel's file systems and the container's own tmpfs. Volumes come afterwards, so that none is hidden.
    pub(crate) fn kernel_file_systems(&self) -> Result<(), Error> {
        let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        self.kernel("proc", "proc", plain, c"")?;
        self.kernel("sysfs", "sys", plain | MountFlags::RDONLY, c"")?;
        self.kernel("cgroup2", "sys/fs/cgroup", plain, c"")?;
        // the same devices as this program's
        let dev = self.folder(Path::new("dev"))?;
        mount_bind("/dev", by_number(&dev)).map_err(|e| Error::mount("/dev", "the container's /dev", e))?;
        let terminals = MountFlags::NOSUID | MountFlags::NOEXEC;
        self.kernel("devpts", "dev/pts", terminals, c"mode=0620,ptmxmode=0666,gid=5")?;
        let memory = MountFlags::NOSUID | MountFlags::NODEV;
        self.kernel("tmpfs", "dev/shm", memory, c"mode=1777")?;
        self.kernel("tmpfs", "tmp", memory, c"mode=1777")?;
        self.kernel("tmpfs", "run", memory, c"mode=0755")
    }
}

/// The path by which the kernel finds an open file (`proc_pid_fd(5)`).
pub(crate) fn by_number(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// A path of the container, as this program sees it.
pub(crate) fn below_root(path: &str) -> PathBuf {
    Path::new(ROOT).join(path.trim_start_matches('/'))
}

/// `layers` are bottom first, as in an image; overlayfs wants the top first.
fn overlay_options(layers: &[PathBuf], upper: &Path, work: &Path) -> String {
    let top_first: Vec<_> = layers.iter().rev().map(|p| p.display().to_string()).collect();
    format!("lowerdir={},upperdir={},workdir={}", top_first.join(":"), upper.display(), work.display())
}

/// Unmounts the volumes, so that they are clean. One that is still in use is at least synced.
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
    fn a_path_of_the_container_is_below_its_root() {
        assert_eq!(below_root("/var/lib"), Path::new("/run/container/var/lib"));
        assert_eq!(below_root("//etc"), Path::new("/run/container/etc"));
    }

    #[test]
    fn links_of_the_container_stay_in_its_root() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |path: &str| dir.path().join(path);
        for path in ["root/run", "root/var", "run"] {
            fs::create_dir_all(at(path)).expect("a folder");
        }
        std::os::unix::fs::symlink("/run", at("root/var/run")).expect("a link");
        std::os::unix::fs::symlink("../../run", at("root/out")).expect("a link");
        let root = Root::open(&at("root")).unwrap_or_else(|e| panic!("{e}"));
        for (path, real) in [("var/run/x", "root/run/x"), ("out/y", "root/run/y"), ("new/deep", "root/new/deep")] {
            let folder = root.folder(Path::new(path)).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(fs::read_link(by_number(&folder)).expect("a path"), at(real), "{path}");
        }
        assert_eq!(fs::read_dir(at("run")).expect("a folder").count(), 0, "nothing is made outside");
        fs::write(at("root/file"), "").expect("a file");
        assert!(root.folder(Path::new("file/x")).is_err());
    }
}
