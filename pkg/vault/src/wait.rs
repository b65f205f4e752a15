//! Waiting for a key that opens P3: from the owner's medium, or typed at the console.

use crate::{console::Console, error::Error, file, firmware, medium::Medium, paths::Paths};
use std::{
    fs, thread,
    time::{Duration, Instant},
};

/// cryptsetup(8)'s exit code when a key opens no key slot.
const WRONG_KEY: i32 = 2;

/// Opens P3 by a key, which stays in memory for `keep`. An image on trial waits for a limited time: it may be the cause.
pub(crate) fn for_key(paths: &Paths) -> Result<(), Error> {
    // `make` has just had it from the medium
    if let Ok(key) = fs::read(paths.key())
        && opens(paths, &key, "the key that P3 was made with")?
    {
        return Ok(());
    }
    eprintln!("waiting for the recovery key: the medium EVEKEY with the file recovery.key, or typed at the console");
    let (begun, mut medium, mut console) = (Instant::now(), Medium::default(), Console::default());
    loop {
        match medium.look(paths) {
            Some(Ok(key)) if opens(paths, &key, "the key on the medium EVEKEY")? => return Ok(()),
            Some(Err(e)) => eprintln!("{e}"),
            _ => {}
        }
        if let Some(key) = console.answer(paths)
            && opens(paths, &key, "the key that was typed")?
        {
            return Ok(());
        }
        // asked each time: firmware that does not answer now may do so later
        if begun.elapsed() >= paths.patience && firmware::on_trial(paths).unwrap_or(false) {
            return give_up(paths, paths.patience);
        }
        thread::sleep(paths.pause);
    }
}

fn give_up(paths: &Paths, limit: Duration) -> Result<(), Error> {
    let end = Error::Trial { seconds: limit.as_secs() };
    eprintln!("{end}");
    paths.tool("systemctl").args(["--no-block", "reboot"]).run()?;
    Err(end)
}

/// Tries a key. A key that fails is no end: there may be another.
fn opens(paths: &Paths, key: &[u8], name: &str) -> Result<bool, Error> {
    let open = paths.tool("cryptsetup").args(["open", "--type", "luks2", "--allow-discards", "--key-file=-"]);
    let outcome = open.arg(&paths.partition).arg("persist").input(key).end()?;
    if outcome.code() == Some(WRONG_KEY) {
        eprintln!("{name} does not open P3");
        return Ok(false);
    }
    if let Err(e) = outcome.good() {
        eprintln!("{name}: {e}");
        return Ok(false);
    }
    eprintln!("{name} has opened P3");
    file::replace(&paths.key(), key)?;
    Ok(true)
}
