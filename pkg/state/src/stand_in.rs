//! `state config` and `state persist`: the partition, or an empty stand-in and the reason for it.

use crate::{
    error::Error,
    mounts::{Kind, Mounts},
    paths::Paths,
    size,
};
use device::standing::{Part, Standing};
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Instant,
};

pub(crate) fn config(paths: &Paths, mounts: &impl Mounts) -> Result<(), Error> {
    let found = wait_for_config(paths)
        .and_then(|()| mounts.try_out(&paths.config_device, Kind::Vfat, &paths.run.join("trial")));
    settle(paths, mounts, Part::Config, found)
}

pub(crate) fn persist(paths: &Paths, mounts: &impl Mounts) -> Result<(), Error> {
    settle(paths, mounts, Part::Persist, try_persist(paths, mounts))
}

/// Writes down how the partition stands, and mounts the stand-in where it is needed.
fn settle(paths: &Paths, mounts: &impl Mounts, part: Part, found: Result<(), Error>) -> Result<(), Error> {
    let Err(problem) = found else {
        return Ok(Standing::Kept.write(&paths.run, part)?);
    };
    let reason = problem.to_string();
    let (at, left) = match part {
        Part::Config => (&paths.config, "this start has no file of CONFIG; ssh accepts the keys that P3 has a copy of"),
        Part::Persist => (&paths.persist, "everything that this start writes is lost at the next one"),
    };
    eprintln!(
        "{} cannot be used: {reason}\nAn empty {} in memory stands in for it: {left}.",
        part.label(),
        at.display()
    );
    Standing::Temporary { reason }.write(&paths.run, part)?;
    mounts.stand_in(at, part == Part::Config)
}

/// Waits for udev, if the kernel has found the partition.
fn wait_for_config(paths: &Paths) -> Result<(), Error> {
    let begin = Instant::now();
    while !paths.config_device.exists() {
        let label = Part::Config.label();
        // without the link to its disk nobody knows where to look yet
        let found = fs::canonicalize(&paths.disk).ok().map(|disk| kernel_has(paths, &disk, label));
        if found == Some(false) || begin.elapsed() >= paths.patience {
            return Err(Error::Missing { label, found: found.unwrap_or_default() });
        }
        thread::sleep(paths.pause);
    }
    Ok(())
}

/// Whether the kernel has found a partition with this label on a disk.
fn kernel_has(paths: &Paths, disk: &Path, label: &str) -> bool {
    let items = fs::read_dir(paths.blocks.join(disk.file_name().unwrap_or_default()));
    let line = format!("PARTNAME={label}");
    let mut items = items.into_iter().flatten().flatten();
    items.any(|item| fs::read_to_string(item.path().join("uevent")).is_ok_and(|text| text.lines().any(|l| l == line)))
}

fn try_persist(paths: &Paths, mounts: &impl Mounts) -> Result<(), Error> {
    let device = &paths.persist_device;
    if !device.exists() {
        let too_small = size::too_small(paths).map(|text| format!(". {text}")).unwrap_or_default();
        return Err(Error::Closed(too_small));
    }
    let at = paths.run.join("trial");
    let Err(first) = mounts.try_out(device, Kind::Ext4, &at) else { return Ok(()) };
    eprintln!("P3: {first}; it is checked and repaired");
    repair(paths, device).and_then(|()| mounts.try_out(device, Kind::Ext4, &at))
}

/// Nobody is there to answer e2fsck(8), so it may do all that it proposes. It touches nothing that has no ext4 on it.
fn repair(paths: &Paths, device: &Path) -> Result<(), Error> {
    let program = "e2fsck";
    let mut command = Command::new(paths.program(program));
    let output = command.args(["-f", "-y"]).arg(device).stdin(Stdio::null()).output();
    let output = output.map_err(Error::io("run", program))?;
    match output.status.code() {
        // 1: repaired, 2: repaired, and a restart is due where it was mounted
        Some(0..=2) => Ok(()),
        _ => Err(Error::Program { program: program.to_owned(), problem: last_line(&output.stderr, &output.stdout) }),
    }
}

/// The last words of a program.
fn last_line(first: &[u8], second: &[u8]) -> String {
    let line = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
    };
    line(first).or_else(|| line(second)).unwrap_or_else(|| "it says nothing".to_owned())
}

#[cfg(test)]
#[path = "stand_in_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
