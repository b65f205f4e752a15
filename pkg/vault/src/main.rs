//! `vault`: opens P3, the state of this device, with a key that the TPM gives to the owner's images and CONFIG only.
//!
//! ```text
//!  measure: files of CONFIG ─► PCR 14
//!  make:    systemd-repart makes P3 ─► LUKS2, its key in the TPM ── bound to ─► PCR 7   the firmware's keys, Secure Boot
//!                │ no TPM: plain, the owner's key, or nothing                   PCR 14  CONFIG
//!                ▼                                                              PCR 11  images with the owner's signature
//!  open:    P3 ─► /dev/mapper/persist ── the TPM refuses? ─► why, then the recovery key: medium EVEKEY, or the console
//!                ▼
//!  keep:    sealed anew when a key was needed; a recovery key in /persist/vault
//! ```
//! All that it knows is in P3's own header: tokens of systemd, and one of its own (`header`), which tells why the TPM refuses.
//!
//! Deliberately absent: cryptography, which the tools of systemd and cryptsetup do, and a way to encrypt what is there already.

mod command;
mod config;
mod console;
mod content;
mod error;
mod file;
mod firmware;
mod header;
mod keep;
mod make;
mod measure;
mod medium;
mod open;
mod places;
mod reason;
mod record;
mod recovery;
mod seal;
mod status;
mod tools;
mod tpm;
mod wait;

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
        Verb::Seal => seal::seal_now(places),
        Verb::RecoveryKey { new: false } => print(&recovery::kept(places)?),
        Verb::RecoveryKey { new: true } => print(&recovery::renew(places)?),
        Verb::Measure => measure::measure(places),
        Verb::Make => make::make(places),
        Verb::Open => open::open(places),
        Verb::Keep => keep::keep(places),
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
