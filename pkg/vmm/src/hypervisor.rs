//! What runs guests: the one edge between `vmm` and a hypervisor.
//!
//! ```text
//! App ─► prepare ─► Guest ─► Hypervisor::start ─► Running: console, orders, facts, end
//! ```
//! A [`Guest`] says nothing that only one hypervisor understands; a hypervisor knows nothing of declarations, restarts,
//! images and clients.

use crate::error::Error;
use app::{DiskFormat, Network};
use std::{fmt, future::Future, path::PathBuf, pin::Pin};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, oneshot},
};
use types::Bytes;

/// A machine, ready to be started: every file that it names exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guest {
    /// Its name.
    pub(crate) name: String,
    /// Virtual processors.
    pub(crate) cpus: u32,
    /// Memory.
    pub(crate) memory: Bytes,
    /// What it starts from.
    pub(crate) boot: Boot,
    /// Its disks, in order.
    pub(crate) disks: Vec<Disk>,
    /// Its network cards, in order.
    pub(crate) cards: Vec<Card>,
    /// The folder with the state of its TPM, where it has one.
    pub(crate) tpm: Option<PathBuf>,
    /// A folder of its own for sockets, below /run.
    pub(crate) run: PathBuf,
}

/// What a guest starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Boot {
    /// UEFI, with its variables in this file.
    Uefi { variables: PathBuf },
    /// A Linux kernel.
    Linux { kernel: PathBuf, initrd: Option<PathBuf>, cmdline: String },
}

/// A disk of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) file: PathBuf,
    pub(crate) format: DiskFormat,
    pub(crate) read_only: bool,
}

impl Disk {
    /// A raw disk.
    pub(crate) fn raw(file: impl Into<PathBuf>, read_only: bool) -> Self {
        Self { file: file.into(), format: DiskFormat::Raw, read_only }
    }
}

/// A network card of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Card {
    /// Its address, `52:54:00:…`, the same at every start.
    pub(crate) mac: String,
    /// What it is connected to.
    pub(crate) network: Network,
}

/// An order to a running guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Press the power button, or what the hypervisor has in its place.
    PowerButton,
    /// End it at once.
    Kill,
}

/// How a guest has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// It has switched itself off.
    Off,
    /// Anything else, in words.
    Failed(String),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("switched itself off"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// A started guest. Nothing ends when it is dropped.
pub(crate) struct Running {
    /// What it writes to its serial console.
    pub(crate) output: Box<dyn AsyncRead + Send + Unpin>,
    /// Where what is typed goes.
    pub(crate) input: Box<dyn AsyncWrite + Send + Unpin>,
    /// Where orders go; nobody listens any more when it has ended.
    pub(crate) orders: mpsc::Sender<Order>,
    /// Its end.
    pub(crate) end: oneshot::Receiver<End>,
    /// What there is to say of this run.
    pub(crate) facts: Facts,
}

/// What there is to say of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Facts {
    /// What makes it fast: `kvm`, `tcg` (emulated), `pvh`.
    pub(crate) acceleration: String,
    /// The process on the device, where there is one.
    pub(crate) pid: Option<u32>,
}

/// What starts guests. It is chosen once, by what the machine is.
pub(crate) trait Hypervisor {
    /// Its name in status.
    fn name(&self) -> &'static str;

    /// The name of the serial console in the guest's kernel.
    fn console(&self) -> &'static str;

    /// The template of a guest's UEFI variables; `None` where guests cannot start by UEFI.
    fn uefi(&self) -> Option<&'static str>;

    /// What a container is told of the network behind NAT that its card is on.
    fn nat(&self, card: &Card) -> NatNetwork;

    /// Starts a guest.
    fn start<'a>(&'a self, guest: &'a Guest) -> Starting<'a>;
}

/// A start under way.
pub(crate) type Starting<'a> = Pin<Box<dyn Future<Output = Result<Running, Error>> + 'a>>;

/// The network behind a hypervisor's NAT: the guest's address and prefix, the gateway, the name server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NatNetwork {
    pub(crate) address: std::net::Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) gateway: std::net::Ipv4Addr,
    pub(crate) dns: std::net::Ipv4Addr,
}
