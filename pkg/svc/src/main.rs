//! `svc` runs one service of the store as an OCI container of the system's containerd.
//!
//! ```text
//!  systemd: evek-<package>.service ─► svc run <package>
//!     store: image, ServiceSpec ─► OCI runtime specification ─► containerd: container, snapshot, task
//!     task's stdout, stderr ─► svc's own ─► journal          probe succeeds ─► READY=1
//!     task ends ─► svc exits with its code ─► systemd restarts as the unit says
//! ```
//! The container's processes are in the unit's own cgroup (`evek.slice/evek-<package>.service/container`), so that
//! systemd shows them, accounts for them, and kills them when `svc` is gone.
//!
//! It does not restart, order or enable anything: that is systemd's. Its own files are in /run.

mod command;
mod error;
mod exec;
mod folders;
mod run;
mod spec;
mod status;
mod stdio;

use command::{Command, Options};
use error::Error;
use std::process::ExitCode;
use store::Store;

/// containerd's namespace for the system's services.
const NAMESPACE: &str = "services";
/// Name of the snapshotter in containerd's configuration.
const SNAPSHOTTER: &str = "stored";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let result = match command::parse(std::env::args().skip(1)) {
        Ok((command, options)) => act(&command, &options).await,
        Err(e) => Err(e),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(e @ Error::Usage { .. }) => {
            eprintln!("error: {e}\n\n{}", command::USAGE);
            ExitCode::from(2)
        }
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

async fn act(command: &Command, options: &Options) -> Result<u8, Error> {
    let store = Store::open(&options.store)?;
    match command {
        Command::Run { package } => run::run(&store, package, options).await,
        Command::Exec { package, args } => exec::exec(&store, package, args, options).await,
        Command::Status { json } => status::print(&store, *json, options).await,
    }
}
