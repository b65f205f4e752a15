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
//! The agent owns the configuration: at each start it writes everything that k3s reads, from the state of the device.
//! It does not restart k3s: when k3s ends, the agent ends too, and the service's restart policy starts both again. So
//! there is one place that restarts, and each restart finds the node's address again.

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

/// Writes everything that k3s reads, then runs k3s until it ends.
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

/// Prints an answer to standard output; a closed pipe is no error.
fn print(text: &str) -> Result<ExitCode, Error> {
    match writeln!(io::stdout(), "{}", text.trim_end()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::io("write to", "standard output", error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Prints messages to standard error; a closed pipe is no error.
pub(crate) fn talk(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
