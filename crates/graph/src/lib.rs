//! The build engine: steps with readable keys, a cache of their outputs, and a scheduler that runs the missing steps.
//!
//! ```text
//!  Step { id, kind+version, params, inputs, run }          Graph::plan   what would run, and why (runs nothing)
//!     │                                                    Graph::run    makes the targets' outputs
//!     ▼                                                    Graph::replay runs one step again and compares
//!  key document {kind, version, params, inputs: digests} ──sha256──► key
//!                                                                     │
//!  <cache>/steps/<key>.json    the document, output digests, duration ◄┘
//!  <cache>/last/<id>.json      the last key of a step id: what `plan` compares with
//!  <cache>/blobs/, trees/      outputs, by digest: files, and folders such as an unpacked toolbox
//!  <cache>/logs/<id>.log       what the step said when it last ran
//!  <cache>/tmp/run-…/          being made; belongs to one process, swept when that process is gone
//!  <cache>/lock                shared by builds, exclusive for `gc`
//! ```
//! The digests of outputs, not the keys of steps, enter the next key: after a step with the same bytes as before, no
//! further step runs (early cutoff). Everything appears by rename, so a crash at any moment leaves only files in `tmp`.
//!
//! Deliberately absent: the work of steps, the lock, and downloads. An input from outside is an [`Input::Blob`] that
//! the caller stored in the [`cas::Cas`] before. This crate does not watch what a step reads; the sandbox restricts
//! steps.

mod cache;
mod ctx;
mod error;
mod event;
mod execute;
mod folder;
mod gc;
mod key;
mod plan;
mod reason;
pub mod render;
mod replay;
mod run;
mod step;
mod watch;

pub use cache::{Cache, Output, OutputKind, Outputs, Record};
pub use ctx::{Ctx, Unit};
pub use error::{Error, Failure, FailureClass, StepError};
pub use event::{Event, How, Running, Sink};
pub use gc::{Broken, Swept};
pub use key::{KeyDocument, canonical};
pub use plan::{Plan, Planned, State};
pub use reason::Reason;
pub use replay::{Compared, Replay};
pub use run::{Built, Options};
pub use step::{Graph, Input, Source, Step, StepId};
pub use watch::watch;
