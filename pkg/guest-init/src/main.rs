//! `/init` of a container's own virtual machine: it makes the container's root, and starts the container's process in it.
//!
//! ```text
//!  modules ─► disks: spec (magic), layers (EROFS, by UUID), volumes (ext4, by UUID)
//!     ─► overlay: layers below, memory above ─► /proc, /sys, /dev, tmpfs ─► volumes ─► network
//!     ─► the process, as its user, on the console ─► its end ─► report on the spec disk ─► power off
//! ```
//! It is the machine's PID 1: it reaps every orphan, and sends SIGTERM to the process when the machine has to stop. QEMU presses
//! the power button for that; under Xen the kernel runs `/init poweroff`. The process has another root, so it reaches neither
//! this program nor the initramfs.
//!
//! Deliberately absent: a shell; DHCP, because the spec has every address; decisions, which are vmm's.

mod child;
mod disks;
mod error;
mod modules;
mod mounts;
mod network;
mod rtnetlink;
mod stop;
mod uevent;
mod user;
mod volumes;

use disks::Disks;
use error::Error;
use guest::{REPORT_AT, Report, Spec};
use rustix::{
    io::Errno,
    process::{WaitOptions, WaitStatus},
    system::{RebootCommand, reboot, sethostname},
};
use std::{env, fs, os::unix::fs::FileExt as _, path::Path, process::Child};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        // by the kernel (kernel, `orderly_poweroff`): PID 1, which is this program too, has to stop
        Some("poweroff") => stop::tell(),
        Some(child::VERB) => child::become_the_process(),
        _ => first_program(),
    }
}

fn first_program() {
    if let Err(error) = boot() {
        eprintln!("guest-init: {error}");
    }
    rustix::fs::sync();
    // where even this fails, returning makes the kernel panic, which ends the machine by `panic=`
    let _ = reboot(RebootCommand::PowerOff);
}

fn boot() -> Result<(), Error> {
    mounts::first()?;
    let events = uevent::Events::listen()?;
    modules::load(Path::new("/etc/modules-initramfs"))?;
    let disks = Disks::wait(&events)?;
    let report = match run(&disks) {
        Ok(code) => Report::Ended(code),
        Err(error) => {
            eprintln!("guest-init: {error}");
            Report::Failed(error.to_string())
        }
    };
    mounts::flush();
    let bytes = report.to_bytes()?;
    let written = fs::File::options().write(true).open(&disks.spec_disk).and_then(|disk| {
        disk.write_all_at(&bytes, REPORT_AT)?;
        disk.sync_all()
    });
    written.map_err(Error::io("report on", &disks.spec_disk))
}

/// From the disks to the end of the process: its exit code.
fn run(disks: &Disks) -> Result<i32, Error> {
    let Spec { hostname, process, networks, .. } = &disks.spec;
    sethostname(hostname.as_bytes()).map_err(|e| Error::io("set", "the host's name")(e.into()))?;
    let root = mounts::overlay(disks)?;
    let user = user::find(Path::new(mounts::ROOT), &process.user)?;
    volumes::mount_all(disks, &root, &user, || root.kernel_file_systems())?;
    network::set_up(hostname, networks)?;
    let child = child::start(process, &user)?;
    let stopping = stop::watch(child.id());
    let code = reap_until(&child)?;
    stopping.done();
    Ok(code)
}

/// Waits for the process, and for every orphan that ends before it.
fn reap_until(child: &Child) -> Result<i32, Error> {
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get().cast_unsigned() == child.id() => {
                return Ok(exit_code(status));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(Error::io("wait for", "the process")(e.into())),
        }
    }
}

fn exit_code(status: WaitStatus) -> i32 {
    status.exit_status().or_else(|| status.terminating_signal().map(|s| 128 + s)).unwrap_or(0)
}
