//! `state`: a broken CONFIG or P3 never takes the device away.
//!
//! ```text
//!  config   CONFIG ── cannot be mounted? ─► empty, read-only, in memory, at /config                    ┐ /run/evek/config.json
//!  persist  P3     ── cannot be mounted? ─► e2fsck ─► still not? ─► empty, in memory, at /persist      ┘ /run/evek/persist.json
//!  ssh      authorized_keys of CONFIG, or P3's copy of them ─► /run/evek/ssh
//!           host key of P3, made anew if it is damaged      ─► /run/evek/ssh, or only there if P3 takes none
//!  report   fails, with the reason, when something stands in for a partition
//! ```
//! `config` and `persist` only try: where the partition can be mounted they unmount it again, and `config.mount` and
//! `persist.mount` mount it with their own options. Where it cannot, systemd finds the stand-in at the mount point and
//! regards the mount unit as active, so that everything which needs the mount point starts.
//!
//! Deliberately absent: opening P3 and making it, which `vault` does, and any repair of CONFIG, whose owner has the original.

mod command;
mod error;
mod keys;
mod mounts;
mod paths;
mod report;
mod size;
mod stand_in;

use command::{USAGE, Verb};
use error::Error;
use paths::Paths;
use std::process::ExitCode;

fn main() -> ExitCode {
    match command::parse(std::env::args().skip(1)).and_then(|verb| act(verb, &Paths::default())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e @ Error::Usage { .. }) => {
            eprintln!("error: {e}\n\n{USAGE}");
            ExitCode::from(2)
        }
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn act(verb: Verb, paths: &Paths) -> Result<(), Error> {
    match verb {
        Verb::Config => stand_in::config(paths, &mounts::Kernel),
        Verb::Persist => stand_in::persist(paths, &mounts::Kernel),
        Verb::Ssh => keys::prepare(paths),
        Verb::Report => report::report(paths),
    }
}
