//! The one edge between `vmm` and a hypervisor.
//!
//! ```text
//! App ─► prepare ─► Guest ─► Hypervisor::start ─► Running: console, orders, facts, pauses, end
//! ```
//! A [`Guest`] has nothing that only one hypervisor understands. Hypervisors do not depend on declarations, restarts, images
//! and clients.

use crate::error::Error;
use app::{DiskFormat, Network};
use std::{fmt, future::Future, path::PathBuf, pin::Pin};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, oneshot, watch},
};
use types::Bytes;

/// A machine, ready to be started: every file that it names exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guest {
    /// Its name.
    pub(crate) name: String,
    /// Its UUID, as its firmware shows it.
    pub(crate) uuid: String,
    /// User and group of its process on the device, where it has one.
    pub(crate) uid: u32,
    /// Virtual processors.
    pub(crate) cpus: u32,
    /// Memory.
    pub(crate) memory: Bytes,
    /// Its firmware or kernel.
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

/// The firmware or kernel of a guest.
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
    /// The network that it is connected to.
    pub(crate) network: Network,
}

/// An order to a running guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Press the power button, or its equivalent in this hypervisor.
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

/// Why a hypervisor has paused a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pause {
    /// A disk's file cannot grow, because P3 is full.
    NoSpace,
    /// Writing to a disk's file failed for another reason.
    Failed,
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSpace => "no space on P3",
            Self::Failed => "a write to a disk failed",
        })
    }
}

/// A started guest. Nothing ends when it is dropped.
pub(crate) struct Running {
    /// The output of its serial console.
    pub(crate) output: Box<dyn AsyncRead + Send + Unpin>,
    /// The input of its serial console.
    pub(crate) input: Box<dyn AsyncWrite + Send + Unpin>,
    /// Receives orders until it has ended.
    pub(crate) orders: mpsc::Sender<Order>,
    /// Its end.
    pub(crate) end: oneshot::Receiver<End>,
    /// Why it is paused, while it is.
    pub(crate) pauses: watch::Receiver<Option<Pause>>,
    /// Facts of this run.
    pub(crate) facts: Facts,
}

/// Facts of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Facts {
    /// How it uses the processor: `kvm`, `tcg` (emulated), `pvh`, `pv`.
    pub(crate) acceleration: String,
    /// The guest's UUID.
    #[serde(default)]
    pub(crate) uuid: String,
    /// The process on the device, where there is one.
    pub(crate) pid: Option<u32>,
}

/// A hypervisor. vmm chooses it once, at its start.
pub(crate) trait Hypervisor {
    /// Its name in status.
    fn name(&self) -> &'static str;

    /// The name of the serial console in the guest's kernel.
    fn console(&self) -> &'static str;

    /// The template of a guest's UEFI variables; `None` where guests cannot start by UEFI.
    fn uefi(&self) -> Option<&'static str>;

    /// The settings of a container's card behind NAT.
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
