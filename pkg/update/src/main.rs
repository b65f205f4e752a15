//! `update`: writes another image into the slot that is not running, lets it start on trial, and reports the result.
//!
//! ```text
//!  apply:      source (folder, tar, web server, registry, USB) ─► update.json, signed by whom this device trusts?
//!                ─► kernel image of chunks, signed? ─► slot: EROFS of blobs here and there ─► root hash as signed?
//!                ─► slots::Device::activate ─► restart ─► systemd-boot counts a start
//!  trial:      a restart when the image is not found good within its time      (early; needs neither P3 nor CONFIG)
//!  emergency:  a restart when systemd is in emergency mode
//!  report:     why the start before this one ended ─► /persist/update
//!  bless:      every service is ready, every address answers ─► good ─► its boot loader is tried with the next start (`loader`)
//! ```
//! The state of the slots is on the disk itself (`crates/slots`); `/persist/update` only makes an update resume and explain.
//!
//! Deliberately absent: the choice when to update. A controller or an operator makes it.

mod apply;
mod command;
mod config;
mod efi;
mod error;
mod floor;
mod health;
mod http;
mod kernel;
mod limit;
mod loader;
mod machine;
mod paths;
mod patience;
mod record;
mod report;
mod source;
mod status;
mod trial;
mod trust;
mod writer;

use command::{USAGE, Verb};
use error::Error;
use machine::Host;
use paths::Paths;
use std::{
    io::{self, Write as _},
    process::ExitCode,
};

fn main() -> ExitCode {
    let result = command::parse(std::env::args().skip(1)).and_then(|verb| act(&verb, &Paths::default()));
    match result {
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

fn act(verb: &Verb, paths: &Paths) -> Result<(), Error> {
    match verb {
        Verb::Status { json } => print(&status::Report::read(paths)?.text(*json)),
        Verb::Apply(options) => apply::apply(paths, &Host, options),
        Verb::Resume => apply::resume(paths, &Host),
        Verb::Rollback { reboot } => health::go_back(paths, &Host, *reboot),
        Verb::Report => report::report(paths),
        Verb::Emergency => trial::emergency(paths, &Host),
        Verb::Trial => trial::trial(paths, &Host),
        Verb::Bless => health::bless(paths, &Host),
        Verb::Help => print(USAGE),
    }
}

/// The answer to a question goes to standard output; a reader that has gone away is no error of ours.
fn print(text: &str) -> Result<(), Error> {
    match writeln!(io::stdout(), "{}", text.trim_end()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::io("write to", "standard output")(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
