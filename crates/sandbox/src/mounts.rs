//! The mount table, as far as the sandbox needs it: which mounts lie where, and making them read-only.

use rustix::mount::MountFlags;
use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

/// One line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) point: PathBuf,
    pub(crate) flags: MountFlags,
}

/// Reads the table. A line that is not understood is left out.
pub(crate) fn parse(text: &str) -> Vec<Mount> {
    let line = |line: &str| {
        let mut fields = line.split(' ').skip(4);
        let point = PathBuf::from(OsString::from_vec(unescape(fields.next()?)));
        Some(Mount { point, flags: flags(fields.next()?) })
    };
    text.lines().filter_map(line).collect()
}

/// The flags of a mount that a remount must repeat: an unprivileged one may not clear them (mount_namespaces(7)).
fn flags(options: &str) -> MountFlags {
    let of = |option| match option {
        "ro" => MountFlags::RDONLY,
        "nosuid" => MountFlags::NOSUID,
        "nodev" => MountFlags::NODEV,
        "noexec" => MountFlags::NOEXEC,
        "noatime" => MountFlags::NOATIME,
        "nodiratime" => MountFlags::NODIRATIME,
        "relatime" => MountFlags::RELATIME,
        _ => MountFlags::empty(),
    };
    options.split(',').map(of).fold(MountFlags::empty(), |all, one| all | one)
}

/// `\040` and its like, as the kernel writes blanks in paths.
fn unescape(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let octal =
            bytes.get(i + 1..i + 4).filter(|d| bytes[i] == b'\\' && d.iter().all(|c| (b'0'..=b'7').contains(c)));
        match octal {
            Some(d) => {
                out.push(d.iter().fold(0u8, |n, c| n.wrapping_mul(8).wrapping_add(c - b'0')));
                i += 4;
            }
            None => {
                out.push(bytes[i]);
                i += 1;
            }
        }
    }
    out
}

/// Paths, each with whether everything below it is writable. Of several paths above a mount point the deepest decides.
#[derive(Debug, Default)]
pub(crate) struct Paths(Vec<(PathBuf, bool)>);

impl Paths {
    pub(crate) fn add(&mut self, place: PathBuf, writable: bool) {
        self.0.push((place, writable));
    }

    /// Whether a mount point must be made read-only. Of two equal paths the later one decides, as with mounts.
    pub(crate) fn read_only(&self, point: &Path) -> bool {
        let above = self.0.iter().filter(|(place, _)| point.starts_with(place));
        above.max_by_key(|(place, _)| place.components().count()).is_some_and(|(_, writable)| !writable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_table_is_read_with_blanks_and_flags() {
        let text = "36 35 98:0 /mnt1 /mnt\\040two rw,noatime,nosuid master:1 - ext3 /dev/root rw\nodd\n\
                    37 35 98:0 / / ro,relatime - tmpfs tmpfs rw";
        let found = parse(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].point, Path::new("/mnt two"));
        assert_eq!(found[0].flags, MountFlags::NOATIME | MountFlags::NOSUID);
        assert_eq!(found[1].flags, MountFlags::RDONLY | MountFlags::RELATIME);
    }

    #[test]
    fn the_deepest_place_decides() {
        let mut places = Paths::default();
        for (place, writable) in [("/r", false), ("/r/src", false), ("/r/src/target", true), ("/r/tmp", true)] {
            places.add(place.into(), writable);
        }
        let cases = [("/r", true), ("/r/usr/x", true), ("/r/src/sub", true), ("/r/src/target/deep", false)];
        for (point, read_only) in cases.into_iter().chain([("/r/tmp", false), ("/elsewhere", false), ("/rx", false)]) {
            assert_eq!(places.read_only(Path::new(point)), read_only, "{point}");
        }
    }
}
