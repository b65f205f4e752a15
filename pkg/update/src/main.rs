//! `update`: puts another image into the slot that is not running, has it tried, and tells what became of it.
//!
//! ```text
//!  apply:  source (folder, tar, web server, registry, USB) ─► update.json, signed by whom this device trusts?
//!            ─► kernel image of chunks, signed? ─► slot: EROFS of blobs here and there ─► root hash as promised?
//!            ─► slots::Device::activate ─► restart ─► systemd-boot counts a try
//!  trial:  within the time allowed, or the machine restarts and the reason is kept
//!  bless:  every service is ready, the controller answers ─► good ─► its boot loader is tried with the next start (`loader`)
//! ```
//! What it knows is on the disk itself (`crates/slots`); `/persist/update` only holds what makes it resume and explain.
//!
//! Deliberately absent: choosing when to update. A controller or an operator does.

mod apply;
mod command;
mod config;
mod efi;
mod error;
mod health;
mod http;
mod kernel;
mod limit;
mod loader;
mod machine;
mod places;
mod record;
mod source;
mod status;
mod trust;
mod writer;

use command::{USAGE, Verb};
use error::Error;
use places::Places;
use std::{
    io::{self, Write as _},
    process::ExitCode,
};

fn main() -> ExitCode {
    let result = command::parse(std::env::args().skip(1)).and_then(|verb| act(&verb, &Places::default()));
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

fn act(verb: &Verb, places: &Places) -> Result<(), Error> {
    match verb {
        Verb::Status { json } => print(&status::Report::read(places)?.text(*json)),
        Verb::Apply(options) => apply::apply(places, options),
        Verb::Resume => apply::resume(places),
        Verb::Rollback { reboot } => health::go_back(places, *reboot),
        Verb::Trial => health::trial(places),
        Verb::Bless => health::bless(places),
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
