//! The machine as wished for.

mod line;

use crate::firmware::Firmware;
pub(crate) use line::{Console, Files, command_line, escape, model, program, shell_line};
use std::path::PathBuf;
use types::{Arch, Bytes, Flavour};

/// Name of the virtio-serial port on which the guest runs `sshd -i`.
pub const SSH_PORT_NAME: &str = "org.evek.ssh";

/// A virtual machine that boots a disk image without changing it.
#[derive(Debug, Clone)]
pub struct Machine {
    /// What the image is for.
    pub arch: Arch,
    /// The firmware.
    pub firmware: Firmware,
    /// Whether it has a TPM 2.0.
    pub tpm: bool,
    /// Whether it has a watchdog, an Intel 6300ESB. When it has bitten, QEMU tells of the event `WATCHDOG` and resets the
    /// machine, which ends QEMU unless the machine [reboots](Self::reboots).
    pub watchdog: bool,
    /// What the firmware starts.
    pub boots: Boots,
    /// Processors.
    pub cpus: u32,
    /// Memory.
    pub memory: Bytes,
    /// The raw disk image. It is opened read-only; the guest writes to an overlay.
    pub disk: PathBuf,
    /// What the machine has been through before.
    pub state: State,
    /// Whether the overlay stays when the machine has ended, for [`State::Kept`] and [`Left::disk`](crate::Left::disk).
    pub keeps: bool,
    /// Whether everything that the guest writes to its disk is noted, for [`Left::writes`](crate::Left::writes).
    pub records: bool,
    /// Size of the disk that the guest sees; the image's own where absent. Smaller than the image is an error.
    pub disk_size: Option<Bytes>,
    /// Network cards.
    pub network: Network,
    /// Files of the CONFIG partition: path below `/config` and content. Where there are none and no SSH key is given
    /// either, the image's own CONFIG partition stays. Only for [`State::Fresh`].
    pub config: Vec<(String, Vec<u8>)>,
    /// What is otherwise on the disk than in the image. Only for [`State::Fresh`].
    pub changes: Vec<Change>,
    /// Whether a reset starts the guest anew; otherwise it ends QEMU, which is what a test wants to know. With it nothing
    /// that a guest comes back from, such as a panic of its kernel, ends a wait.
    pub reboots: bool,
    /// Folder for the overlay, the logs and `qemu.txt`; made where it is missing, and it outlives the machine.
    pub dir: PathBuf,
    /// The command that a user types to see the same again; shown with failures.
    pub replay: String,
    /// Further arguments for QEMU.
    pub extra: Vec<String>,
}

/// What a machine has been through before it starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum State {
    /// Nothing: the disk is the image with [`config`](Machine::config) and [`changes`](Machine::changes); the SSH key, the
    /// firmware's variables and the TPM are new.
    #[default]
    Fresh,
    /// What the machine before it in the same folder has been through, which had [`keeps`](Machine::keeps): disk, key,
    /// variables and TPM are as that one left them.
    Kept,
    /// What another machine has been through, except for its disk, which is [`Machine::disk`] as it is: the key, variables
    /// and TPM are copies of those in that machine's folder.
    Given {
        /// The folder of the other machine.
        from: PathBuf,
    },
    /// What another machine of the same [kind](Machine::kind) was in the middle of when it was [saved](crate::Guest::save): it
    /// goes on from there, with the other's key. Any number of machines may do so.
    Saved {
        /// The folder of the saved machine, which stays as it is.
        from: PathBuf,
    },
}

/// A change of what is on the disk, for the guest only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A partition starts with the bytes of a file.
    Content {
        /// The partition's label.
        label: String,
        /// The file.
        file: PathBuf,
    },
    /// All bits of one byte of a partition are turned round.
    Damage {
        /// The partition's label.
        label: String,
        /// Where the byte is in the partition.
        at: Bytes,
    },
}

/// What the firmware starts, which decides what the machine must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Boots {
    /// A kernel.
    #[default]
    Kernel,
    /// Xen, which needs a processor that can run guests.
    Xen,
}

impl From<Flavour> for Boots {
    fn from(flavour: Flavour) -> Self {
        match flavour {
            Flavour::Kvm | Flavour::Kubevirt => Self::Kernel,
            Flavour::Xen => Self::Xen,
        }
    }
}

/// What network cards the guest has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Network {
    /// No card at all.
    #[default]
    None,
    /// A card with DHCP, from which nothing outside the machine can be reached.
    Isolated,
    /// A card behind QEMU's address translation: the guest reaches what the host reaches.
    User {
        /// TCP ports of the host's loopback that lead into the guest.
        forwards: Vec<Forward>,
    },
}

/// A TCP port of the host's loopback that leads into the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// Port on the host, on 127.0.0.1; see [`free_port`](crate::free_port).
    pub host: u16,
    /// Port in the guest.
    pub guest: u16,
}

/// A machine for tests.
#[cfg(test)]
pub(crate) fn example() -> Machine {
    Machine {
        arch: Arch::Amd64,
        firmware: Firmware::Open,
        tpm: false,
        watchdog: false,
        boots: Boots::Kernel,
        cpus: 2,
        memory: Bytes::gib(4),
        disk: "live.raw".into(),
        state: State::Fresh,
        keeps: false,
        records: false,
        disk_size: None,
        network: Network::None,
        config: Vec::new(),
        changes: Vec::new(),
        reboots: false,
        dir: "vm".into(),
        replay: String::new(),
        extra: vec!["-snapshot".into()],
    }
}
