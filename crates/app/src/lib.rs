//! Declarations of apps. An app is a virtual machine, or a container in a virtual machine of its own.
//!
//! ```text
//! CONFIG: apps/<name>.yml ─┐
//!                          ├─► read ─► App ─► vmm ─► QEMU, Xen
//! P3:     apps/<name>.yml ─┘      └─► yaml::Error: file, line, caret, what is allowed
//! ```
//! A declaration has the same meaning under every hypervisor. Device and builder share this crate: `xtask app check` finds on
//! a workstation the errors that `vmm` would find on the device.
//!
//! Deliberately absent: whether files, bridges and images exist. Only `vmm` can look, and `vmm` checks them at each start.

mod check;
mod types_schema;

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::Ipv4Addr, path::Path};
use types::Bytes;
pub use yaml::{Error, Located, Place, Source};

/// The folder of P3 with disks, kernels and initramfs of machines.
pub const IMAGES: &str = "/persist/images";

/// `apps/<name>.yml`: an app, which runs beside the device's own services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct App {
    /// The file's name without `.yml`: lower-case letters, digits and dashes, at most 32 of them.
    pub name: Located<String>,
    /// One line for people.
    #[serde(default)]
    pub summary: String,
    /// Virtual processors.
    #[serde(default = "one")]
    pub cpus: Located<u32>,
    /// Memory, such as `512MiB`.
    #[cfg_attr(feature = "schema", schemars(with = "types_schema::SizeText"))]
    pub memory: Located<Bytes>,
    /// A virtual machine with an operating system of its own. Either this or `container`.
    #[serde(default)]
    pub machine: Option<Located<Machine>>,
    /// A container image of the store, in a virtual machine that holds nothing else. Either this or `machine`.
    #[serde(default)]
    pub container: Option<Located<Container>>,
    /// Network cards; none where absent.
    #[serde(default)]
    pub networks: Vec<Located<Network>>,
    /// Whether vmm starts it again after it has ended.
    #[serde(default)]
    pub restart: Restart,
    /// Whether it starts with the device; otherwise an operator starts it with `vmm start`.
    #[serde(default = "yes")]
    pub autostart: bool,
}

/// A virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// The firmware, or the kernel that is started without firmware.
    #[serde(default)]
    pub firmware: Firmware,
    /// Disks, in the order in which the firmware tries to start from them.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// A TPM 2.0 of its own. P3 keeps its state.
    #[serde(default)]
    pub tpm: bool,
}

/// The program that a machine starts with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Firmware {
    /// UEFI, which starts from a disk. P3 keeps its variables.
    #[default]
    Uefi,
    /// A Linux kernel from P3, without any firmware.
    Linux(Linux),
}

/// A Linux kernel to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Linux {
    /// The kernel's file, in `/persist/images`.
    pub kernel: Located<String>,
    /// The initramfs's file, in `/persist/images`.
    #[serde(default)]
    pub initrd: Option<Located<String>>,
    /// The kernel's arguments.
    #[serde(default)]
    pub cmdline: String,
}

/// A disk of a machine: a file in `/persist/images`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// The file, such as `/persist/images/debian.qcow2`. It is no link that leaves `/persist/images`.
    pub file: Located<String>,
    /// The file's format.
    #[serde(default)]
    pub format: DiskFormat,
    /// The disk's size. vmm makes a missing file as an empty disk of this size, and grows a smaller disk at the next start.
    /// Without it a missing file is an error.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<types_schema::SizeText>"))]
    pub size: Option<Located<Bytes>>,
    /// Whether the machine can only read it.
    #[serde(default)]
    pub read_only: bool,
}

/// The format of a disk's file. No format may refer to another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// Byte for byte.
    #[default]
    Raw,
    /// QEMU's copy-on-write format, version 2 or 3, without a backing file and without an external data file.
    Qcow2,
}

impl DiskFormat {
    /// The word in the declaration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// A container. Absent fields have the values of the image's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// An image of the store, such as `evek.local/time`, with or without its tag.
    pub image: Located<String>,
    /// The program and its arguments, in place of the image's entrypoint and arguments.
    #[serde(default)]
    pub command: Vec<String>,
    /// Environment variables. They replace the image's variables of the same name.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// User by name or number, with `:group` if it is another than the user's own; the image's where absent.
    #[serde(default)]
    pub user: Option<String>,
    /// Folder that the program starts in; the image's where absent.
    #[serde(default)]
    pub workdir: Option<String>,
    /// File systems on P3 that outlive the container. All other files that it writes are in its memory, and lost at its end.
    #[serde(default)]
    pub volumes: Vec<Volume>,
}

/// A file system of a container: an ext4 in a file on P3. vmm makes a missing one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Its name, unique within the app.
    pub name: Located<String>,
    /// The folder where the container sees it. It may be below another volume, `/tmp`, `/run` or `/dev/shm`, but not below
    /// `/proc`, `/sys` or the rest of `/dev`.
    pub target: Located<String>,
    /// Its size. A larger size than before makes the file system grow at the next start.
    #[cfg_attr(feature = "schema", schemars(with = "types_schema::SizeText"))]
    pub size: Located<Bytes>,
    /// Owner of a new volume, `user` or `user:group`, with mode 0755. Where absent, a new volume has owner and mode of the
    /// image's folder at `target`; where the image has no such folder, it belongs to the container's user.
    #[serde(default)]
    pub owner: Option<Located<String>>,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Network {
    /// Behind the device's address. The guest reaches all networks of the device; others reach the guest by forwarded ports.
    Nat(Nat),
    /// On a bridge of the device, with an address of its own.
    Bridge(Bridge),
}

/// A card behind the device's address.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Nat {
    /// Ports of the device that lead into the guest.
    #[serde(default)]
    pub forwards: Vec<Forward>,
}

/// A port of the device that leads into the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Forward {
    /// Port of the device, on all its addresses.
    pub host: Located<u16>,
    /// Port of the guest.
    pub guest: Located<u16>,
    /// The protocol.
    #[serde(default)]
    pub protocol: Protocol,
}

/// The protocol of a forwarded port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// The word in the declaration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A card on a bridge of the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Bridge {
    /// The bridge's name on the device.
    pub name: Located<String>,
    /// Address and prefix of a container, such as `192.0.2.7/24`. A machine configures its own.
    #[serde(default)]
    pub address: Option<Located<String>>,
    /// The gateway of a container to other networks.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub gateway: Option<Ipv4Addr>,
    /// Name servers of a container.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub dns: Vec<Ipv4Addr>,
}

/// Whether vmm starts an app again that has ended. After `vmm stop` the app stays stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Always.
    #[default]
    Always,
    /// Unless the machine switched itself off, or the container's program ended with exit code 0.
    OnFailure,
    /// Never.
    Never,
}

/// The kind of an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A virtual machine.
    Machine(&'a Machine),
    /// A container in a virtual machine of its own.
    Container(&'a Container),
}

impl App {
    /// The app's kind.
    ///
    /// # Panics
    /// Never for an app that was [read](Self::read), which has one of them.
    #[must_use]
    pub fn kind(&self) -> Kind<'_> {
        match (&self.machine, &self.container) {
            (Some(machine), _) => Kind::Machine(machine),
            (None, Some(container)) => Kind::Container(container),
            (None, None) => unreachable!("an app that was read is a machine or a container"),
        }
    }

    /// Reads and checks the file called `file` below `root`; errors name `file`.
    ///
    /// # Errors
    /// All rules that are broken; or the one reason why it cannot be read or understood.
    pub fn read(root: &Path, file: &str) -> Result<Self, Vec<Error>> {
        let source = yaml::Source::open(root, file).map_err(|e| vec![e])?;
        Self::parse(&source)
    }

    /// Reads and checks a text.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(source: &yaml::Source) -> Result<Self, Vec<Error>> {
        let app: Self = source.parse().map_err(|e| vec![e])?;
        let broken = check::rules(&app, source);
        if broken.is_empty() { Ok(app) } else { Err(broken) }
    }
}

/// Splits `192.0.2.7/24`.
#[must_use]
pub fn address(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let prefix: u8 = prefix.parse().ok().filter(|p| *p <= 32)?;
    Some((address.parse().ok()?, prefix))
}

fn one() -> Located<u32> {
    Located::new(1, Place::file(""))
}

const fn yes() -> bool {
    true
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
