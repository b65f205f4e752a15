//! The wish to stop: the power button, or a signal to PID 1.

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    fs::{self, File},
    io::Read as _,
    path::Path,
    sync::mpsc::{Sender, channel},
    thread,
    time::Duration,
};

/// How long the process may take to end after SIGTERM. vmm gives the whole machine more.
const KILL_AFTER: Duration = Duration::from_secs(20);
const INPUT_DEVICES: &str = "/dev/input";
/// The program that the kernel runs to switch the machine off (kernel, `Documentation/admin-guide/sysctl/kernel.rst`).
const POWEROFF_COMMAND: &str = "/proc/sys/kernel/poweroff_cmd";

/// A watch that ends with the process.
pub(crate) struct Watch(Sender<Wish>);

enum Wish {
    Stop,
    Done,
}

impl Watch {
    /// Ends the watch, because the process has ended.
    pub(crate) fn done(self) {
        // the watching thread outlives everything else
        let _ = self.0.send(Wish::Done);
    }
}

/// Asks PID 1 to stop.
pub(crate) fn tell() {
    if let Some(init) = Pid::from_raw(1) {
        // PID 1 is this very program, and does not go away
        let _ = kill_process(init, Signal::TERM);
    }
}

/// Passes wishes to stop on to the process from now on, and kills it when it does not end.
pub(crate) fn watch(process: u32) -> Watch {
    let (tell, wishes) = channel();
    if let Err(e) = fs::write(POWEROFF_COMMAND, "/init poweroff") {
        eprintln!("guest-init: {POWEROFF_COMMAND}: {e}");
    }
    match Signals::new([SIGTERM, SIGINT]) {
        Ok(mut signals) => {
            let tell = tell.clone();
            thread::spawn(move || signals.forever().try_for_each(|_| tell.send(Wish::Stop)));
        }
        Err(e) => eprintln!("guest-init: no signals: {e}"),
    }
    for button in power_buttons() {
        let tell = tell.clone();
        thread::spawn(move || listen(button, &tell));
    }
    thread::spawn(move || {
        let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) else { return };
        let Ok(Wish::Stop) = wishes.recv() else { return };
        // it may have ended at this very moment
        let _ = kill_process(pid, Signal::TERM);
        while let Ok(wish) = wishes.recv_timeout(KILL_AFTER) {
            if matches!(wish, Wish::Done) {
                return;
            }
        }
        eprintln!("guest-init: the process has not ended {} s after SIGTERM: killing it", KILL_AFTER.as_secs());
        let _ = kill_process(pid, Signal::KILL);
    });
    Watch(tell)
}

/// Every input device: a virtual machine has no others than buttons, and a keyboard on some machines.
fn power_buttons() -> Vec<File> {
    let items = fs::read_dir(INPUT_DEVICES).into_iter().flatten().flatten();
    let events = items.filter(|item| item.file_name().to_string_lossy().starts_with("event"));
    events.filter_map(|item| File::open(Path::new(INPUT_DEVICES).join(item.file_name())).ok()).collect()
}

fn listen(mut device: File, tell: &Sender<Wish>) {
    let mut event = [0; EVENT];
    while device.read_exact(&mut event).is_ok() {
        if is_power_key(&event) && tell.send(Wish::Stop).is_err() {
            return;
        }
    }
}

/// The length of a `struct input_event` on 64 bit (kernel, `include/uapi/linux/input.h`): time, type, code, value.
const EVENT: usize = 24;

fn is_power_key(event: &[u8; EVENT]) -> bool {
    const EV_KEY: u16 = 1;
    const KEY_POWER: u16 = 116;
    let u16_at = |at: usize| u16::from_ne_bytes([event[at], event[at + 1]]);
    u16_at(16) == EV_KEY && u16_at(18) == KEY_POWER && event[20..] == 1_i32.to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_press_of_the_power_key_is_a_wish_to_stop() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut event = [0xee; EVENT];
            event[16..18].copy_from_slice(&kind.to_ne_bytes());
            event[18..20].copy_from_slice(&code.to_ne_bytes());
            event[20..].copy_from_slice(&value.to_ne_bytes());
            event
        };
        assert!(is_power_key(&event(1, 116, 1)));
        assert!(!is_power_key(&event(1, 116, 0)), "its release");
        assert!(!is_power_key(&event(1, 30, 1)), "another key");
        assert!(!is_power_key(&event(0, 116, 1)), "no key at all");
    }
}
