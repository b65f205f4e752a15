//! `pause`: the first process of a Kubernetes pod. It holds the pod's namespaces, reaps orphaned processes when the pod
//! shares one process namespace, and ends on SIGTERM or SIGINT.
//!
//! It opens nothing, writes nothing and takes no argument.

use rustix::process::{WaitOptions, wait};
use signal_hook::{
    consts::{SIGCHLD, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::process::ExitCode;

fn main() -> ExitCode {
    let Ok(mut signals) = Signals::new([SIGTERM, SIGINT, SIGCHLD]) else { return ExitCode::FAILURE };
    for signal in signals.forever() {
        if signal != SIGCHLD {
            break;
        }
        // one signal may stand for many children
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
    ExitCode::SUCCESS
}
