//! `kube`: the agent that makes this device a Kubernetes node.
//!
//! ```text
//!  kube run ── node     name and address ──┐
//!           ── cni      pod network        ├─► k3s server ──► kubelet ──► containerd (the host's, images from the store)
//!           ── config   k3s' settings      │        ▲
//!           ── manifests  add-ons ─────────┘        │ supervise: log lines, signals, end
//!           ── dns      name servers ──► CoreDNS    │
//!  kube ready, kube status ── api ── HTTPS ─────────┘
//! ```
//! It owns the configuration: everything that k3s reads is written anew at each start from what the device is. It does not
//! restart k3s: when k3s ends, the agent ends with it, and the service's own restart policy starts both anew, so there is one
//! place that restarts, and the node's address is looked for again.

mod api;
mod cni;
mod config;
mod dns;
mod error;
mod manifests;
mod node;
mod status;
mod supervise;

use config::Paths;
use error::Error;
use std::{
    io::{self, Write},
    process::ExitCode,
};

const USAGE: &str = "usage: kube run             configure and run this Kubernetes node
       kube ready           exit code 0 when the node and its DNS are ready
       kube status [--json] what runs here and what does not";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let paths = Paths::default();
    let outcome = match args[..] {
        ["run"] => run(&paths),
        ["ready"] => status::ready(&paths).map(|()| ExitCode::SUCCESS),
        ["status"] => status::gather(&paths).and_then(|status| print(&status.to_string())),
        ["status", "--json"] => status::gather(&paths).and_then(|status| print(&status.to_json())),
        ["help" | "--help" | "-h"] => print(USAGE),
        _ => {
            talk(USAGE);
            return ExitCode::from(2);
        }
    };
    outcome.unwrap_or_else(|error| {
        talk(&format!("kube: {error}"));
        ExitCode::FAILURE
    })
}

/// Everything that k3s reads, then k3s until it ends.
fn run(paths: &Paths) -> Result<ExitCode, Error> {
    let node = node::find(paths)?;
    talk(&format!("kube: node {} at {} ({})", node.name, node.address, node.interface));
    cni::write(paths)?;
    let mut name_servers = dns::NameServers::default();
    name_servers.refresh(paths)?;
    config::write(paths, &node)?;
    for name in manifests::write(paths)? {
        talk(&format!("kube: add-on {name}"));
    }
    supervise::run(paths, || match name_servers.refresh(paths) {
        Ok(true) => talk(&format!("kube: name servers {name_servers}")),
        Ok(false) => {}
        Err(error) => talk(&format!("kube: {error}")),
    })
}

/// The answer to a question goes to standard output; a reader that has gone away is no error of ours.
fn print(text: &str) -> Result<ExitCode, Error> {
    match writeln!(io::stdout(), "{}", text.trim_end()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::io("write to", "standard output", error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// What is said beside answers goes to standard error; there is nothing to do when nobody listens.
pub(crate) fn talk(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
