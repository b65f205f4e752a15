//! Runs one command in fresh namespaces, without any setuid helper, as an ordinary user or as root.
//!
//! ```text
//!  caller ── spawns itself ──► stage 1                      ── spawns itself ──► stage 2 = PID 1 inside
//!            (Sandbox::spawn)   unshare user, mount, pid,                         mounts, /dev, /proc, pivot_root,
//!                               ipc, uts, network;                                read-only, capabilities dropped
//!                               map the user to 0                                       │ spawns
//!                                                                                       ▼
//!  what the command sees                                                            the command
//!    /            tmpfs, read-only          /tmp      the caller's scratch folder, or a tmpfs
//!    /usr, /etc…  the toolbox, read-only    /dev      null zero full random urandom tty pts shm
//!    /src, /out…  the caller's binds        /proc     its own; sys, sysrq-trigger, irq, bus, fs read-only,
//!                                                     kcore, keys and their like empty; there is no /sys
//! ```
//! A program that uses this crate calls [`maybe_enter`] as the first line of its `main`: the stages are this same program,
//! started again under another name. So no code runs between `fork` and `exec`, which a threaded program could not do safely.
//!
//! When the caller dies everything inside dies: each stage asks for a kill signal at its parent's death, and the kernel
//! kills a PID namespace with its PID 1. Environment, clock variable, user, host name and umask are always the same.
//!
//! Where the host refuses user namespaces and the caller is root, the other namespaces are made without one: the command
//! is then root of the host, with two capabilities and without a way to the host's files or kernel settings
//! ([`thinner`] tells that this is so). Nothing else is ever left out: what cannot be set up is an error.
//!
//! It deliberately does not limit memory or processors, does not filter system calls, and does not defend against a
//! program that exploits the kernel.

mod error;
mod inside;
mod job;
mod loopback;
mod mounts;
mod probe;
mod spawn;
mod stage;

pub use error::{Error, NoNamespaces};
pub use probe::{Finding, HostReport, Verdict, probe, thinner};
pub use spawn::{Child, Exit, Io, Output};
pub use stage::maybe_enter;

use std::{collections::BTreeMap, path::PathBuf};

/// A file or folder of the host that the command sees.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Bind {
    /// Where it is on the host.
    pub source: PathBuf,
    /// Where the command sees it; an absolute path.
    pub target: PathBuf,
    /// Whether the command may change it.
    pub writable: bool,
}

impl Bind {
    /// To be read only.
    pub fn read_only(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { source: source.into(), target: target.into(), writable: false }
    }

    /// To be read and written.
    pub fn writable(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { source: source.into(), target: target.into(), writable: true }
    }
}

/// Folders that the command sees as one and may change, while the lower ones stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Overlay {
    /// The folders below, topmost first.
    pub lower: Vec<PathBuf>,
    /// Where changes go.
    pub upper: PathBuf,
    /// An empty folder on the same file system as `upper`, for the kernel.
    pub work: PathBuf,
    /// Where the command sees them; an absolute path.
    pub target: PathBuf,
}

/// What the command can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub enum Network {
    /// Only itself: a network namespace with nothing but a loopback interface.
    #[default]
    None,
    /// The host's network; for fetching inputs, never for building.
    Host,
}

/// The world in which a command runs.
#[derive(Debug, Clone, Default)]
pub struct Sandbox {
    /// An unpacked root file system, read-only inside. Its `dev`, `proc`, `sys`, `tmp` and `run` are not used.
    pub root: PathBuf,
    /// What else the command sees. A target that does not exist in `root` is made when no folder of `root` is above it.
    pub binds: Vec<Bind>,
    /// Changeable views of unchangeable folders.
    pub overlays: Vec<Overlay>,
    /// Variables beside, or instead of, the fixed ones.
    pub env: BTreeMap<String, String>,
    /// The folder to start in; `/` when empty.
    pub cwd: PathBuf,
    /// The network.
    pub network: Network,
    /// The folder that is `/tmp` inside; a fresh tmpfs when `None`.
    pub tmp: Option<PathBuf>,
    /// The command makes sandboxes of its own, so that its `/proc` hides nothing: the kernel refuses a new `/proc` in a user
    /// namespace where the present one is covered in part. Only for commands that are trusted like the caller: with a root
    /// caller they can change the host kernel's settings.
    pub nested: bool,
    /// Stay in the terminal's foreground process group, for a shell: Ctrl-C then reaches the command itself.
    pub interactive: bool,
    /// A program that calls [`maybe_enter`]; this very program when `None`.
    pub entry: Option<PathBuf>,
}

impl Sandbox {
    /// A world with this root and nothing else.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), ..Self::default() }
    }

    /// With something else to see.
    #[must_use]
    pub fn bind(mut self, bind: Bind) -> Self {
        self.binds.push(bind);
        self
    }

    /// With a variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// The whole environment of the command.
    #[must_use]
    pub fn environment(&self) -> BTreeMap<String, String> {
        let epoch = types::EPOCH.to_string();
        let fixed = [
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", "/tmp"),
            ("LC_ALL", "C.UTF-8"),
            ("TZ", "UTC"),
            ("SOURCE_DATE_EPOCH", &epoch),
        ];
        let mut all: BTreeMap<_, _> = fixed.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        all.extend(self.env.clone());
        all
    }
}
