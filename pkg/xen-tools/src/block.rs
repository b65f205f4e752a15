//! This domain's side of a guest's disk (Xen, `block-scripts.txt`): writes the numbers of the block device into the
//! store, where the back end waits for them.

use crate::hotplug::{Error, run, variable};
use rustix::fs::{FileType, major, minor, stat};

/// Connects the disk that the environment names.
pub(crate) fn add() -> Result<(), Error> {
    let disk = variable("XENBUS_PATH")?;
    let path = run("xenstore-read", &[&format!("{disk}/params")])?.trim().to_owned();
    match numbers(&path) {
        Ok(numbers) => run("xenstore-write", &[&format!("{disk}/physical-device"), &numbers]).map(drop),
        Err(why) => {
            let error = Error::Disk { path, why };
            run("xenstore-write", &[&format!("{disk}/hotplug-error"), &error.to_string()])?;
            run("xenstore-write", &[&format!("{disk}/hotplug-status"), "error"])?;
            Err(error)
        }
    }
}

/// Major and minor number, hexadecimal, in the store's form.
fn numbers(path: &str) -> Result<String, String> {
    let status = stat(path).map_err(|e| e.to_string())?;
    if FileType::from_raw_mode(status.st_mode) != FileType::BlockDevice {
        return Err("this is no block device".to_owned());
    }
    Ok(format!("{:x}:{:x}", major(status.st_rdev), minor(status.st_rdev)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_block_device_has_numbers() {
        assert_eq!(numbers("/dev/null"), Err("this is no block device".to_owned()));
        assert!(numbers("/dev/evek-none").is_err());
    }
}
