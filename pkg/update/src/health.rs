//! Whether the image that runs is good: `update trial`, `update bless`, `update rollback`.

use crate::{
    config::Config,
    error::Error,
    http::Http,
    kernel,
    loader::Loader,
    machine::{self, Running},
    places::Places,
    record::{Attempt, Floor, Last, Outcome, Records},
    trust,
};
use slots::{Device, State, compare};
use std::{cmp::Ordering, fs, path::Path, thread, time::Duration};

/// Between two looks at what is not there yet.
const PAUSE: Duration = Duration::from_secs(2);
/// Written by `bless`, seen by `trial`.
const BLESSED: &str = "/run/evek/blessed";

/// Gives an image on trial its time, and restarts the machine when that is over. First of all it says what became of an image
/// that ran before.
pub(crate) fn trial(places: &Places) -> Result<(), Error> {
    let records = Records::open(places)?;
    let running = Running::read(places)?;
    let panic = last_words(&places.last_words)?;
    if let Some(panic) = &panic {
        eprintln!("the start before this one ended: {panic}");
    }
    let alone = records.alone(true)?;
    let device = Device::new(machine::disk(places, true)?);
    let status = device.recover()?;
    if !status.is_on_trial(running.root_hash) {
        return report(&records, &device, &running, panic);
    }
    let mut attempts = records.attempts()?;
    // a panic of the try before this one
    if let (Some(last), Some(panic)) = (attempts.last_mut(), panic) {
        last.reason.get_or_insert(panic);
    }
    attempts.push(Attempt {
        image: running.image.clone(),
        root_hash: running.root_hash,
        boot_id: machine::boot_id(),
        reason: None,
    });
    records.set_attempts(&attempts)?;
    drop(alone);
    let within = Config::read(places)?.health.within;
    eprintln!("{} is on trial: {within} s from the start on to be ready", running.image);
    while !Path::new(BLESSED).exists() {
        if machine::uptime() >= within {
            let reason = format!("not ready within {within} s: {}", unready());
            eprintln!("{}: {reason}; restarting", running.image);
            if let Some(last) = attempts.last_mut() {
                last.reason = Some(reason);
            }
            records.set_attempts(&attempts)?;
            return machine::restart();
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// What is not as it should be, for the record.
fn unready() -> String {
    let list = |states: &str| {
        let states = format!("--state={states}");
        let list = ["systemctl", "list-units", "--plain", "--no-legend", "--all", "--type=service,mount", &states];
        let text = machine::run(&list);
        let text = text.unwrap_or_default();
        text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect::<Vec<_>>()
    };
    let (failed, starting) = (list("failed"), list("activating"));
    let name = |what: &str, units: &[String]| format!("{what} {}", units.join(" "));
    match (failed.is_empty(), starting.is_empty()) {
        (true, true) => "every unit has started, and an address does not answer".to_owned(),
        (false, true) => name("failed", &failed),
        (true, false) => name("still starting", &starting),
        (false, false) => format!("{}, {}", name("failed", &failed), name("still starting", &starting)),
    }
}

/// Writes down that an update has failed, and why, as far as anyone knows.
fn report(records: &Records, device: &Device<fs::File>, running: &Running, panic: Option<String>) -> Result<(), Error> {
    let Some(mut last) = records.last()?.filter(|last| last.result == Outcome::Ready) else { return Ok(()) };
    if last.root_hash == running.root_hash {
        return Ok(());
    }
    let status = device.status()?;
    let Some(State::Bad { done }) = status.with_root_hash(last.root_hash).map(|slot| slot.state) else { return Ok(()) };
    if done == 0 {
        return Ok(());
    }
    let attempts = records.attempts()?;
    let spoken = attempts.iter().rev().find_map(|attempt| attempt.reason.clone());
    let why = spoken.or(panic).unwrap_or_else(|| match attempts.len() {
        0 => "it never came as far as /persist: its kernel or first stage fails, or P3 does not open for it".to_owned(),
        n => format!("it came as far as /persist {n} times and ended without a word: it hung, or the power went"),
    });
    let reason = format!("started {done} times: {why}");
    eprintln!("the update to {} failed; {} runs again: {reason}", last.to, running.image);
    last.result = Outcome::FellBack;
    last.reason = Some(reason);
    records.set_last(&last)?;
    records.forget_loader()
}

/// Why the kernel panicked the last time, where the firmware has kept it (kernel, `Documentation/ABI/testing/pstore`). Removing it
/// there makes room: firmware that has none left refuses to start on some machines.
fn last_words(folder: &Path) -> Result<Option<String>, Error> {
    let Ok(items) = fs::read_dir(folder) else { return Ok(None) };
    let mut panic = None;
    for item in items {
        let path = item.map_err(Error::io("read", folder))?.path();
        let text = fs::read(&path).map_err(Error::io("read", &path))?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let line = text.lines().find_map(|line| Some(line[line.find("Kernel panic")?..].trim().to_owned()));
        panic = line.or(panic);
        fs::remove_file(&path).map_err(Error::io("remove", &path))?;
    }
    Ok(panic)
}

/// Finds the running image good: every service is ready, which is why this is called, and every address answers.
pub(crate) fn bless(places: &Places) -> Result<(), Error> {
    let health = Config::read(places)?.health;
    if !health.reach.is_empty() {
        let http = Http::new(places)?;
        for address in &health.reach {
            let mut said = String::new();
            while let Err(problem) = http.answers(address) {
                if problem != said {
                    eprintln!("{address} does not answer: {problem}");
                    said = problem;
                }
                thread::sleep(PAUSE);
            }
        }
    }
    let records = Records::open(places)?;
    let _alone = records.alone(true)?;
    let running = Running::read(places)?;
    let device = Device::new(machine::disk(places, true)?);
    let news = device.bless(running.root_hash)?;
    let raise = |floor: &Option<Floor>| {
        floor.as_ref().is_none_or(|floor| compare(&running.floor, &floor.version) == Ordering::Greater)
    };
    if !running.floor.is_empty() && raise(&records.floor()?) {
        records.set_floor(&Floor { version: running.floor.clone() })?;
    }
    let last = records.last()?.filter(|last| last.root_hash == running.root_hash);
    if let Some(last) = last.as_ref().filter(|last| last.result == Outcome::Ready) {
        records.set_last(&Last { result: Outcome::Good, ..last.clone() })?;
    }
    fs::write(BLESSED, "").map_err(Error::io("write", BLESSED))?;
    if news {
        eprintln!("{} is good", running.image);
    }
    let signed = |program: &[u8]| kernel::signed("boot loader", program, &trust::read(places, &device)?);
    let loader = Loader::new(places, &records, &device, running.arch, &signed);
    // the image is good, whatever becomes of its boot loader; and the next update may bring a better one
    if let Err(e) = loader.settle(last.is_some()) {
        eprintln!("the boot loader is not dealt with before the next start: {e}");
    }
    Ok(())
}

/// Lets the other slot start next.
pub(crate) fn go_back(places: &Places, reboot: bool) -> Result<(), Error> {
    let records = Records::open(places)?;
    let _alone = records.alone(false)?;
    let running = Running::read(places)?;
    let device = Device::new(machine::disk(places, true)?);
    let status = device.status()?;
    let other = status.slots.iter().find(|slot| slot.root_hash() != Some(running.root_hash));
    if let Some(image) = other.and_then(|slot| slot.entries.first()).map(|entry| &entry.image)
        && let Some(floor) = records.floor()?
        && compare(&image.version, &floor.version) == Ordering::Less
    {
        let reason = format!("nothing older than {} may run here any more", floor.version);
        return Err(Error::Refused { image: image.image_version.clone(), reason });
    }
    // two things on trial with one start, and a failure of one would be the other's
    let signed = |program: &[u8]| kernel::signed("boot loader", program, &trust::read(places, &device)?);
    if let Err(e) = Loader::new(places, &records, &device, running.arch, &signed).forget() {
        eprintln!("the trial of a boot loader goes on with the next start: {e}");
    }
    let other = device.go_back(running.root_hash)?;
    let image = &other.entries[0].image.image_version;
    if reboot {
        return machine::restart();
    }
    eprintln!("{image} in {} starts with the next restart", other.slot.label());
    Ok(())
}
