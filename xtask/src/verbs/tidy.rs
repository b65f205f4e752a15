//! `gc` and `clean`: free disk space.

use crate::{
    cli::Common,
    failure::Failure,
    session::{Session, lock_path, root},
};
use lock::Lock;
use std::{collections::BTreeSet, fs, io};
use types::Bytes;

/// Shrinks the cache; keeps the inputs of the lock. Refuses an unreadable lock before it removes anything.
pub(crate) fn gc(common: &Common, size: Bytes, verify: bool) -> Result<(), Failure> {
    // before anything is removed: without a readable lock, the present inputs would be swept away as nobody's
    let lock = Lock::read(&lock_path())?;
    let session = Session::open(common)?;
    if verify {
        for broken in session.cache.verify()? {
            session.events.say(&format!("removed a damaged {:?}: {}", broken.kind, broken.digest));
        }
    }
    let keep: BTreeSet<_> = lock.debs().map(|d| d.sha256).chain(lock.vendors().map(|v| v.sha256)).collect();
    let swept = session.cache.gc(size, &keep)?;
    let (steps, outputs) = (types::count(swept.records, "step"), types::count(swept.outputs, "output"));
    println!("freed {}, {} left; removed {steps} and {outputs}", swept.freed, swept.left);
    Ok(())
}

/// Removes dist/.
pub(crate) fn clean() -> Result<(), Failure> {
    match fs::remove_dir_all(root().join("dist")) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}
