//! `vmm` runs the apps that an operator has declared: virtual machines, and containers in virtual machines of their own.
//!
//! ```text
//! /config/apps, /persist/apps ─► declarations ─► one life an app ─► prepare ─► Guest ─► hypervisor
//!                                                  │     ▲                                  │
//!                                    status ◄──────┘     └── commands           console ◄───┘
//!                                       └──────► /run/vmm/vmm.sock              /run/vmm/<app>/console
//! ```
//! A container runs from the layers of the store where they lie: each layer is a read-only disk of its machine, whose first
//! program is `pkg/guest-init`.
//!
//! Of P3 this service sees `apps`, `images` and its own `vmm`, and nothing else.
//!
//! Deliberately absent: fetching of images and disks, which an operator copies to the device; and guests that outlive this
//! service, which switches them off at its end.

mod client;
mod command;
mod console;
mod declarations;
mod disk;
mod error;
mod files;
mod hypervisor;
mod identity;
mod life;
mod paths;
mod prepare;
mod qcow2;
mod qemu;
mod service;
mod status;
mod terminal;
mod volume;
mod xen;

use command::{USAGE, Verb};
use error::Error;
use hypervisor::Hypervisor;
use paths::Paths;
use service::Command;
use std::{
    io::{self, Write as _},
    process::ExitCode,
    rc::Rc,
};
use types::Arch;

fn main() -> ExitCode {
    let paths = Paths::default();
    let result = command::parse(std::env::args().skip(1)).and_then(|verb| match verb {
        Verb::Run => run(paths),
        Verb::Status { json } => status(&paths, json),
        Verb::Ready => client::ask(&paths, &Command::Status).map(drop),
        Verb::Order(command) => client::ask(&paths, &command).map(drop),
        Verb::Console { app, until } => client::console(&paths, &app, &until),
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

fn run(paths: Paths) -> Result<(), Error> {
    let usage = || Error::Usage { what: "this program runs on x86-64 and AArch64 only".to_owned() };
    let hypervisor: Rc<dyn Hypervisor> = match xen::Xen::here()? {
        Some(xen) => Rc::new(xen),
        None => Rc::new(qemu::Qemu::new(Arch::host().ok_or_else(usage)?)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Error::io("start", "the runtime"))?.block_on(service::run(paths, hypervisor))
}

fn status(paths: &Paths, json: bool) -> Result<(), Error> {
    let status = client::ask(paths, &Command::Status)?.unwrap_or_default();
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
