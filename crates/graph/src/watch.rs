//! Work outside of a run, such as a download by a client of its own, shown like a step.

use crate::{Event, How, Running, Sink, StepId};
use std::{
    collections::BTreeMap,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Does `work` and shows it to `sink` as a step of this name: that it starts, every `pulse` how long it has run, and that it
/// ended. A failure is the caller's to show.
///
/// # Errors
/// Those of `work`.
pub fn watch<T, E>(
    sink: &dyn Sink,
    id: &StepId,
    usual: Duration,
    pulse: Duration,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let start = Instant::now();
    sink.event(&Event::Started { id: id.clone(), usual });
    let (end, ended) = mpsc::channel::<()>();
    let result = thread::scope(|scope| {
        scope.spawn(move || {
            while ended.recv_timeout(pulse) == Err(mpsc::RecvTimeoutError::Timeout) {
                let elapsed = start.elapsed();
                let running = vec![Running { id: id.clone(), elapsed, usual }];
                sink.event(&Event::Pulse { running, done: 0, total: 1, left: usual.saturating_sub(elapsed) });
            }
        });
        let result = work();
        drop(end);
        result
    });
    if result.is_ok() {
        let (how, duration, outputs) = (How::Ran, start.elapsed(), BTreeMap::new());
        sink.event(&Event::Finished { id: id.clone(), how, duration, outputs });
    }
    result
}
