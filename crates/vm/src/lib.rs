//! Runs disk images in QEMU: one driver for `make run` and for the boot tests.
//!
//! ```text
//!                 Machine ──prepare──► overlay.qcow2 over live.raw, CONFIG with a throw-away key, firmware variables
//!                    │
//!   probe ──► Accel ─┴─► Guest ── serial console ──► serial.log, lines ──┐
//!                          │  ─── QMP ─────────────► events ─────────────┼─► wait_for(Until, limit)
//!                          │  ─── org.evek.ssh ────► ssh(command) ───────┘        │
//!                          ├─ drop                                                └─► BootFailure: class, last lines, replay
//!                          └─ stop · cut_power ──► Left: disk, writes ──► the next Machine, by its State
//! ```
//! Invariants: the image is never written to; waiting is for events, never for a clock; QEMU ends with its [`Guest`].
//!
//! It deliberately does not build images, judge what a guest *answers* (that is `tests/`), or keep machines running
//! beyond the program that started them.

mod accel;
mod console;
mod error;
mod failure;
mod firmware;
mod guest;
mod left;
mod machine;
mod ports;
mod prepare;
mod qmp;
mod ssh;
mod tools;
mod tpm;
pub mod writes;

pub use accel::{Accel, Verdict, probe};
pub use console::OnLine;
pub use error::Error;
pub use failure::{BootFailure, Failure, SHOWN_LINES, classify};
pub use firmware::{Firmware, Variables};
pub use guest::{Guest, Terminal, Until};
pub use left::Left;
pub use machine::{Boots, Change, Forward, Machine, Network, SSH_PORT_NAME, State};
pub use ports::free_port;
pub use qmp::Event;
pub use ssh::Output;
pub use tools::{QEMU_VARIABLE, Tools};
