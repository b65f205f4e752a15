//! The time of an image on trial: `update trial`, and `update emergency` where systemd has no other way on.
//!
//! ```text
//!  trial      from the first second on     ─► found good: ends   ─► time is over: the reason is recorded, restart
//!  emergency  systemd in emergency mode    ─► on trial: restart after a moment   ─► else: restart after a while
//! ```
//! Neither needs P3, CONFIG, udev or any other unit. systemd-boot counts the starts of an image on trial in the name of
//! its file, so a restart is all that it takes to come back to the image before.

use crate::{
    config::Config,
    error::Error,
    machine::{self, Running, System},
    paths::Paths,
    record::{Attempt, Records},
};
use slots::Device;
use std::{fs, time::Duration};

/// Between two looks at the file that `bless` makes.
const PAUSE: Duration = Duration::from_secs(2);
/// For another `update` to end, before a reason is recorded all the same.
const LOCK: Duration = Duration::from_secs(5);
/// The time that someone at the console has to read, where an image is on trial, and where it is not.
const MOMENT: Duration = Duration::from_secs(30);
const WHILE: Duration = Duration::from_secs(600);
/// Arguments by which someone asks for emergency mode.
const ASKED_FOR: [&str; 6] =
    ["emergency", "-b", "rescue", "single", "systemd.unit=emergency.target", "systemd.unit=rescue.target"];

/// Restarts the machine when an image on trial is not found good within its time.
pub(crate) fn trial(paths: &Paths, system: &dyn System) -> Result<(), Error> {
    let running = Running::read(paths)?;
    let device = Device::new(machine::disk(paths, false)?);
    let status = device.status()?;
    if !status.is_on_trial(running.root_hash) {
        return Ok(());
    }
    let (mut shown, mut warned) = (None, None);
    loop {
        // CONFIG is mounted later than this begins
        let (config, warning) = Config::or_default(paths);
        let within = Duration::from_secs(config.health.within);
        if shown.replace(within) != Some(within) {
            eprintln!("{} is on trial: {} s from the start on to be ready", running.image, within.as_secs());
        }
        if warning != warned {
            warning.iter().for_each(|text| eprintln!("warning: {text}"));
            warned = warning;
        }
        if paths.blessed.exists() {
            return Ok(());
        }
        if system.uptime() >= within {
            // `bless` changes the disk first
            if device.status().is_ok_and(|status| !status.is_on_trial(running.root_hash)) {
                return Ok(());
            }
            let units =
                unready(system).unwrap_or_else(|| "every unit has started, and an address does not answer".to_owned());
            let reason = format!("not ready within {} s: {units}", within.as_secs());
            eprintln!("{}: {reason}; restarting", running.image);
            give_up(paths, &running, reason);
            return system.restart();
        }
        system.pause(PAUSE);
    }
}

/// Leaves emergency mode by a restart, unless someone has asked for that mode.
pub(crate) fn emergency(paths: &Paths, system: &dyn System) -> Result<(), Error> {
    let what = unready(system).unwrap_or_else(|| "no unit has failed".to_owned());
    let on_trial = running_on_trial(paths).unwrap_or_else(|e| {
        eprintln!("whether this image is on trial is not known: {e}");
        None
    });
    let restarts = |image: &str, seconds: u64| {
        eprintln!(
            "{image} is in emergency mode ({what}); it restarts in {seconds} s; `systemctl stop evek-emergency` prevents that"
        );
    };
    match on_trial {
        Some(running) => {
            restarts(&format!("{}, which is on trial,", running.image), MOMENT.as_secs());
            // P3 may still be opened meanwhile, for the record
            system.pause(MOMENT);
            give_up(paths, &running, format!("emergency mode: {what}"));
        }
        None if is_asked_for(paths) => {
            eprintln!("emergency mode was asked for by the kernel's arguments: this device does not restart");
            return Ok(());
        }
        None => {
            restarts("this device", WHILE.as_secs());
            system.pause(WHILE);
        }
    }
    system.restart()
}

/// The running image, if it is on trial.
fn running_on_trial(paths: &Paths) -> Result<Option<Running>, Error> {
    let running = Running::read(paths)?;
    let status = Device::new(machine::disk(paths, false)?).status()?;
    Ok(status.is_on_trial(running.root_hash).then_some(running))
}

fn is_asked_for(paths: &Paths) -> bool {
    let text = fs::read_to_string(&paths.cmdline).unwrap_or_default();
    text.split_whitespace().any(|word| ASKED_FOR.contains(&word))
}

/// Records why this start is given up. Nothing else depends on the record.
fn give_up(paths: &Paths, running: &Running, reason: String) {
    let records = Records::open(paths);
    let alone = records.alone(LOCK);
    if let Err(e) = &alone {
        records.warn(e.to_string());
    }
    note(&records, running, Some(reason));
}

/// Adds this start to the attempts, or a reason to its attempt.
pub(crate) fn note(records: &Records, running: &Running, reason: Option<String>) {
    let (mut attempts, boot_id) = (records.attempts(), machine::boot_id());
    attempts.retain(|attempt| attempt.root_hash == running.root_hash);
    match attempts.last_mut().filter(|attempt| attempt.boot_id == boot_id) {
        Some(own) => own.reason = reason.or(own.reason.take()),
        None => attempts.push(Attempt { image: running.image.clone(), root_hash: running.root_hash, boot_id, reason }),
    }
    records.set_attempts(&attempts);
}

/// The units because of which a system is not ready, if there are any.
fn unready(system: &dyn System) -> Option<String> {
    let [failed, starting] = system.units().map(|units| units.join(" "));
    let parts = [("failed", failed), ("still starting", starting)];
    let parts = parts.into_iter().filter(|(_, units)| !units.is_empty()).map(|(what, units)| format!("{what} {units}"));
    let text = parts.collect::<Vec<_>>().join(", ");
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests;
