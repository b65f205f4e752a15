use crate::{Failure, Output, StepId, Unit};
use std::{collections::BTreeMap, time::Duration};

/// One thing that happened during a run. The terminal view, the plain log and the JSON lines are renderings of these.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The run begins.
    Plan {
        /// How many steps the targets need, cached ones included.
        total: usize,
    },
    /// A step runs now.
    Started {
        /// The step.
        id: StepId,
        /// How long it usually runs: its last run on this machine, else [`crate::Step::usual`].
        #[serde(rename = "usual-ms", serialize_with = "milliseconds")]
        usual: Duration,
    },
    /// Every [`crate::Options::pulse`] while steps run: how far the run is.
    Pulse {
        /// The steps that run now.
        running: Vec<Running>,
        /// Steps whose outputs are here.
        done: usize,
        /// Steps that the targets need.
        total: usize,
        /// How long the rest takes at most, by the usual times of the steps that are not done. Steps that turn out to be
        /// cached make it shorter.
        #[serde(rename = "left-ms", serialize_with = "milliseconds")]
        left: Duration,
    },
    /// How far a running step is.
    Progress {
        /// The step.
        id: StepId,
        /// Finished units.
        done: u64,
        /// All units; 0 if unknown.
        total: u64,
        /// The unit.
        unit: Unit,
    },
    /// A step logs a line.
    Log {
        /// The step.
        id: StepId,
        /// One line, without its end.
        line: String,
    },
    /// A step's outputs are here.
    Finished {
        /// The step.
        id: StepId,
        /// Where they come from.
        how: How,
        /// How long it ran; for a cached step the time of the lookup.
        #[serde(rename = "ms", serialize_with = "milliseconds")]
        duration: Duration,
        /// The outputs by name.
        outputs: BTreeMap<String, Output>,
    },
    /// A step failed.
    Failed {
        /// The failure, and the end of its log.
        failure: Failure,
    },
    /// The run ends.
    Summary {
        /// Steps that ran and succeeded.
        ran: usize,
        /// Steps whose outputs were there already.
        cached: usize,
        /// Steps that failed.
        failed: usize,
        /// Steps that were not reached.
        skipped: usize,
        /// Whether the caller asked to stop.
        cancelled: bool,
        /// The time of the whole run.
        #[serde(rename = "ms", serialize_with = "milliseconds")]
        duration: Duration,
    },
}

/// A step that runs.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Running {
    /// The step.
    pub id: StepId,
    /// How long it has run.
    #[serde(rename = "elapsed-ms", serialize_with = "milliseconds")]
    pub elapsed: Duration,
    /// How long it usually runs.
    #[serde(rename = "usual-ms", serialize_with = "milliseconds")]
    pub usual: Duration,
}

/// Where a step's outputs come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// They were in the cache.
    Cached,
    /// The step ran.
    Ran,
    /// Another step with the same key ran in this run.
    Shared,
}

fn milliseconds<S: serde::Serializer>(duration: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// The receiver of a run's events. Called from several threads; must not block for long.
pub trait Sink: Sync {
    /// Receives one event.
    fn event(&self, event: &Event);
}

impl<F: Fn(&Event) + Sync> Sink for F {
    fn event(&self, event: &Event) {
        self(event);
    }
}
