//! Guests as domains of Xen, by its toolstack `xl`: with the processor's virtualisation (PVH) where Xen has it, else
//! paravirtualised (PV).
//!
//! ```text
//!  disks ─► losetup ─► xl create, paused ─► xenconsole ─► xl unpause ─► xenstore-watch @releaseDomain ─► xl list: why it ended
//! ```
//! Every step ends or speaks when it is done; nothing is asked for again and again. A domain outlives this service when that
//! is killed: the next start of its app destroys it first.

mod config;
mod disks;
mod nat;
mod state;

use crate::{
    error::Error,
    hypervisor::{Card, End, Facts, Guest, Hypervisor, NatNetwork, Order, Running, Starting},
};
use disks::Loops;
use state::State;
use std::{fs, io, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    sync::{mpsc, oneshot, watch},
};

/// In status and errors.
const NAME: &str = "xen";
/// The client of xenconsoled.
const XENCONSOLE: &str = "/usr/lib/xen-4.20/bin/xenconsole";

/// How a domain uses the processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// With the processor's virtualisation, and without any emulated device.
    Pvh,
    /// Without.
    Pv,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pvh => "pvh",
            Self::Pv => "pv",
        }
    }
}

/// Xen, whose first domain this machine is.
pub(crate) struct Xen {
    kind: Kind,
}

impl Xen {
    /// Xen, if this machine is its first domain.
    pub(crate) fn here() -> Result<Option<Self>, Error> {
        // (kernel, Documentation/ABI/stable/sysfs-hypervisor-xen)
        let read = |path: &str| match fs::read_to_string(path) {
            Ok(text) => Ok(text),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(e) => Err(Error::io("read", path)(e)),
        };
        if read("/sys/hypervisor/type")?.trim() != "xen" {
            return Ok(None);
        }
        let capabilities = read("/sys/hypervisor/properties/capabilities")?;
        Ok(Some(Self { kind: kind(&capabilities) }))
    }
}

/// The kind of domains by what Xen can run, `xen-3.0-x86_64 hvm-3.0-x86_64`. On AArch64 every domain uses the processor's
/// virtualisation, and all are called `xen-3.0-aarch64`.
fn kind(capabilities: &str) -> Kind {
    let hardware = |word: &str| word.starts_with("hvm-") || word.ends_with("-aarch64");
    if capabilities.split_whitespace().any(hardware) { Kind::Pvh } else { Kind::Pv }
}

impl Hypervisor for Xen {
    fn name(&self) -> &'static str {
        NAME
    }

    fn console(&self) -> &'static str {
        "hvc0"
    }

    fn uefi(&self) -> Option<&'static str> {
        None
    }

    fn nat(&self, card: &Card) -> NatNetwork {
        nat::network(&card.mac)
    }

    fn start<'a>(&'a self, guest: &'a Guest) -> Starting<'a> {
        Box::pin(start(self.kind, guest))
    }
}

async fn start(kind: Kind, guest: &Guest) -> Result<Running, Error> {
    let name = &guest.name;
    // left over when this service was killed
    if run("xl", &["domid", name]).await.is_ok() {
        run("xl", &["destroy", name]).await?;
    }
    nat::set_up(guest)?;
    let loops = Loops::attach(&guest.disks).await?;
    match begin(kind, guest, &loops).await {
        Ok(Begun { id, mut console, watch, lines }) => {
            let (Some(input), Some(output)) = (console.stdin.take(), console.stdout.take()) else {
                unreachable!("both are piped")
            };
            let name = name.clone();
            let facts = Facts { acceleration: kind.as_str().to_owned(), uuid: guest.uuid.clone(), pid: None };
            // Xen's back end reports a full file system to the guest as an error
            let (_, pauses) = watch::channel(None);
            let (orders, inbox) = mpsc::channel(4);
            let (tell, end) = oneshot::channel();
            tokio::spawn(async move {
                let end = drive(&id, lines, inbox).await;
                let removed = run("xl", &["destroy", &id]).await;
                // what the guest said last is read by the console's reader: it ends with the domain
                let _ = console.wait().await;
                drop(watch);
                let detached = loops.detach().await;
                for error in [removed.map(drop), detached, nat::remove(&name)].into_iter().filter_map(Result::err) {
                    eprintln!("domain {id}: {error}");
                }
                // who does not wait for the end any more does not want to know it
                let _ = tell.send(end);
            });
            Ok(Running { output: Box::new(output), input: Box::new(input), orders, end, pauses, facts })
        }
        Err(e) => {
            // there may be half a domain, or none
            let _ = run("xl", &["destroy", name]).await;
            loops.detach().await?;
            nat::remove(name)?;
            Err(e)
        }
    }
}

/// A domain that runs.
struct Begun {
    id: String,
    console: Child,
    watch: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

async fn begin(kind: Kind, guest: &Guest, loops: &Loops) -> Result<Begun, Error> {
    let file = guest.run.join("xl.cfg");
    fs::write(&file, config::text(guest, kind, loops.devices())?).map_err(Error::io("write", &file))?;
    let created = run("xl", &["create", "-q", "-p", "-e", &file.display().to_string()]).await;
    created.map_err(|e| Error::NotStarted { what: "the domain", said: e.to_string() })?;
    let id = run("xl", &["domid", &guest.name]).await?.trim().to_owned();
    let console = Command::new(XENCONSOLE)
        .args([id.as_str(), "--interactive"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(Error::io("run", XENCONSOLE))?;
    let mut watch = Command::new("xenstore-watch")
        .arg("@releaseDomain")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(Error::io("run", "xenstore-watch"))?;
    let Some(output) = watch.stdout.take() else { unreachable!("it is piped") };
    let mut lines = BufReader::new(output).lines();
    // the first event comes when the watch is set: from here on no end is missed
    let first = lines.next_line().await.map_err(Error::io("read from", "xenstore-watch"))?;
    if first.is_none() {
        return Err(Error::NotStarted { what: "xenstore-watch", said: "it has ended".to_owned() });
    }
    run("xl", &["unpause", &id]).await?;
    Ok(Begun { id, console, watch, lines })
}

/// Carries out orders until the domain has ended: some domain's end is an event, whose it is has to be looked up.
async fn drive(id: &str, mut ends: Lines<BufReader<ChildStdout>>, mut inbox: mpsc::Receiver<Order>) -> End {
    let mut ordered = true;
    loop {
        tokio::select! {
            event = ends.next_line() => {
                if !matches!(event, Ok(Some(_))) {
                    return End::Failed("xenstore-watch has ended".to_owned());
                }
                match state(id).await {
                    State::Running => {}
                    State::Ended(end) => return end,
                }
            }
            order = inbox.recv(), if ordered => {
                let done = match order {
                    Some(Order::PowerButton) => run("xl", &["shutdown", id]).await,
                    Some(Order::Kill) => run("xl", &["destroy", id]).await,
                    None => {
                        ordered = false;
                        continue;
                    }
                };
                // it may have ended at this very moment, which its own event tells
                if let Err(e) = done {
                    eprintln!("domain {id}: {e}");
                }
            }
        }
    }
}

async fn state(id: &str) -> State {
    match run("xl", &["list", "-v", id]).await {
        Ok(table) => State::of(&table),
        Err(_) => State::Ended(End::Failed("its domain was destroyed".to_owned())),
    }
}

/// Runs a program of the toolstack to its end: what it has said.
async fn run(program: &str, args: &[&str]) -> Result<String, Error> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.map_err(Error::io("run", program))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = said.lines().rev().take(3).collect();
    let said = last.into_iter().rev().collect::<Vec<_>>().join("; ");
    Err(Error::Program { program: format!("{program} {}", args.join(" ")), said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processors_virtualisation_is_used_where_xen_has_it() {
        assert_eq!(kind("xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 \n"), Kind::Pvh);
        assert_eq!(kind("xen-3.0-x86_64 \n"), Kind::Pv);
        assert_eq!(kind("xen-3.0-aarch64 xen-3.0-armv7l \n"), Kind::Pvh);
    }
}
