//! Waiting for a key that opens P3: the owner's medium, or what someone types, whichever comes first.

use crate::{console::Console, error::Error, file, firmware, medium::Medium, places::Places};
use std::{
    fs, thread,
    time::{Duration, Instant},
};

/// What cryptsetup(8) says when no key slot takes a key.
const WRONG_KEY: i32 = 2;

/// Opens P3 by a key, which is then left for `keep`. An image on trial has not all the time in the world: it may be what is
/// wrong.
pub(crate) fn for_key(places: &Places) -> Result<(), Error> {
    // `make` has just had it from the medium
    if let Ok(key) = fs::read(places.key())
        && opens(places, &key, "the key that P3 was made with")?
    {
        return Ok(());
    }
    eprintln!("waiting for the recovery key: the medium EVEKEY with the file recovery.key, or typed at the console");
    let limit = firmware::on_trial(places).then_some(places.patience);
    let (begun, mut medium, mut console) = (Instant::now(), Medium::default(), Console::default());
    loop {
        match medium.look(places) {
            Some(Ok(key)) if opens(places, &key, "the key on the medium EVEKEY")? => return Ok(()),
            Some(Err(e)) => eprintln!("{e}"),
            _ => {}
        }
        if let Some(key) = console.answer(places)
            && opens(places, &key, "the key that was typed")?
        {
            return Ok(());
        }
        if let Some(limit) = limit.filter(|limit| begun.elapsed() >= *limit) {
            return give_up(places, limit);
        }
        thread::sleep(places.pause);
    }
}

fn give_up(places: &Places, limit: Duration) -> Result<(), Error> {
    let end = Error::Trial { seconds: limit.as_secs() };
    eprintln!("{end}");
    places.tool("systemctl").args(["--no-block", "reboot"]).run()?;
    Err(end)
}

/// Tries a key. Whatever is wrong with one, there may be another.
fn opens(places: &Places, key: &[u8], name: &str) -> Result<bool, Error> {
    let open = places.tool("cryptsetup").args(["open", "--type", "luks2", "--allow-discards", "--key-file=-"]);
    let outcome = open.arg(&places.partition).arg("persist").input(key).end()?;
    if outcome.code() == Some(WRONG_KEY) {
        eprintln!("{name} does not open P3");
        return Ok(false);
    }
    if let Err(e) = outcome.good() {
        eprintln!("{name}: {e}");
        return Ok(false);
    }
    eprintln!("{name} has opened P3");
    file::replace(&places.key(), key)?;
    Ok(true)
}
