//! The protocol between `vmm` and `guest-init`, the first program of a container's virtual machine.
//!
//! ```text
//! vmm ──► spec disk ──► guest-init  1 MiB, raw
//!           0          magic, JSON of a Spec, zeros
//!           512 KiB    JSON of a Report, zeros        ◄── guest-init
//! ```
//! It is a disk, because every hypervisor has disks and nothing else is the same under all of them. `guest-init` finds disks by
//! their content and not by name or order: the spec by its magic, a layer by the UUID of its EROFS, a volume by the UUID of its
//! ext4.
//!
//! > **Warning.** The guest writes the report. `vmm` must not trust its text.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{fmt, net::Ipv4Addr};

/// The size of a spec disk.
pub const SPEC_DISK: u64 = 1 << 20;
/// The offset of the report.
pub const REPORT_AT: u64 = SPEC_DISK / 2;
/// The first bytes of a spec disk.
pub const MAGIC: &[u8] = b"EVEK-GUEST-1\n";
/// How many bytes of a disk [`Content::of`] needs.
pub const PROBED: usize = 4096;
/// The room for a spec, and for a report.
const ROOM: usize = (SPEC_DISK / 2) as usize;

/// A container: its process, file systems and network cards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Name of the machine.
    pub hostname: String,
    /// The container's process.
    pub process: Process,
    /// The layers of its root, bottom first.
    pub layers: Vec<Uuid>,
    /// File systems that outlive it.
    pub volumes: Vec<Volume>,
    /// Network cards with their settings.
    pub networks: Vec<Network>,
}

/// The container's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// The folder that it starts in.
    pub cwd: String,
    /// Its user, as in an OCI image's configuration: `user` or `user:group`, names or numbers; root where empty.
    pub user: String,
}

/// A file system that outlives the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// The UUID of its ext4.
    pub uuid: Uuid,
    /// The folder where the container sees it.
    pub target: String,
    /// The owner of a new volume, as [`Process::user`]; where absent, `guest-init` chooses it by the image.
    #[serde(default)]
    pub owner: Option<String>,
}

/// A network card and its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The card's address, `52:54:00:…`.
    pub mac: String,
    /// Its IPv4 address.
    pub address: Ipv4Addr,
    /// The length of its network's prefix.
    pub prefix: u8,
    /// The gateway to other networks.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
}

/// The end of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Report {
    /// The process could not be started, for this reason.
    Failed(String),
    /// The process has ended with this exit code; 128 and the signal's number when a signal ended it.
    Ended(i32),
}

/// Why a disk cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A text does not fit.
    #[error("{bytes} bytes do not fit on a spec disk, which has room for {ROOM}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// The disk is of another version, or damaged.
    #[error("not a spec disk of this version: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl Spec {
    /// The bytes of a spec disk.
    ///
    /// # Errors
    /// When the spec is too long for it.
    pub fn to_disk(&self) -> Result<Vec<u8>, Error> {
        let mut disk = MAGIC.to_vec();
        serde_json::to_writer(&mut disk, self)?;
        if disk.len() >= ROOM {
            return Err(Error::TooLong { bytes: disk.len() });
        }
        disk.resize(SPEC_DISK as usize, 0);
        Ok(disk)
    }

    /// Reads the spec of a disk that begins with [`MAGIC`].
    ///
    /// # Errors
    /// When it is not a spec.
    pub fn from_disk(disk: &[u8]) -> Result<Self, Error> {
        parse(disk.get(MAGIC.len()..).unwrap_or_default())
    }
}

impl Report {
    /// The bytes to write at [`REPORT_AT`]: whole sectors.
    ///
    /// # Errors
    /// When the report is too long.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = serde_json::to_vec(self)?;
        if bytes.len() >= ROOM {
            return Err(Error::TooLong { bytes: bytes.len() });
        }
        bytes.resize(bytes.len().next_multiple_of(4096), 0);
        Ok(bytes)
    }

    /// Reads the bytes at [`REPORT_AT`]; `None` where there is no report.
    ///
    /// # Errors
    /// When it is not a report.
    pub fn from_bytes(bytes: &[u8]) -> Result<Option<Self>, Error> {
        if bytes.first().is_none_or(|b| *b == 0) { Ok(None) } else { parse(bytes).map(Some) }
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    Ok(serde_json::from_slice(&bytes[..end])?)
}

/// A UUID of a file system.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if [4, 6, 8, 10].contains(&i) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The content of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A spec.
    Spec,
    /// A layer.
    Erofs(Uuid),
    /// A volume.
    Ext4(Uuid),
    /// Anything else.
    Other,
}

impl Content {
    /// Looks at the first [`PROBED`] bytes of a disk.
    #[must_use]
    pub fn of(head: &[u8]) -> Self {
        /// Both superblocks are here (kernel, `fs/erofs/erofs_fs.h`, `fs/ext4/ext4.h`).
        const SUPERBLOCK: usize = 1024;
        if head.starts_with(MAGIC) {
            return Self::Spec;
        }
        let at = |offset: usize, len: usize| head.get(SUPERBLOCK + offset..SUPERBLOCK + offset + len);
        let uuid = |offset| at(offset, 16).and_then(|b| b.try_into().ok()).map(Uuid);
        match (at(0, 4), at(0x38, 2)) {
            (Some([0xe2, 0xe1, 0xf5, 0xe0]), _) => uuid(48).map_or(Self::Other, Self::Erofs),
            (_, Some([0x53, 0xef])) => uuid(0x68).map_or(Self::Other, Self::Ext4),
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec {
            hostname: "web".into(),
            process: Process { args: vec!["/bin/true".into()], env: vec![], cwd: "/".into(), user: String::new() },
            layers: vec![Uuid([0xab; 16])],
            volumes: vec![],
            networks: vec![],
        }
    }

    #[test]
    fn a_spec_comes_back_from_its_disk() {
        let disk = spec().to_disk().unwrap();
        assert_eq!(disk.len() as u64, SPEC_DISK);
        assert_eq!(Content::of(&disk), Content::Spec);
        assert_eq!(Spec::from_disk(&disk).unwrap(), spec());
        assert_eq!(Report::from_bytes(&disk[REPORT_AT as usize..]).unwrap(), None);
    }

    #[test]
    fn a_report_comes_back_and_fills_whole_sectors() {
        for report in [Report::Ended(7), Report::Failed("no layer".into())] {
            let bytes = report.to_bytes().unwrap();
            assert_eq!(bytes.len() % 4096, 0);
            assert_eq!(Report::from_bytes(&bytes).unwrap(), Some(report));
        }
        assert!(Report::from_bytes(b"garbage").is_err());
    }

    #[test]
    fn a_spec_that_does_not_fit_is_refused() {
        let mut long = spec();
        long.process.env.push("X=".to_owned() + &"x".repeat(ROOM));
        assert!(matches!(long.to_disk(), Err(Error::TooLong { .. })));
    }

    #[test]
    fn file_systems_are_known_by_their_superblocks() {
        let mut head = vec![0; PROBED];
        assert_eq!(Content::of(&head), Content::Other);
        head[1024 + 0x38..1024 + 0x3a].copy_from_slice(&[0x53, 0xef]);
        head[1024 + 0x68..1024 + 0x78].fill(7);
        assert_eq!(Content::of(&head), Content::Ext4(Uuid([7; 16])));
        head[1024..1028].copy_from_slice(&0xe0f5_e1e2_u32.to_le_bytes());
        head[1024 + 48..1024 + 64].fill(9);
        assert_eq!(Content::of(&head), Content::Erofs(Uuid([9; 16])));
        assert_eq!(Content::of(&head[..1100]), Content::Erofs(Uuid([9; 16])));
        assert_eq!(Content::of(&head[..1080]), Content::Other, "cut off");
        assert_eq!(Uuid([0xab; 16]).to_string(), "abababab-abab-abab-abab-abababababab");
    }
}
