//! `containerd.services.containers.v1` and `containerd.services.tasks.v1`.

use super::{Any, Labels, Mount};
use prost::{Enumeration, Message};

/// The path of the container service's methods.
pub const CONTAINERS: &str = "/containerd.services.containers.v1.Containers/";
/// The path of the task service's methods.
pub const TASKS: &str = "/containerd.services.tasks.v1.Tasks/";

/// `Container.Runtime`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Runtime {
    /// Such as `io.containerd.runc.v2`.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its options.
    #[prost(message, optional, tag = "2")]
    pub options: Option<Any>,
}

/// `Container`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Container {
    /// Its name.
    #[prost(string, tag = "1")]
    pub id: String,
    /// Labels.
    #[prost(btree_map = "string, string", tag = "2")]
    pub labels: Labels,
    /// Full name of its image.
    #[prost(string, tag = "3")]
    pub image: String,
    /// The runtime that runs it.
    #[prost(message, optional, tag = "4")]
    pub runtime: Option<Runtime>,
    /// OCI runtime specification.
    #[prost(message, optional, tag = "5")]
    pub spec: Option<Any>,
    /// Name of the snapshotter.
    #[prost(string, tag = "6")]
    pub snapshotter: String,
    /// Key of its root.
    #[prost(string, tag = "7")]
    pub snapshot_key: String,
}

/// `CreateContainerRequest` and `CreateContainerResponse`, which are alike.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ContainerMessage {
    /// The container.
    #[prost(message, optional, tag = "1")]
    pub container: Option<Container>,
}

/// `DeleteContainerRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DeleteContainerRequest {
    /// Its name.
    #[prost(string, tag = "1")]
    pub id: String,
}

/// `CreateTaskRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CreateTaskRequest {
    /// Name of the container.
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// Its root.
    #[prost(message, repeated, tag = "3")]
    pub rootfs: Vec<Mount>,
    /// Path of a pipe, or empty.
    #[prost(string, tag = "4")]
    pub stdin: String,
    /// Path of a pipe, or empty.
    #[prost(string, tag = "5")]
    pub stdout: String,
    /// Path of a pipe, or empty.
    #[prost(string, tag = "6")]
    pub stderr: String,
    /// Options of the runtime.
    #[prost(message, optional, tag = "9")]
    pub options: Option<Any>,
}

/// `CreateTaskResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CreateTaskResponse {
    /// Name of the container.
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// Process id on the host.
    #[prost(uint32, tag = "2")]
    pub pid: u32,
}

/// `StartResponse`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct StartResponse {
    /// Process id on the host.
    #[prost(uint32, tag = "1")]
    pub pid: u32,
}

/// `StartRequest`, `WaitRequest`, `GetRequest` and `DeleteProcessRequest`, which are alike.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ProcessRequest {
    /// Name of the container.
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// Name of a further process in it; empty for the main one.
    #[prost(string, tag = "2")]
    pub exec_id: String,
}

/// `DeleteTaskRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DeleteTaskRequest {
    /// Name of the container.
    #[prost(string, tag = "1")]
    pub container_id: String,
}

/// `DeleteResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DeleteResponse {
    /// Exit code.
    #[prost(uint32, tag = "3")]
    pub exit_status: u32,
}

/// `WaitResponse`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct WaitResponse {
    /// Exit code.
    #[prost(uint32, tag = "1")]
    pub exit_status: u32,
}

/// `KillRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KillRequest {
    /// Name of the container.
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// Name of a further process in it; empty for the main one.
    #[prost(string, tag = "2")]
    pub exec_id: String,
    /// Number of the signal.
    #[prost(uint32, tag = "3")]
    pub signal: u32,
    /// To all processes of the container.
    #[prost(bool, tag = "4")]
    pub all: bool,
}

/// `ExecProcessRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ExecProcessRequest {
    /// Name of the container.
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// Path of a pipe, or empty.
    #[prost(string, tag = "2")]
    pub stdin: String,
    /// Path of a pipe, or empty.
    #[prost(string, tag = "3")]
    pub stdout: String,
    /// Path of a pipe, or empty.
    #[prost(string, tag = "4")]
    pub stderr: String,
    /// Has a terminal.
    #[prost(bool, tag = "5")]
    pub terminal: bool,
    /// OCI runtime specification of the process.
    #[prost(message, optional, tag = "6")]
    pub spec: Option<Any>,
    /// Name of the process.
    #[prost(string, tag = "7")]
    pub exec_id: String,
}

/// `CloseIORequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct CloseIoRequest {
    /// Name of the container.
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// Name of a further process in it; empty for the main one.
    #[prost(string, tag = "2")]
    pub exec_id: String,
    /// Close its standard input.
    #[prost(bool, tag = "3")]
    pub stdin: bool,
}

/// State of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum State {
    /// Not known.
    Unknown = 0,
    /// Made, not started.
    Created = 1,
    /// Running.
    Running = 2,
    /// Ended.
    Stopped = 3,
    /// Paused.
    Paused = 4,
    /// About to be paused.
    Pausing = 5,
}

/// `containerd.v1.types.Process`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Process {
    /// Name of the container; empty in a list of tasks, where it is `id`.
    #[prost(string, tag = "1")]
    pub container_id: String,
    /// Name of the process.
    #[prost(string, tag = "2")]
    pub id: String,
    /// Process id on the host.
    #[prost(uint32, tag = "3")]
    pub pid: u32,
    /// State.
    #[prost(enumeration = "State", tag = "4")]
    pub status: i32,
    /// Exit code.
    #[prost(uint32, tag = "9")]
    pub exit_status: u32,
}

/// `ListTasksResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListTasksResponse {
    /// All of them.
    #[prost(message, repeated, tag = "1")]
    pub tasks: Vec<Process>,
}
