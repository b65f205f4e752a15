//! Loading of kernel modules.

use crate::{error::Error, files, log};
use rustix::{io::Errno, system::finit_module};
use std::{fs, path::Path};

/// `MODULE_INIT_COMPRESSED_FILE` (kernel, `include/uapi/linux/module.h`): the kernel unpacks the file.
const COMPRESSED: i32 = 4;

/// Loads the modules that `list` names, a full path a line, those that others need before them. A module that the machine
/// has no hardware for, or that does not load, does not end the start: what is missed in the end is the slot, and the
/// message about that has these before it.
pub(crate) fn load(list: &Path) -> Result<(), Error> {
    let text = files::read_text(list)?;
    let mut loaded = 0;
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        match load_one(Path::new(line)) {
            Ok(()) => loaded += 1,
            Err(e) => log::warning(&format!("module {line}: {e}")),
        }
    }
    log::info(&format!("{loaded} modules loaded"));
    Ok(())
}

fn load_one(path: &Path) -> std::io::Result<()> {
    let file = fs::File::open(path)?;
    let flags = if path.extension().is_some_and(|e| e == "ko") { 0 } else { COMPRESSED };
    match finit_module(&file, c"", flags) {
        Ok(()) | Err(Errno::EXIST | Errno::NODEV) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
