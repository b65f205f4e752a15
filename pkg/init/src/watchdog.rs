//! The hardware's watchdog (kernel, `Documentation/watchdog/watchdog-api.rst`): a machine that hangs from here on restarts, so
//! that the boot loader can count the attempt. systemd takes it over (`RuntimeWatchdogSec=`).

use crate::log;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use std::{fs::File, io, path::Path};

const DEVICE: &str = "/dev/watchdog0";
/// More than waiting for a disk and standing still with an error take.
const SECONDS: i32 = 100;
/// `WDIOC_SETTIMEOUT` (kernel, `include/uapi/linux/watchdog.h`).
const SET_TIMEOUT: Opcode = opcode::read_write::<i32>(b'W', 6);

/// Starts the watchdog if there is one. Closing its device without the letter `V` leaves it running.
pub(crate) fn start() {
    let path = Path::new(DEVICE);
    if !path.exists() {
        return;
    }
    let started = File::options().write(true).open(path).and_then(|file| {
        let mut seconds = SECONDS;
        set_timeout(&file, &mut seconds)?;
        Ok(seconds)
    });
    match started {
        Ok(seconds) => log::info(&format!("the watchdog restarts a machine that hangs for {seconds} s")),
        Err(e) => log::warning(&format!("{DEVICE}: {e}")),
    }
}

#[allow(unsafe_code)]
fn set_timeout(file: &File, seconds: &mut i32) -> io::Result<()> {
    // SAFETY: the command reads and writes one `int`, and keeps no pointer
    unsafe { ioctl(file, Updater::<SET_TIMEOUT, i32>::new(seconds)) }.map_err(Into::into)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_has_the_number_of_the_header() {
        // WDIOC_SETTIMEOUT as strace prints it: _IOC(_IOC_READ|_IOC_WRITE, 0x57, 0x6, 0x4)
        assert_eq!(super::SET_TIMEOUT, 0xc004_5706);
    }
}
