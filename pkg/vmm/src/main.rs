//! `vmm`: runs what the operator of this device has declared — virtual machines, and containers in virtual machines of their own.
//!
//! ```text
//! /config/apps, /persist/apps ─► declarations ─► one life an app ─► prepare ─► Guest ─► hypervisor
//!                                                  │     ▲                                  │
//!                                    status ◄──────┘     └── commands           console ◄───┘
//!                                       └──────► /run/vmm/vmm.sock              /run/vmm/<app>/console
//! ```
//! A container runs from the layers of the store where they lie: each is a read-only disk of its machine, whose first program
//! is `pkg/guest-init`.
//!
//! Deliberately absent: fetching of images and disks, which are there or not; and a life of guests beyond this service's own:
//! when it ends, it switches them off.

mod client;
mod command;
mod console;
mod declarations;
mod error;
mod hypervisor;
mod life;
mod places;
mod prepare;
mod qemu;
mod service;
mod status;
mod xen;

use command::{USAGE, Verb};
use error::Error;
use hypervisor::Hypervisor;
use places::Places;
use service::Command;
use std::{
    io::{self, Write as _},
    process::ExitCode,
    rc::Rc,
};
use types::Arch;

fn main() -> ExitCode {
    let places = Places::default();
    let result = command::parse(std::env::args().skip(1)).and_then(|verb| match verb {
        Verb::Run => run(places),
        Verb::Status { json } => status(&places, json),
        Verb::Ready => client::ask(&places, &Command::Status).map(drop),
        Verb::Order(command) => client::ask(&places, &command).map(drop),
        Verb::Console { app, until } => client::console(&places, &app, &until),
        Verb::Help => print(USAGE),
    });
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

fn run(places: Places) -> Result<(), Error> {
    let usage = || Error::Usage { what: "this program runs on x86-64 and AArch64 only".to_owned() };
    let hypervisor: Rc<dyn Hypervisor> = match xen::Xen::here()? {
        Some(xen) => Rc::new(xen),
        None => Rc::new(qemu::Qemu::new(Arch::host().ok_or_else(usage)?)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Error::io("start", "the runtime"))?.block_on(service::run(places, hypervisor))
}

fn status(places: &Places, json: bool) -> Result<(), Error> {
    let status = client::ask(places, &Command::Status)?.unwrap_or_default();
    let as_json = || serde_json::to_string_pretty(&status).unwrap_or_default();
    print(&if json { as_json() } else { status.to_string() })
}

/// The answer to a question goes to standard output; a reader that has gone away is no error of ours.
fn print(text: &str) -> Result<(), Error> {
    match writeln!(io::stdout(), "{}", text.trim_end()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::io("write to", "standard output")(e)),
        _ => Ok(()),
    }
}
