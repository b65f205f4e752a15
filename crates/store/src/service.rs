//! How the device runs a package: the `service:` part of `pkg.yml`, carried to the device as JSON in the manifest's
//! annotation [`SERVICE_ANNOTATION`](crate::SERVICE_ANNOTATION).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::Bytes;

/// One service: an OCI container under its own systemd unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// The program and its arguments.
    pub exec: Vec<String>,
    /// Environment variables beside `PATH`.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Which network the container sees.
    #[serde(default)]
    pub network: Network,
    /// Shares the host's process ids.
    #[serde(default)]
    pub host_pid: bool,
    /// Shares the host's System V IPC and POSIX message queues.
    #[serde(default)]
    pub host_ipc: bool,
    /// All capabilities, all devices, writable /sys: for a service that runs others, such as kube.
    #[serde(default)]
    pub privileged: bool,
    /// Linux capabilities, as `CAP_NET_ADMIN`; none when empty.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Device nodes of the host to pass in, by path.
    #[serde(default)]
    pub devices: Vec<String>,
    /// Device nodes to pass in where the machine has them, such as /dev/kvm.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub optional_devices: Vec<String>,
    /// Folders and files of the host that the container sees. `/tmp` and `/run` are always fresh tmpfs.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// The container's own root is writable (by an upper layer that is dropped at stop).
    #[serde(default)]
    pub writable_root: bool,
    /// Services that must be ready first, by package name.
    #[serde(default)]
    pub after: Vec<String>,
    /// The test for readiness; without it, a service is ready when its process has started.
    #[serde(default)]
    pub ready: Option<Probe>,
    /// The reaction to the end of its process.
    #[serde(default)]
    pub restart: Restart,
    /// Its resource limits.
    #[serde(default)]
    pub limits: Limits,
}

/// The network a container sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// An empty one: loopback only.
    #[default]
    None,
    /// The host's.
    Host,
}

/// A bind mount from the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Path on the host.
    pub source: String,
    /// Path in the container; the same as `source` where absent.
    #[serde(default)]
    pub target: Option<String>,
    /// Writable; read-only where absent.
    #[serde(default)]
    pub writable: bool,
    /// Mounts made inside appear on the host and the other way round (`rshared`).
    #[serde(default)]
    pub shared: bool,
    /// Make the folder on the host (mode 0755) before the start.
    #[serde(default)]
    pub create: bool,
    /// Start without the mount where the host has no `source`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// With `create`: use an empty folder in memory where the folder cannot be made, on a full or missing state partition.
    /// For state that the service can do without.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub else_volatile: bool,
}

/// A readiness probe, run inside the container until it first succeeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The program and its arguments; exit code 0 means ready.
    pub exec: Vec<String>,
    /// Seconds between tries.
    #[serde(default = "Probe::default_period")]
    pub period: u32,
    /// Seconds that one try may take.
    #[serde(default = "Probe::default_timeout")]
    pub timeout: u32,
    /// Seconds after which a service that never got ready is stopped and started anew; no limit where absent.
    #[serde(default)]
    pub give_up: Option<u32>,
}

impl Probe {
    const fn default_period() -> u32 {
        2
    }
    const fn default_timeout() -> u32 {
        10
    }
}

/// The reaction to the end of a service's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Started again whatever its exit code was.
    #[default]
    Always,
    /// Started again unless its exit code was 0.
    OnFailure,
    /// Left stopped.
    No,
}

/// Resource limits, as the container's cgroup enforces them; none where absent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Most memory.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub memory: Option<Bytes>,
    /// Most processes and threads.
    #[serde(default)]
    pub pids: Option<u32>,
    /// Most CPU time, in thousandths of one CPU.
    #[serde(default)]
    pub cpu_milli: Option<u32>,
    /// Most open files.
    #[serde(default)]
    pub open_files: Option<u32>,
}
