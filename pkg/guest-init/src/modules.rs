//! Loading of kernel modules.

use crate::error::Error;
use rustix::{io::Errno, system::finit_module};
use std::{fs, io, path::Path};

/// Loads the modules that `list` names, a full path a line, those that others need before them. A module for hardware that
/// this machine does not have is no error: the same list serves every hypervisor.
pub(crate) fn load(list: &Path) -> Result<(), Error> {
    let text = fs::read_to_string(list).map_err(Error::io("read", list))?;
    for line in text.lines().filter(|l| !l.is_empty()) {
        if let Err(e) = load_one(Path::new(line)) {
            eprintln!("guest-init: module {line}: {e}");
        }
    }
    Ok(())
}

fn load_one(path: &Path) -> io::Result<()> {
    let file = fs::File::open(path)?;
    match finit_module(&file, c"", 0) {
        Ok(()) | Err(Errno::EXIST | Errno::NODEV) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
