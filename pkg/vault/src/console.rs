//! A key that someone types at the console, or gives in another way that systemd-ask-password(1) has.

use crate::{medium::line, paths::Paths};
use rustix::process::{Pid, Signal, kill_process};
use std::process::Child;

const QUESTION: &str = "Recovery key of P3, or insert the medium EVEKEY:";

/// The question. It is shown as long as this value lives.
#[derive(Debug, Default)]
pub(crate) struct Console {
    asking: Option<Child>,
    is_mute: bool,
}

impl Console {
    /// The answer, if there is one. After an answer, the question is shown again.
    pub(crate) fn answer(&mut self, paths: &Paths) -> Option<Vec<u8>> {
        if self.is_mute {
            return None;
        }
        match self.asking.take() {
            None => {
                let ask = paths.tool("systemd-ask-password").args(["--timeout=0", "--no-tty", "--id=evek-vault"]);
                match ask.args(["--icon=drive-harddisk", QUESTION]).start() {
                    Ok(child) => self.asking = Some(child),
                    Err(e) => {
                        eprintln!("{e}; only the medium is left");
                        self.is_mute = true;
                    }
                }
                None
            }
            Some(mut child) => match child.try_wait() {
                Ok(None) => {
                    self.asking = Some(child);
                    None
                }
                // a question that was withdrawn or not answered is shown again
                Ok(Some(status)) if !status.success() => None,
                _ => {
                    let output = child.wait_with_output().ok()?;
                    Some(line(&output.stdout).to_vec()).filter(|key| !key.is_empty())
                }
            },
        }
    }
}

impl Drop for Console {
    /// Ends the program, which withdraws its question from those who show it.
    fn drop(&mut self) {
        if let Some(mut child) = self.asking.take() {
            // it may have ended already
            let _ = kill_process(Pid::from_child(&child), Signal::TERM);
            let _ = child.wait();
        }
    }
}
