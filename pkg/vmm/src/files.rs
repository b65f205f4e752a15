//! Files on P3: looked up without leaving a folder, and written whole.

use crate::error::Error;
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2},
    io::Errno,
};
use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
    process::Command,
};

/// Opens a file below a folder for reading; `None` where there is none. Links must not leave the folder.
pub(crate) fn open_beneath(folder: &Path, name: &Path) -> io::Result<Option<File>> {
    // a FIFO would make the caller wait
    match beneath(folder, name, OFlags::RDONLY | OFlags::NONBLOCK) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(leaves(e)),
    }
}

/// Makes the folders of a file below a folder. Links must not leave the folder.
pub(crate) fn make_folders_beneath(folder: &Path, name: &Path) -> io::Result<()> {
    let folders: Vec<&Path> = name.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
    for inner in folders.into_iter().rev() {
        match beneath(folder, inner, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(_) => {}
            Err(Errno::NOENT) => fs::create_dir(folder.join(inner))?,
            Err(e) => return Err(leaves(e)),
        }
    }
    Ok(())
}

fn beneath(folder: &Path, name: &Path, flags: OFlags) -> Result<File, Errno> {
    let folder = openat(CWD, folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    openat2(folder, name, flags | OFlags::CLOEXEC, Mode::empty(), resolve).map(File::from)
}

fn leaves(e: Errno) -> io::Error {
    match e {
        // openat2(2)
        Errno::XDEV => io::Error::other("it is a link that leaves this folder"),
        e => e.into(),
    }
}

/// The first bytes of a file, at most `length`.
pub(crate) fn head(file: &File, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a file in place of an older one. A power cut leaves the older or the new one.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let fresh = path.with_file_name(name);
    write(&fresh)?;
    let synced = File::open(&fresh).and_then(|file| file.sync_all());
    synced.and_then(|()| fs::rename(&fresh, path)).map_err(Error::io("write", path))?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Makes the names in a folder outlive a power cut.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), Error> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io("write", folder))
}

/// Makes an empty, sparse file.
pub(crate) fn empty(path: &Path, size: u64) -> Result<(), Error> {
    File::create(path).and_then(|file| file.set_len(size)).map_err(Error::io("write", path))
}

/// Makes a file longer; what is added is empty.
pub(crate) fn grow(path: &Path, size: u64) -> Result<(), Error> {
    let grown = File::options().write(true).open(path).and_then(|file| {
        file.set_len(size)?;
        file.sync_all()
    });
    grown.map_err(Error::io("grow", path))
}

/// Runs a program to its end.
pub(crate) fn program(name: &str, args: &[&str]) -> Result<(), Error> {
    let output = Command::new(name).args(args).output().map_err(Error::io("run", name))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Error::Program { program: format!("{name} {}", args.join(" ")), said })
}

/// A size as a declaration has it.
pub(crate) fn size_text(size: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = units.into_iter().find(|(_, unit)| size >= *unit && size.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{size}B"), |(name, unit)| format!("{}{name}", size / unit))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_in_their_folder() {
        let dir = tempfile::tempdir().unwrap();
        let images = dir.path().join("images");
        fs::create_dir_all(images.join("vendor")).unwrap();
        fs::create_dir(dir.path().join("vault")).unwrap();
        fs::write(dir.path().join("vault/key"), "secret").unwrap();
        fs::write(images.join("vendor/a"), "a").unwrap();
        symlink("vendor/a", images.join("inside")).unwrap();
        symlink("../vault/key", images.join("outside")).unwrap();
        symlink(dir.path().join("vault"), images.join("folder")).unwrap();
        symlink("/proc/self/fd/0", images.join("magic")).unwrap();
        let open = |name: &str| open_beneath(&images, Path::new(name));
        assert_eq!(head(&open("vendor/a").unwrap().unwrap(), 9).unwrap(), b"a");
        assert_eq!(head(&open("inside").unwrap().unwrap(), 9).unwrap(), b"a");
        assert!(open("none").unwrap().is_none());
        for name in ["outside", "folder/key", "folder/none", "magic", "../vault/key"] {
            let error = open(name).unwrap_err().to_string();
            assert_eq!(error, "it is a link that leaves this folder", "{name}");
        }
        make_folders_beneath(&images, Path::new("new/deep/file")).unwrap();
        assert!(images.join("new/deep").is_dir());
        assert!(make_folders_beneath(&images, Path::new("folder/new/file")).is_err());
        assert!(!dir.path().join("vault/new").exists());
    }

    #[test]
    fn a_size_is_written_as_it_is_declared() {
        assert_eq!(
            [4 << 30, 64 << 20, (64 << 20) + 1024, 1000, 1 << 40].map(size_text),
            ["4GiB", "64MiB", "65537KiB", "1000B", "1024GiB"]
        );
    }
}
