//! `vault`: opens P3, the state of this device, with a key that the TPM releases to the owner's images and CONFIG only.
//!
//! ```text
//!  measure: files of CONFIG ─► PCR 14
//!  make:    systemd-repart makes P3 ─► LUKS2, its key in the TPM ── bound to ─► PCR 7   the firmware's keys, Secure Boot
//!                │ no usable TPM: plain, the owner's key, or nothing            PCR 14  CONFIG
//!                ▼                                                              PCR 11  images with the owner's signature
//!  open:    is P3 the volume that this TPM sealed? ── no ─► refused
//!                ▼ yes, or the TPM has sealed none
//!           P3 ─► /dev/mapper/persist ── the TPM refuses? ─► the reason, then the recovery key for this start
//!                ▼                                           (medium EVEKEY, or the console)
//!  keep:    /persist/vault: a recovery key, and the list of CONFIG's sealed files
//!
//!  seal:    the owner accepts machine, volume and CONFIG: key ─► TPM, volume's digest ─► TPM
//! ```
//! Where each fact lies: in P3's header the tokens of systemd and one of the vault's own (`header`), which explains a refusal; in
//! the TPM the digest of the volume (`nv`, `volume`); within P3 the recovery key and the files of CONFIG (`changes`).
//!
//! Deliberately absent: cryptography, which the tools of systemd and cryptsetup do, and a way to encrypt an existing P3 in place.

mod changes;
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
mod nv;
mod open;
mod paths;
mod reason;
mod record;
mod recovery;
mod seal;
mod status;
mod tools;
mod tpm;
mod volume;
mod wait;

use command::{Seal, USAGE, Verb};
use error::Error;
use paths::Paths;
use record::Record;
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
        Verb::Status { json } => print(&status::Report::read(paths)?.text(*json)?),
        Verb::Seal(Seal::Show) => print(&seal::show(paths)?),
        Verb::Seal(Seal::By(source)) => seal::seal_now(paths, *source, io::stdin()),
        Verb::RecoveryKey { new: false } => print(&recovery::kept(paths)?),
        Verb::RecoveryKey { new: true } => print(&recovery::renew(paths)?),
        Verb::Measure => measure::measure(paths),
        Verb::Make => Record::explains(paths, make::make(paths)),
        Verb::Open => Record::explains(paths, open::open(paths)),
        Verb::Keep => keep::keep(paths),
        Verb::Help => print(USAGE),
    }
}

/// Writes an answer to standard output. A reader that has gone away is no error here.
fn print(text: &str) -> Result<(), Error> {
    match writeln!(io::stdout(), "{}", text.trim_end()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::io("write to", "standard output")(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
