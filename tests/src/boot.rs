//! Booting an image for a test.

use crate::{
    builder::{entry, image, raw, scratch, variable},
    inputs::note,
};
use std::{env, path::PathBuf, time::Duration};
use types::{Arch, Bytes, Flavour};
use vm::{Accel, Change, Firmware, Guest, Machine, Network, QEMU_VARIABLE, State, Tools, probe};

/// How to boot.
#[derive(Debug)]
pub struct Boot {
    /// Name of the test; its folder is `target/boot/<name>`.
    pub name: &'static str,
    /// The flavour.
    pub flavour: Flavour,
    /// The architecture.
    pub arch: Arch,
    /// The image's folder.
    pub image: PathBuf,
    /// Memory.
    pub memory: Bytes,
    /// Network cards.
    pub network: Network,
    /// Files of CONFIG beside the key.
    pub config: Vec<(String, Vec<u8>)>,
    /// Whether CONFIG brings a key.
    pub with_ssh: bool,
    /// The firmware.
    pub firmware: Firmware,
    /// Whether there is a TPM.
    pub tpm: bool,
    /// What is otherwise on the disk than in the image.
    pub changes: Vec<Change>,
    /// A raw disk instead of the image's.
    pub disk: Option<PathBuf>,
    /// What the machine has been through before.
    pub state: State,
    /// Whether the disk stays when the machine has ended.
    pub keeps: bool,
    /// Whether what the guest writes to its disk is noted.
    pub records: bool,
    /// Whether a reset starts the guest anew.
    pub reboots: bool,
    /// Whether there is a watchdog.
    pub watchdog: bool,
    /// The size of the disk; that of the image where absent.
    pub disk_size: Option<Bytes>,
    /// Further arguments for QEMU.
    pub extra: Vec<String>,
}

impl Boot {
    /// This checkout's image with a key, 2 GiB, a network of its own and firmware that starts everything.
    #[must_use]
    pub fn of(name: &'static str, flavour: Flavour, arch: Arch) -> Self {
        Self {
            name,
            flavour,
            arch,
            image: image(flavour, arch),
            memory: Bytes::gib(2),
            network: Network::Isolated,
            config: Vec::new(),
            with_ssh: true,
            firmware: Firmware::Open,
            tpm: false,
            changes: Vec::new(),
            disk: None,
            state: State::Fresh,
            keeps: false,
            records: false,
            reboots: false,
            watchdog: false,
            disk_size: Some(Bytes::gib(32)),
            extra: Vec::new(),
        }
    }
}

/// A booting guest and how much slower than real it is.
pub struct Booting {
    /// The guest.
    pub guest: Guest,
    /// The folder of the image that it boots.
    pub image: PathBuf,
    /// The saved machine that it was restored from; absent where it was booted.
    pub saved: Option<PathBuf>,
    slow: bool,
}

impl Booting {
    /// A limit for something that takes this long at most on a real processor; emulation gets fifteen times as long, on a
    /// host that does other things as well.
    #[must_use]
    pub fn limit(&self, seconds: u64) -> Duration {
        Duration::from_secs(if self.slow { seconds * 15 } else { seconds })
    }
}

/// Boots the up-to-date image of a flavour.
///
/// # Panics
/// When the machine cannot be started.
#[must_use]
pub fn boot(options: Boot) -> Booting {
    Planned::of(options).start()
}

/// A machine with all that starts it.
pub(crate) struct Planned {
    pub(crate) machine: Machine,
    pub(crate) tools: Tools,
    pub(crate) accel: Accel,
    pub(crate) image: PathBuf,
    pub(crate) with_ssh: bool,
}

impl Planned {
    pub(crate) fn of(options: Boot) -> Self {
        let host = env::var_os(QEMU_VARIABLE).is_some_and(|v| v == "host");
        let toolbox = if host {
            // its programs may change without a trace, so this input never has a value
            note("EVEK_QEMU=host");
            PathBuf::new()
        } else {
            variable(&format!("EVEK_TOOLBOX_QEMU_{}", options.arch).to_uppercase())
        };
        let tools = Tools::choose(&toolbox).entered_by(&entry());
        let folder = scratch();
        let verdict = probe(&tools, options.arch, &folder.join(format!("acceleration-{}.json", options.arch)))
            .unwrap_or_else(|e| panic!("{e}"));
        let machine = Machine {
            arch: options.arch,
            firmware: options.firmware,
            tpm: options.tpm,
            watchdog: options.watchdog,
            boots: options.flavour.into(),
            cpus: 2,
            memory: options.memory,
            disk: options.disk.unwrap_or_else(|| raw(&options.image)),
            state: options.state,
            keeps: options.keeps,
            records: options.records,
            disk_size: options.disk_size,
            network: options.network,
            config: options.config,
            changes: options.changes,
            reboots: options.reboots,
            dir: folder.join(options.name),
            replay: format!("cargo xtask run --hv {} --arch {}", options.flavour, options.arch),
            extra: options.extra,
        };
        Self { machine, tools, accel: verdict.accel, image: options.image, with_ssh: options.with_ssh }
    }

    /// The same with another machine.
    pub(crate) fn with(&self, machine: Machine) -> Self {
        let (tools, image) = (self.tools.clone(), self.image.clone());
        Self { machine, tools, accel: self.accel, image, with_ssh: self.with_ssh }
    }

    pub(crate) fn start(self) -> Booting {
        let guest = Guest::start(&self.machine, &self.tools, self.accel, self.with_ssh, None);
        let guest = guest.unwrap_or_else(|e| panic!("{e}"));
        Booting { guest, image: self.image, saved: None, slow: self.accel == Accel::Tcg }
    }
}
