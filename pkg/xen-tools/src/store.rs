//! xenstored finds the kernel's side of the store by two files of xenfs. A container has its own /proc, on which the
//! runtime refuses to mount anything except a few files; from inside, the mount is an ordinary one.

use rustix::{
    io::Errno,
    mount::{MountFlags, mount},
};
use std::{
    convert::Infallible,
    ffi::{CStr, OsString},
    io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::Command,
};

const XENFS: &str = "/proc/xen";
/// The kernel's page of the store, which exists after xenfs is mounted.
const KERNEL_PAGE: &str = "/proc/xen/xsd_kva";

/// Why xenstored cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The kernel does not run under Xen.
    #[error("{XENFS} is not there: this kernel was not started by Xen")]
    NoXen,
    /// The mount was refused.
    #[error("cannot mount xenfs on {XENFS}: {0}; is the module xenfs loaded?")]
    Mount(Errno),
    /// The program cannot be started.
    #[error("cannot run xenstored: {0}")]
    Exec(io::Error),
}

/// Becomes xenstored with these arguments.
pub(crate) fn run(args: impl Iterator<Item = OsString>) -> Result<Infallible, Error> {
    if !Path::new(XENFS).is_dir() {
        return Err(Error::NoXen);
    }
    if !Path::new(KERNEL_PAGE).exists() {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("xenfs", XENFS, "xenfs", flags, None::<&CStr>).map_err(Error::Mount)?;
    }
    Err(Error::Exec(Command::new("xenstored").args(args).exec()))
}
