//! `cargo xtask`: the command line of the builder.
//!
//! ```text
//! cli.rs ─► verbs/*.rs ─► session.rs (definitions, lock, cache, events) ─► crates/steps and the other crates
//!                └──────► failure.rs: what went wrong ─► exit.rs: a stable exit code
//! ```
//! Deliberately absent: build logic. Verbs call libraries, show events and render errors. stdout is data, stderr is
//! talk.

// the command line is the one place that talks to the user
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod cli;
mod events;
mod exit;
mod failure;
mod session;
mod verbs;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    // a sandbox starts this program again
    sandbox::maybe_enter();
    let cli = cli::Cli::parse();
    match verbs::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", failure.text);
            if let Some(hint) = &failure.hint {
                eprintln!("\nhint: {hint}");
            }
            failure.exit.into()
        }
    }
}
