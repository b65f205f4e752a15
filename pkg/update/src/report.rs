//! `update report`: records what the start before this one ended with, and why an update has failed.
//!
//! ```text
//!  pstore: the kernel's panic ─┐
//!  attempts.json: reasons     ─┼─► on trial: attempts.json   ─► the image before runs again: last.json, `update status`
//!  ESP: starts, none left     ─┘
//! ```
//! It explains; nothing that starts depends on it.

use crate::{
    error::Error,
    machine::{self, Running},
    paths::Paths,
    record::{Outcome, Records},
    trial,
};
use slots::{Device, State, Status};
use std::{fs, io, path::Path, time::Duration};

/// For another `update` to end.
const LOCK: Duration = Duration::from_secs(60);

/// See the module.
pub(crate) fn report(paths: &Paths) -> Result<(), Error> {
    let records = Records::open(paths);
    let running = Running::read(paths)?;
    let panic = last_words(&paths.last_words);
    if let Some(panic) = &panic {
        eprintln!("the start before this one ended: {panic}");
    }
    let alone = records.alone(LOCK);
    let device = Device::new(machine::disk(paths, alone.is_ok())?);
    let status = match alone {
        Ok(_) => device.recover()?,
        Err(_) => device.status()?,
    };
    if !status.is_on_trial(running.root_hash) {
        failed(&records, &status, &running, panic)?;
        return Ok(());
    }
    let mut attempts = records.attempts();
    // a panic of the start before this one
    if let (Some(last), Some(panic)) = (attempts.last_mut(), panic) {
        last.reason.get_or_insert(panic);
        records.set_attempts(&attempts);
    }
    trial::note(&records, &running, None);
    Ok(())
}

/// Records that an update has failed, and why, as far as that is known.
fn failed(records: &Records, status: &Status, running: &Running, panic: Option<String>) -> Result<(), Error> {
    let Some(mut last) = records.last().filter(|last| last.result == Outcome::Ready) else { return Ok(()) };
    if last.root_hash == running.root_hash {
        return Ok(());
    }
    let Some(State::Bad { done }) = status.with_root_hash(last.root_hash).map(|slot| slot.state) else { return Ok(()) };
    if done == 0 {
        return Ok(());
    }
    let mut attempts = records.attempts();
    attempts.retain(|attempt| attempt.root_hash == last.root_hash);
    let recorded = attempts.iter().rev().find_map(|attempt| attempt.reason.clone());
    let why = recorded.or(panic).unwrap_or_else(|| match attempts.len() {
        0 => "it never came as far as /persist: its kernel or first stage fails, or P3 does not open for it".to_owned(),
        n => format!("it came as far as /persist {n} times and recorded no reason: it hung, or the power went"),
    });
    let reason = format!("started {done} times: {why}");
    eprintln!("the update to {} failed; {} runs again: {reason}", last.to, running.image);
    last.result = Outcome::FellBack;
    last.reason = Some(reason);
    records.set_last(&last);
    records.forget_loader()
}

/// Why the kernel panicked the last time, where the firmware has kept it (kernel, `Documentation/ABI/testing/pstore`). Removing it
/// there makes room: firmware that has none left refuses to start on some machines.
fn last_words(folder: &Path) -> Option<String> {
    let items = fs::read_dir(folder).ok()?;
    let mut panic = None;
    for path in items.filter_map(|item| Some(item.ok()?.path())) {
        let read = || -> io::Result<_> {
            let text = fs::read(&path)?;
            let text = String::from_utf8_lossy(&text).into_owned();
            let line = text.lines().find_map(|line| Some(line[line.find("Kernel panic")?..].trim().to_owned()));
            fs::remove_file(&path)?;
            Ok(line)
        };
        match read() {
            Ok(line) => panic = line.or(panic),
            Err(e) => eprintln!("warning: cannot read and remove {}: {e}", path.display()),
        }
    }
    panic
}
