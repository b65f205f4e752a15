//! The firmware's variables, as the kernel shows them (UEFI 2.10 §8.2; kernel, `Documentation/filesystems/efivarfs.rst`).
//!
//! ```text
//! /sys/firmware/efi/efivars/<name>-<vendor>    attributes u32 │ value      one file a variable
//! ```
//! Where the folder is missing or empty there are no variables: the firmware has none, or nothing has mounted the file
//! system.
//!
//! Deliberately absent: the meaning of values, except the two that say whether Secure Boot is on. `sign::variable`
//! reads values of `db` and the like, and makes signed writes of them.

mod attributes;
mod name;

pub use attributes::Attributes;
pub use name::{Name, Vendor};
use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// Where they are mounted.
pub const FOLDER: &str = "/sys/firmware/efi/efivars";

/// How often a failed read is repeated. On a busy machine, firmware refuses a call now and then (seen: EINVAL for an
/// existing variable, from OVMF, which keeps its variables in system management mode).
const ATTEMPTS: usize = 3;

/// The content of a file; `None` for a missing file.
fn patiently(mut read: impl FnMut() -> io::Result<Vec<u8>>) -> io::Result<Option<Vec<u8>>> {
    let mut more = 0..ATTEMPTS;
    loop {
        match read() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(_) if more.next().is_some() => {}
            bytes => return bytes.map(Some),
        }
    }
}

/// Why a variable cannot be read or changed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct Error {
    /// The action that failed.
    pub action: &'static str,
    /// The variable's file, or the folder.
    pub path: PathBuf,
    /// The system's error.
    pub source: io::Error,
}

impl Error {
    fn new(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { action, path, source }
    }
}

/// An existing variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// How it is kept, and who may change it.
    pub attributes: Attributes,
    /// Its value.
    pub value: Vec<u8>,
}

/// The folder of the variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variables(PathBuf);

impl Default for Variables {
    fn default() -> Self {
        Self::at(FOLDER)
    }
}

impl Variables {
    /// The variables in another folder than [`FOLDER`], for tests.
    #[must_use]
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The file of a variable.
    #[must_use]
    pub fn path(&self, name: Name<'_>) -> PathBuf {
        self.0.join(name.to_string())
    }

    /// A variable; `None` if it does not exist.
    ///
    /// # Errors
    /// [`Error`], when firmware or kernel refuses to read an existing variable.
    pub fn read(&self, name: Name<'_>) -> Result<Option<Variable>, Error> {
        let path = self.path(name);
        let found = patiently(|| fs::read(&path)).map_err(Error::new("read", &path))?;
        let Some(bytes) = found else { return Ok(None) };
        // a shorter file belongs to a variable that nobody has written yet
        let parts = bytes.split_first_chunk();
        Ok(parts
            .map(|(attributes, value)| Variable { attributes: Attributes::from(*attributes), value: value.to_vec() }))
    }

    /// The value of a variable; empty if it does not exist, because no variable has an empty value (§8.2,
    /// `SetVariable`).
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn value(&self, name: Name<'_>) -> Result<Vec<u8>, Error> {
        Ok(self.read(name)?.map(|variable| variable.value).unwrap_or_default())
    }

    /// The names of a vendor's variables, in no order.
    ///
    /// # Errors
    /// [`Error`], when the folder cannot be read.
    pub fn names(&self, vendor: Vendor) -> Result<Vec<String>, Error> {
        let items = match fs::read_dir(&self.0) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            items => items.map_err(Error::new("read", &self.0))?,
        };
        let mut names = Vec::new();
        for item in items {
            let file = item.map_err(Error::new("read", &self.0))?.file_name();
            names.extend(vendor.name_in(&file.to_string_lossy()).map(str::to_owned));
        }
        Ok(names)
    }

    /// Makes or changes a variable. Writes nothing when the value is the same, because firmware's memory wears out.
    ///
    /// # Errors
    /// [`Error`]; the variable is unchanged.
    pub fn write(&self, name: Name<'_>, variable: &Variable) -> Result<(), Error> {
        if self.read(name).is_ok_and(|found| found.as_ref() == Some(variable)) {
            return Ok(());
        }
        let path = self.path(name);
        let bytes = [&variable.attributes.to_bytes(), &variable.value[..]].concat();
        let is_new = !path.exists();
        // efivarfs requires one write of the whole, without truncation before
        let open = || File::options().write(true).create(true).truncate(false).open(&path);
        let whole = |written| if written == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) };
        let written = open().and_then(|mut file| file.write(&bytes)).and_then(whole);
        if written.is_err() && is_new {
            // without a value it is no variable; the error above is the one to report
            let _ = fs::remove_file(&path);
        }
        written.map_err(Error::new("write", &path))
    }

    /// Removes a variable, if it is there.
    ///
    /// # Errors
    /// [`Error`].
    pub fn remove(&self, name: Name<'_>) -> Result<(), Error> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::new("remove", &path)(e)),
            _ => Ok(()),
        }
    }

    /// Whether the firmware starts nothing unless it is signed (§3.3, `SecureBoot`).
    ///
    /// # Errors
    /// As [`Self::read`]. Where there are no variables it is off.
    pub fn secure_boot(&self) -> Result<bool, Error> {
        Ok(self.value(Name::SECURE_BOOT)? == [1])
    }

    /// The certificates that may sign programs: the signature lists of `db`, and of shim if it started this system.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn allowed(&self) -> Result<Vec<u8>, Error> {
        self.lists(Name::DB, Name::MOK_LIST)
    }

    /// The revoked programs and certificates: the signature lists of `dbx`, and of shim if it started this system.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn forbidden(&self) -> Result<Vec<u8>, Error> {
        self.lists(Name::DBX, Name::MOK_LIST_X)
    }

    fn lists(&self, firmwares: Name<'_>, shims: Name<'_>) -> Result<Vec<u8>, Error> {
        let mut lists = self.value(firmwares)?;
        // a running system can make such a variable, too, but no volatile one
        if let Some(told) = self.read(shims)?.filter(|variable| variable.attributes.is_volatile()) {
            lists.extend(told.value);
        }
        Ok(lists)
    }

    /// Whether the firmware lets anybody enroll keys (§3.3, `SetupMode`); also true if the variable is missing.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn setup_mode(&self) -> Result<bool, Error> {
        Ok(self.value(Name::SETUP_MODE)? != [0])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
