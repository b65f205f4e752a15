//! What an operator declares to run on a device: a virtual machine, or a container in a virtual machine of its own.
//!
//! ```text
//! CONFIG: apps/<name>.yml ─┐
//!                          ├─► read ─► App ─► vmm ─► QEMU, Xen
//! P3:     apps/<name>.yml ─┘      └─► yaml::Error: file, line, caret, what is allowed
//! ```
//! The same text runs under every hypervisor. Device and builder share this crate: `xtask app check` says on a workstation
//! what the device would say.
//!
//! Deliberately absent: whether files, bridges and images exist, which only the device knows, and running anything.

mod check;
mod types_schema;

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::Ipv4Addr, path::Path};
use types::Bytes;
pub use yaml::{Error, Located, Place, Source};

/// `apps/<name>.yml`: something that runs beside the device's own services.
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
    /// What happens when it ends by itself.
    #[serde(default)]
    pub restart: Restart,
    /// Starts with the device; otherwise by `vmm start`.
    #[serde(default = "yes")]
    pub autostart: bool,
}

/// A virtual machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// What it starts from.
    #[serde(default)]
    pub firmware: Firmware,
    /// Disks, in the order in which the firmware tries to start from them.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// A TPM 2.0 of its own, whose state is kept on P3.
    #[serde(default)]
    pub tpm: bool,
}

/// What a machine starts from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Firmware {
    /// UEFI, which starts from a disk; its variables are kept on P3.
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
    /// The kernel's file.
    pub kernel: Located<String>,
    /// The initramfs's file.
    #[serde(default)]
    pub initrd: Option<Located<String>>,
    /// The kernel's arguments.
    #[serde(default)]
    pub cmdline: String,
}

/// A disk of a machine: a file on P3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// The file, such as `/persist/images/debian.qcow2`.
    pub file: Located<String>,
    /// What kind of file it is.
    #[serde(default)]
    pub format: DiskFormat,
    /// The size of an empty disk that is made when there is no such file; without it a missing file is an error.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<types_schema::SizeText>"))]
    pub size: Option<Located<Bytes>>,
    /// The machine cannot write to it.
    #[serde(default)]
    pub read_only: bool,
}

/// How a disk is kept in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// Byte for byte.
    #[default]
    Raw,
    /// QEMU's copy-on-write format, version 2 and later.
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

/// A container. What is not given here is taken from the image's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// An image of the store, such as `evek.local/time`, with or without its tag.
    pub image: Located<String>,
    /// The program and its arguments, in place of the image's entrypoint and arguments.
    #[serde(default)]
    pub command: Vec<String>,
    /// Environment variables beside the image's; the ones here win.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// User by name or number, with `:group` if it is another than the user's own; the image's where absent.
    #[serde(default)]
    pub user: Option<String>,
    /// Folder that the program starts in; the image's where absent.
    #[serde(default)]
    pub workdir: Option<String>,
    /// File systems on P3 that outlive the container. Everything else that it writes is in its memory, and gone at its end.
    #[serde(default)]
    pub volumes: Vec<Volume>,
}

/// A file system of a container, kept in a file on P3 and made, as ext4, when it is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Its name, unique within the app.
    pub name: Located<String>,
    /// Where the container sees it.
    pub target: Located<String>,
    /// Its size.
    #[cfg_attr(feature = "schema", schemars(with = "types_schema::SizeText"))]
    pub size: Located<Bytes>,
}

/// A network card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Network {
    /// Behind the device's address: it reaches what the device reaches, and is reached by forwarded ports only.
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
    /// Which protocol.
    #[serde(default)]
    pub protocol: Protocol,
}

/// What is forwarded.
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
    /// Address and prefix of a container, such as `192.0.2.7/24`; a machine finds its own.
    #[serde(default)]
    pub address: Option<Located<String>>,
    /// Where a container sends what is not for its own network.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub gateway: Option<Ipv4Addr>,
    /// Name servers of a container.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub dns: Vec<Ipv4Addr>,
}

/// What happens when an app ends by itself. After `vmm stop` it stays stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Started again, whatever the reason.
    #[default]
    Always,
    /// Started again unless it switched itself off, or its program ended with exit code 0.
    OnFailure,
    /// Left stopped.
    Never,
}

/// What an app is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A virtual machine.
    Machine(&'a Machine),
    /// A container in a virtual machine of its own.
    Container(&'a Container),
}

impl App {
    /// What it is.
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
