//! The container's volumes: where they are mounted, in which order, how large they are and whom they belong to.
//!
//! ```text
//! image: real path, owner and mode of each target ─► /proc, /sys, /dev, tmpfs ─► volumes, outer ones first
//!                                                                                   └─► each: grow, own
//! ```
//! A new volume belongs to its declared owner; else it has owner and mode of the image's folder at its target; else, where the
//! image has no such folder, it belongs to the container's user. That is Docker's rule for named volumes. Unlike Docker, a new
//! volume gets no copies of the image's files.

use crate::{
    disks::Disks,
    error::Error,
    mounts::{self, Root, by_number},
    user::{self, User},
};
use guest::Volume;
use rustix::{
    fs::{
        FileType, Gid, Mode, OFlags, Stat, Uid, XattrFlags, ext4_ioc_resize_fs, fchmod, fchown, fgetxattr, fsetxattr,
        fstat, fstatvfs,
    },
    io::Errno,
    mount::{MountFlags, mount},
};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{Seek as _, SeekFrom},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

/// Marks a volume that has its owner; the owner is set once, and then the container's affair.
const OWNED: &str = "trusted.evek.owned";

/// A volume and its target in the image.
struct Placed<'a> {
    volume: &'a Volume,
    /// Without links, relative to the container's root.
    path: PathBuf,
    /// Owner and mode of the image's folder.
    image: Option<Owner>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    uid: u32,
    gid: u32,
    mode: u32,
}

/// Mounts all volumes, after `inner` has mounted the kernel's file systems over the image.
pub(crate) fn mount_all(
    disks: &Disks,
    root: &Root,
    user: &User,
    inner: impl FnOnce() -> Result<(), Error>,
) -> Result<(), Error> {
    let placed = disks.spec.volumes.iter().map(|volume| find(root, volume)).collect::<Result<_, _>>()?;
    let placed = order(placed)?;
    inner()?;
    for placed in placed {
        let device = disks.device(placed.volume.uuid);
        let target = root.folder(&placed.path)?;
        mount(&device, by_number(&target), "ext4", MountFlags::NODEV, None)
            .map_err(|e| Error::mount(device.display(), &placed.volume.target, e))?;
        let failed = |e: Errno| Error::io("use the volume at", &placed.volume.target)(e.into());
        let top = root.find(&placed.path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed)?;
        if let Err(e) = grow(&top, &device) {
            eprintln!("guest-init: the volume at {} cannot grow: {e}", placed.volume.target);
        }
        if fgetxattr(&top, OWNED, &mut [0; 1]) == Err(Errno::NODATA) {
            own(&top, &placed, user)?;
        }
    }
    Ok(())
}

/// Looks a volume's target up in the image.
fn find<'a>(root: &Root, volume: &'a Volume) -> Result<Placed<'a>, Error> {
    let refused = |what: String| Error::Volume { target: volume.target.clone(), what };
    let target = Path::new(volume.target.trim_start_matches('/'));
    let mut existing = target;
    let found = loop {
        match root.find(existing, OFlags::PATH) {
            Err(Errno::NOENT) => existing = existing.parent().unwrap_or(Path::new("")),
            found => break found.map_err(|e| refused(e.to_string()))?,
        }
    };
    let status = fstat(&found).map_err(|e| refused(e.to_string()))?;
    if FileType::from_raw_mode(status.st_mode) != FileType::Directory {
        return Err(refused("the image has a file there".to_owned()));
    }
    let rest = target.strip_prefix(existing).unwrap_or(target);
    let path = real_path(&found).map_err(|e| refused(e.to_string()))?.join(rest);
    let image = rest.as_os_str().is_empty().then(|| Owner::of(&status));
    Ok(Placed { volume, path: path.iter().collect(), image })
}

/// The path of an open folder of the container, relative to its root.
fn real_path(folder: &OwnedFd) -> std::io::Result<PathBuf> {
    let path = fs::read_link(by_number(folder))?;
    Ok(path.strip_prefix(mounts::ROOT).unwrap_or(&path).to_owned())
}

/// Outer volumes first. Links of the image may have led a target to a place that no declaration could name.
fn order(mut placed: Vec<Placed<'_>>) -> Result<Vec<Placed<'_>>, Error> {
    let mut paths = BTreeSet::new();
    for Placed { volume, path, .. } in &placed {
        let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
        let what = match parts[..] {
            [] => "a link of the image leads to the root".to_owned(),
            _ if !paths.insert(path.clone()) => "a link of the image leads to another volume".to_owned(),
            ["dev", "shm", ..] => continue,
            [first @ ("proc" | "sys" | "dev"), ..] => format!("a link of the image leads into /{first}"),
            _ => continue,
        };
        return Err(Error::Volume { target: volume.target.clone(), what });
    }
    placed.sort_by_key(|placed| placed.path.iter().count());
    Ok(placed)
}

/// Grows a mounted ext4 to the size of its device (kernel, `Documentation/filesystems/ext4/`, EXT4_IOC_RESIZE_FS).
fn grow(top: &OwnedFd, device: &Path) -> std::io::Result<()> {
    let length = File::open(device)?.seek(SeekFrom::End(0))?;
    let block = fstatvfs(top)?.f_frsize;
    // an ext4 that is large enough stays as it is
    Ok(ext4_ioc_resize_fs(top, length / block.max(1))?)
}

/// Sets owner and mode of a new volume.
fn own(top: &OwnedFd, placed: &Placed<'_>, user: &User) -> Result<(), Error> {
    let failed = |e: std::io::Error| Error::io("change the owner of the volume at", &placed.volume.target)(e);
    let status = fstat(top).map_err(|e| failed(e.into()))?;
    if is_new(top, &status).map_err(failed)? {
        let owner = match &placed.volume.owner {
            Some(text) => Some(user::find(Path::new(mounts::ROOT), text)?),
            None => None,
        };
        let Owner { uid, gid, mode } = choose(owner.as_ref(), placed.image, user);
        fchown(top, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
            .and_then(|()| fchmod(top, Mode::from_raw_mode(mode)))
            .map_err(|e| failed(e.into()))?;
    }
    fsetxattr(top, OWNED, b"1", XattrFlags::empty()).map_err(|e| failed(e.into()))
}

fn choose(declared: Option<&User>, image: Option<Owner>, user: &User) -> Owner {
    let of = |user: &User| Owner { uid: user.uid, gid: user.gid, mode: 0o755 };
    declared.map(of).or(image).unwrap_or_else(|| of(user))
}

/// Whether a volume is as `mke2fs` leaves it: empty, and root's.
fn is_new(top: &OwnedFd, status: &Stat) -> std::io::Result<bool> {
    for item in fs::read_dir(by_number(top))? {
        if item?.file_name() != "lost+found" {
            return Ok(false);
        }
    }
    Ok((status.st_uid, status.st_gid) == (0, 0))
}

impl Owner {
    const fn of(status: &Stat) -> Self {
        Self { uid: status.st_uid, gid: status.st_gid, mode: status.st_mode & 0o7777 }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use guest::Uuid;

    fn volumes(targets: &[&str]) -> Vec<Volume> {
        let volume = |target: &&str| Volume { uuid: Uuid([0; 16]), target: (*target).to_owned(), owner: None };
        targets.iter().map(volume).collect()
    }

    /// The order of volumes at these real paths, or what is said.
    fn ordered(paths: &[&str]) -> Result<Vec<String>, String> {
        let volumes = volumes(paths);
        let placed =
            volumes.iter().map(|volume| Placed { volume, path: PathBuf::from(&volume.target), image: None }).collect();
        let ordered = order(placed).map_err(|e| e.to_string())?;
        Ok(ordered.iter().map(|placed| placed.path.display().to_string()).collect())
    }

    #[test]
    fn outer_volumes_come_first_in_whatever_order_they_are_declared() {
        let expected = ["data", "tmp", "data/cache", "dev/shm", "data/cache/deep"];
        assert_eq!(ordered(&["data/cache/deep", "data", "data/cache", "tmp", "dev/shm"]).unwrap(), expected);
    }

    #[test]
    fn links_do_not_lead_a_volume_to_where_it_would_hide_the_system() {
        for (paths, expected) in [
            (&[""][..], "leads to the root"),
            (&["proc/x"], "leads into /proc"),
            (&["sys"], "leads into /sys"),
            (&["dev/pts"], "leads into /dev"),
            (&["run/x", "run/x"], "leads to another volume"),
            (&["dev/shm", "dev/shm"], "leads to another volume"),
        ] {
            let error = ordered(paths).unwrap_err();
            assert!(error.starts_with("volume at ") && error.contains(expected), "{paths:?}: {error}");
        }
    }

    #[test]
    fn a_target_is_looked_up_through_the_links_of_the_image() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("root");
        fs::create_dir_all(image.join("run/web")).unwrap();
        fs::create_dir_all(image.join("var")).unwrap();
        std::os::unix::fs::symlink("/run", image.join("var/run")).unwrap();
        fs::write(image.join("file"), "").unwrap();
        let root = Root::open(&image).unwrap();
        let found = |target: &str| {
            let volumes = volumes(&[target]);
            let placed = find(&root, &volumes[0]).map_err(|e| e.to_string())?;
            // in a test the root is elsewhere
            let path = placed.path.strip_prefix(&image).unwrap_or(&placed.path).display().to_string();
            Ok::<_, String>((path, placed.image.is_some()))
        };
        assert_eq!(found("/var/run/web").unwrap(), ("run/web".into(), true));
        assert_eq!(found("/var/run/new/deep").unwrap(), ("run/new/deep".into(), false));
        assert!(!found("/none/../x").unwrap().1);
        assert!(found("/file").unwrap_err().contains("the image has a file there"));
        assert!(found("/file/x").is_err());
    }

    #[test]
    fn a_new_volume_belongs_to_whom_it_is_declared_to_then_to_the_images_owner_then_to_the_user() {
        let user = |uid, gid| User { uid, gid, groups: vec![gid], home: "/".into() };
        let image = Owner { uid: 7, gid: 8, mode: 0o1777 };
        let (declared, process) = (user(5, 6), user(100, 101));
        let own = |uid, gid, mode| Owner { uid, gid, mode };
        assert_eq!(choose(Some(&declared), Some(image), &process), own(5, 6, 0o755));
        assert_eq!(choose(None, Some(image), &process), image);
        assert_eq!(choose(None, None, &process), own(100, 101, 0o755));
    }

    #[test]
    fn only_an_empty_volume_of_roots_is_new() {
        let dir = tempfile::tempdir().unwrap();
        let top: OwnedFd = File::open(dir.path()).unwrap().into();
        let status = |uid| {
            let mut status = fstat(&top).unwrap();
            (status.st_uid, status.st_gid) = (uid, 0);
            status
        };
        fs::create_dir(dir.path().join("lost+found")).unwrap();
        assert!(is_new(&top, &status(0)).unwrap());
        assert!(!is_new(&top, &status(100)).unwrap(), "it has an owner");
        fs::write(dir.path().join("data"), "").unwrap();
        assert!(!is_new(&top, &status(0)).unwrap());
    }
}
