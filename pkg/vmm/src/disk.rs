//! Disks of machines, and the other files that a machine's declaration names.

use crate::{
    error::Error,
    files::{self, empty, grow, program, size_text},
    hypervisor,
    paths::Paths,
    qcow2,
};
use app::{DiskFormat, Located};
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// A declared file of [`app::IMAGES`].
struct Declared<'a> {
    name: &'a Located<String>,
    /// Relative to the folder.
    inner: PathBuf,
    path: PathBuf,
}

impl<'a> Declared<'a> {
    fn new(name: &'a Located<String>, paths: &Paths) -> Self {
        let clean: PathBuf = Path::new(name.as_str()).components().collect();
        let inner = clean.strip_prefix(app::IMAGES).unwrap_or(&clean).to_owned();
        Self { name, path: paths.images.join(&inner), inner }
    }

    fn refused(&self, what: impl ToString) -> Error {
        Error::Declared { at: self.name.at.clone(), what: format!("{}: {}", self.name, what.to_string()) }
    }

    /// Opens it; `None` where there is no such file.
    fn open(&self, paths: &Paths) -> Result<Option<File>, Error> {
        let Some(file) = files::open_beneath(&paths.images, &self.inner).map_err(|e| self.refused(e))? else {
            return Ok(None);
        };
        let is_file = file.metadata().map_err(|e| self.refused(e))?.is_file();
        if is_file { Ok(Some(file)) } else { Err(self.refused("it is no file")) }
    }
}

/// A kernel or an initramfs: it is there, and in its folder.
pub(crate) fn existing(name: &Located<String>, paths: &Paths) -> Result<PathBuf, Error> {
    let declared = Declared::new(name, paths);
    match declared.open(paths)? {
        Some(_) => Ok(declared.path),
        None => Err(declared.refused("there is no such file: copy it there")),
    }
}

/// A disk as it is declared: vmm makes a missing one, and grows a smaller one.
pub(crate) fn ready(disk: &app::Disk, paths: &Paths) -> Result<hypervisor::Disk, Error> {
    let declared = Declared::new(&disk.file, paths);
    match (declared.open(paths)?, &disk.size) {
        (None, None) => {
            return Err(
                declared.refused("there is no such disk: copy it there, or set `size` to have an empty one made")
            );
        }
        (None, Some(size)) => {
            files::make_folders_beneath(&paths.images, &declared.inner).map_err(|e| declared.refused(e))?;
            files::replace(&declared.path, |fresh| make(disk.format, fresh, size.0))?;
        }
        (Some(file), size) => {
            let found = size_of(&file, disk.format).map_err(|e| match e {
                Unfit::Io(e) => declared.refused(e),
                Unfit::Format(what) => declared.refused(what),
            })?;
            if let Some(size) = size {
                fit(disk.format, &declared, found, size)?;
            }
        }
    }
    Ok(hypervisor::Disk { file: declared.path, format: disk.format, read_only: disk.read_only })
}

enum Unfit {
    Io(io::Error),
    Format(String),
}

/// The size of the disk in a file that has the declared format and refers to no other file.
fn size_of(file: &File, format: DiskFormat) -> Result<u64, Unfit> {
    let head = files::head(file, qcow2::HEAD).map_err(Unfit::Io)?;
    match format {
        DiskFormat::Qcow2 => match qcow2::Header::parse(&head) {
            Ok(header) => Ok(header.size),
            Err(refusal @ qcow2::Refusal::NoQcow2) => Err(Unfit::Format(format!(
                "{refusal}, as `format: qcow2` declares: write `format: raw`, or convert it with `qemu-img convert -O qcow2`"
            ))),
            Err(refusal) => Err(Unfit::Format(refusal.to_string())),
        },
        DiskFormat::Raw if qcow2::is_qcow2(&head) => Err(Unfit::Format(
            "the file is a qcow2, and is declared with `format: raw`: write `format: qcow2`, or convert it with `qemu-img \
             convert -O raw`"
                .to_owned(),
        )),
        DiskFormat::Raw => file.metadata().map(|meta| meta.len()).map_err(Unfit::Io),
    }
}

fn make(format: DiskFormat, fresh: &Path, size: u64) -> Result<(), Error> {
    match format {
        DiskFormat::Raw => empty(fresh, size),
        DiskFormat::Qcow2 => {
            program("qemu-img", &["create", "-q", "-f", "qcow2", &fresh.display().to_string(), &size.to_string()])
        }
    }
}

/// Grows a disk to its declared size.
fn fit(format: DiskFormat, declared: &Declared<'_>, found: u64, size: &Located<types::Bytes>) -> Result<(), Error> {
    if found > size.0 {
        return Err(smaller("disk", &declared.name.value, found, size));
    }
    if found == size.0 {
        return Ok(());
    }
    eprintln!("{}: grows from {} to {}", declared.name, size_text(found), size_text(size.0));
    match format {
        DiskFormat::Raw => grow(&declared.path, size.0),
        DiskFormat::Qcow2 => {
            let path = declared.path.display().to_string();
            program("qemu-img", &["resize", "-q", "-f", "qcow2", &path, &size.0.to_string()])
        }
    }
}

/// The error for a declared size that would cut data off.
pub(crate) fn smaller(what: &str, name: &str, found: u64, size: &Located<types::Bytes>) -> Error {
    let (found, declared) = (size_text(found), size_text(size.0));
    let what = format!(
        "the {what} {name} has {found} and is declared with {declared}; vmm makes no {what} smaller: write `size: {found}`, or \
         copy its data to a new {what}"
    );
    Error::Declared { at: size.at.clone(), what }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
