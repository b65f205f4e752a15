//! k3s as a child process: the agent forwards its lines, stops it on a signal, and ends when it ends.

use crate::{config::Paths, error::Error, talk};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, ExitCode, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

/// The time limit of stopping k3s.
const GRACE: Duration = Duration::from_secs(30);
/// The time between two calls of `regularly`.
const PERIOD: Duration = Duration::from_secs(10);

enum Event {
    /// A signal asks us to end.
    Stop,
    /// k3s ended.
    Ended(std::io::Result<ExitStatus>),
}

/// Runs the k3s server until it ends or a signal asks us to end. Calls `regularly` meanwhile.
pub(crate) fn run(paths: &Paths, regularly: impl FnMut()) -> Result<ExitCode, Error> {
    let mut command = Command::new("k3s");
    command.arg("server").arg("--config").arg(paths.config("config.yaml"));
    watch(command, "k3s", GRACE, regularly)
}

fn watch(
    mut command: Command,
    name: &'static str,
    grace: Duration,
    mut regularly: impl FnMut(),
) -> Result<ExitCode, Error> {
    let failed = |error| Error::io("run", name, error);
    // before the child starts, so that no signal is lost
    let signals = Signals::new([SIGTERM, SIGINT]).map_err(failed)?;
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    let pid = Pid::from_child(&child);
    if let Some(lines) = child.stdout.take() {
        pass_on(name, lines);
    }
    if let Some(lines) = child.stderr.take() {
        pass_on(name, lines);
    }
    let (events, inbox) = mpsc::channel();
    wait_for_signals(signals, events.clone());
    thread::spawn(move || events.send(Event::Ended(child.wait())));

    let mut deadline: Option<Instant> = None;
    loop {
        let patience = deadline.map_or(PERIOD, |at| at.saturating_duration_since(Instant::now()));
        match inbox.recv_timeout(patience) {
            Ok(Event::Ended(status)) => return Ok(verdict(name, status.map_err(failed)?, deadline.is_some())),
            Ok(Event::Stop) if deadline.is_none() => {
                talk(&format!("kube: stopping {name}"));
                deadline = Some(Instant::now() + grace);
                // it may have ended at this moment; the next event shows that
                let _ = kill_process(pid, Signal::TERM);
            }
            Err(RecvTimeoutError::Timeout) if deadline.is_some() => {
                talk(&format!("kube: {name} did not stop within {} s, killing it", grace.as_secs()));
                let _ = kill_process(pid, Signal::KILL);
                deadline = Some(Instant::now() + grace);
            }
            Err(RecvTimeoutError::Timeout) => regularly(),
            // A second request changes nothing; the channel lives as long as the child does.
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => {}
        }
    }
}

/// Our exit code: success after a signal, else failure, so that systemd restarts the service.
fn verdict(name: &str, status: ExitStatus, asked: bool) -> ExitCode {
    talk(&format!("kube: {name} ended: {status}"));
    if asked { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn wait_for_signals(mut signals: Signals, events: Sender<Event>) {
    thread::spawn(move || {
        for _ in signals.forever() {
            if events.send(Event::Stop).is_err() {
                return;
            }
        }
    });
}

/// Writes each line of the child after its name. Replaces bytes that are no text.
fn pass_on(name: &'static str, lines: impl Read + Send + 'static) {
    thread::spawn(move || {
        for line in BufReader::new(lines).split(b'\n').map_while(Result::ok) {
            talk(&format!("{name}: {}", String::from_utf8_lossy(&line).trim_end()));
        }
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rustix::process::getpid;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// One test, because signals reach the whole process.
    #[test]
    fn the_childs_end_is_ours() {
        let never = || {};
        let code = watch(shell("exit 0"), "test", GRACE, never).unwrap();
        assert_eq!(code, ExitCode::FAILURE, "it ended by itself, whatever its code was");

        let stop_soon = || {
            thread::spawn(|| {
                thread::sleep(Duration::from_millis(300));
                kill_process(getpid(), Signal::TERM).unwrap();
            })
        };
        let gentle = stop_soon();
        let start = Instant::now();
        let code = watch(shell("trap 'exit 3' TERM; while :; do sleep 0.05; done"), "test", GRACE, never).unwrap();
        gentle.join().unwrap();
        assert_eq!(code, ExitCode::SUCCESS);
        assert!(start.elapsed() < GRACE);

        let stubborn = stop_soon();
        let grace = Duration::from_millis(300);
        let code = watch(shell("trap '' TERM; while :; do sleep 0.05; done"), "test", grace, never).unwrap();
        stubborn.join().unwrap();
        assert_eq!(code, ExitCode::SUCCESS, "killed after the grace period");

        assert!(watch(Command::new("/does/not/exist"), "test", GRACE, never).is_err());
    }
}
