//! From the initramfs to the root file system.

use crate::{error::Error, log};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, statat, unlinkat},
    io::Errno,
    mount::mount_move,
    process::{chdir, chroot},
};
use std::{
    convert::Infallible,
    env,
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::Path,
    process::Command,
};

/// Mounts that systemd takes over.
const KEPT: [&str; 4] = ["dev", "proc", "sys", "run"];

/// Makes `root` the root of everything and becomes `init`, with the arguments that the kernel gave this program. The
/// initramfs's files are deleted to free their memory.
pub(crate) fn root(root: &Path, init: &str) -> Result<Infallible, Error> {
    let old = File::open("/").map_err(|source| Error::Io { action: "open", path: "/".into(), source })?;
    for name in KEPT {
        let (from, to) = (Path::new("/").join(name), root.join(name));
        mount_move(&from, &to).map_err(|e| Error::mount(from.display(), to.display(), e))?;
    }
    let failed = |action| move |e: Errno| Error::Io { action, path: root.to_owned(), source: e.into() };
    chdir(root).map_err(failed("enter"))?;
    mount_move(".", "/").map_err(failed("move to / the mount"))?;
    chroot(".").map_err(failed("change the root to"))?;
    chdir("/").map_err(failed("enter"))?;
    free(old);
    let source = Command::new(init).args(env::args_os().skip(1)).exec();
    Err(Error::Io { action: "run", path: init.into(), source })
}

/// Deletes what is in the initramfs. What cannot be deleted stays, and takes memory.
fn free(old: File) {
    let result = fstat(&old).and_then(|stat| delete_in(old.as_fd(), stat.st_dev));
    if let Err(e) = result {
        log::warning(&format!("cannot free the initramfs: {}", io::Error::from(e)));
    }
}

/// Deletes everything in `folder` that is on the file system `device`.
fn delete_in(folder: impl AsFd, device: u64) -> rustix::io::Result<()> {
    let entries = rustix::fs::Dir::read_from(&folder)?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if [c".", c".."].contains(&name) {
            continue;
        }
        let stat = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if stat.st_dev != device {
            continue;
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let below: OwnedFd = openat(&folder, name, flags, Mode::empty())?;
            delete_in(below, device)?;
            // a mount point in use stays
            match unlinkat(&folder, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::BUSY | Errno::NOTEMPTY) => {}
                Err(e) => return Err(e),
            }
        } else {
            unlinkat(&folder, name, AtFlags::empty())?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn everything_goes_and_links_are_not_followed() {
        let dir = env::temp_dir().join(format!("evek-switch-{}", std::process::id()));
        let (old, other) = (dir.join("old"), dir.join("other"));
        fs::create_dir_all(old.join("a/b")).unwrap();
        fs::create_dir_all(&other).unwrap();
        fs::write(old.join("a/b/file"), "x").unwrap();
        fs::write(other.join("kept"), "x").unwrap();
        symlink(&other, old.join("link")).unwrap();
        let device = rustix::fs::statat(rustix::fs::CWD, &old, AtFlags::empty()).unwrap().st_dev;
        delete_in(File::open(&old).unwrap(), device + 1).unwrap();
        assert!(old.join("a/b/file").exists(), "another file system is left alone");
        delete_in(File::open(&old).unwrap(), device).unwrap();
        assert_eq!(fs::read_dir(&old).unwrap().count(), 0);
        assert!(other.join("kept").exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
