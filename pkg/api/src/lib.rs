//! containerd's gRPC interfaces, as far as EVE-k's programs use them: a client of containerd, and a
//! server for one of them (`stored` is a snapshotter).
//!
//! ```text
//!  typed calls (client)      a service (server)
//!        │                        ▲
//!   messages: prost structs, tags as in containerd's .proto files
//!        │                        │
//!   grpc: 5-byte prefix + message in an HTTP/2 stream, status in the trailers
//!        │                        │
//!   h2 over a Unix socket ────────┘
//! ```
//! The messages are written by hand: the device's programs use a small part of the interfaces, and generating them would
//! need the protobuf compiler in every build. gRPC is spoken directly over `h2`: unary calls, streamed answers and the one
//! streamed request of the content service need no more than that, and the stack above it would double the compile.
//!
//! Every call has a deadline, [`DEADLINE`] unless its caller sets another; only the wait for a process's end has none.
//!
//! Deliberately absent: TLS, TCP, compression, reconnecting.

mod client;
mod grpc;
pub mod message;
pub mod notify;
mod root;

pub use bytes::Bytes;
pub use client::{CONTAINERD, Containerd};
pub use grpc::{Channel, Code, Context, DEADLINE, Reply, Service, Status, decode, serve};
pub use root::{LayerMount, Root, RootError};
