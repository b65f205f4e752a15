//! Whether the running image is good: `update bless`; and the way back: `update rollback`.

use crate::{
    config::Config,
    error::Error,
    floor::Floor,
    http::Http,
    kernel,
    loader::Loader,
    machine::{self, Running, System},
    paths::Paths,
    record::{Last, Outcome, Records},
    trust,
};
use slots::{Device, State, Status};
use std::{fs, time::Duration};

/// Between two requests to an address that does not answer.
const PAUSE: Duration = Duration::from_secs(2);
/// For another `update` to end.
const LOCK: Duration = Duration::from_secs(600);
/// After a fault that may pass; each pause is twice the one before.
const AGAIN: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 5;

/// Marks the running image as good: every service is ready, which is why this is called, and every address answers. A fault that
/// passes does not make a good image fail.
pub(crate) fn bless(paths: &Paths, system: &dyn System) -> Result<(), Error> {
    reach(paths, system)?;
    let mut attempt = 0;
    loop {
        match mark(paths) {
            Err(e) if attempt < ATTEMPTS => {
                eprintln!("warning: this image is not marked as good yet: {e}");
                system.pause(AGAIN * 2u32.pow(attempt));
                attempt += 1;
            }
            result => return result,
        }
    }
}

/// Waits until every address answers that the owner names. Only an image on trial is asked for that. A mistake in CONFIG asks for
/// nothing: it must not give up an image that is good.
fn reach(paths: &Paths, system: &dyn System) -> Result<(), Error> {
    let running = Running::read(paths)?;
    let (config, warning) = Config::or_default(paths);
    warning.iter().for_each(|text| eprintln!("warning: {text}"));
    let addresses = config.health.reach;
    let is_judged = || -> Result<_, Error> {
        Ok(Device::new(machine::disk(paths, false)?).status()?.is_on_trial(running.root_hash))
    };
    if addresses.is_empty() || !is_judged().unwrap_or(true) {
        return Ok(());
    }
    let http = match Http::new(paths) {
        Ok(http) => http,
        Err(e) => {
            eprintln!("warning: no address of health.reach is asked: {e}");
            return Ok(());
        }
    };
    for address in &addresses {
        let mut printed = String::new();
        while let Err(problem) = http.answers(address) {
            if problem != printed {
                eprintln!("{address} does not answer: {problem}");
                printed = problem;
            }
            system.pause(PAUSE);
        }
    }
    Ok(())
}

/// Changes the disk first: nothing that follows, P3 least of all, may keep an image from being good.
fn mark(paths: &Paths) -> Result<(), Error> {
    let records = Records::open(paths);
    let _alone = records.alone(LOCK)?;
    let running = Running::read(paths)?;
    let device = Device::new(machine::disk(paths, true)?);
    machine::starts_from(paths, device.esp_partition()?.partition.guid).unwrap_or_else(|e| records.warn(e.to_string()));
    let is_new = device.bless(running.root_hash)?;
    fs::write(&paths.blessed, "").map_err(Error::io("write", &paths.blessed))?;
    if is_new {
        eprintln!("{} is good", running.image);
    }
    Floor::raise(&records, &running).unwrap_or_else(|e| records.warn(format!("the floor is not raised: {e}")));
    let last = records.last().filter(|last| last.root_hash == running.root_hash);
    if let Some(last) = last.as_ref().filter(|last| last.result == Outcome::Ready) {
        records.set_last(&Last { result: Outcome::Good, ..last.clone() });
    }
    let signed = |program: &[u8]| kernel::signed("boot loader", program, &trust::read(paths, &device)?);
    let loader = Loader::new(paths, &records, &device, running.arch, &signed);
    // the image is good whatever the state of its boot loader; and the next update may bring a better one
    if let Err(e) = loader.settle(last.is_some()) {
        records.warn(format!("the boot loader is not dealt with before the next start: {e}"));
    }
    Ok(())
}

/// Whether the running image is known to be good.
pub(crate) fn is_good(status: &Status, running: &Running) -> bool {
    status.with_root_hash(running.root_hash).is_some_and(|slot| slot.state == State::Good)
}

/// Lets the other slot start next.
pub(crate) fn go_back(paths: &Paths, system: &dyn System, reboot: bool) -> Result<(), Error> {
    let records = Records::open(paths);
    let _alone = records.alone(Duration::ZERO)?;
    let running = Running::read(paths)?;
    let device = Device::new(machine::disk(paths, true)?);
    machine::starts_from(paths, device.esp_partition()?.partition.guid)?;
    let status = device.status()?;
    let other = status.slots.iter().find(|slot| slot.root_hash() != Some(running.root_hash));
    if let Some(image) = other.and_then(|slot| slot.entries.first()).map(|entry| &entry.image) {
        let floor = Floor::read(&records, &running, is_good(&status, &running));
        let refused = |reason| Error::Refused { image: image.image_version.clone(), reason };
        floor.allows(&image.version).map_err(refused)?;
    }
    // two things on trial with one start, and a failure of one would be the other's
    let signed = |program: &[u8]| kernel::signed("boot loader", program, &trust::read(paths, &device)?);
    if let Err(e) = Loader::new(paths, &records, &device, running.arch, &signed).forget() {
        eprintln!("the trial of a boot loader goes on with the next start: {e}");
    }
    let other = device.go_back(running.root_hash)?;
    let image = &other.entries[0].image.image_version;
    if reboot {
        return system.restart();
    }
    eprintln!("{image} in {} starts with the next restart", other.slot.label());
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
