use crate::{
    Cache, Ctx, Failure, FailureClass, KeyDocument, Outputs, Record, Sink, Step, StepError, StepId, error::MAKE_ROOM,
};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Instant, SystemTime, UNIX_EPOCH},
};
use types::Cancel;

/// Lines of the log in a failure.
const TAIL: usize = 30;

/// The reason why a step has no outputs.
#[derive(Debug)]
pub(crate) enum Stopped {
    Cancelled,
    Failed(Box<Failure>),
}

/// Runs one step and moves its outputs into the cache. Writes no record.
pub(crate) fn execute(
    step: &Step,
    key: &KeyDocument,
    cache: &Cache,
    outputs: &BTreeMap<StepId, Outputs>,
    slots: usize,
    sink: &dyn Sink,
    cancel: &Cancel,
) -> Result<Record, Stopped> {
    let start = Instant::now();
    let mut ctx =
        Ctx::new(step, cache, outputs, slots, sink, cancel).map_err(|e| failed(step, cache, &e.into(), vec![]))?;
    let result = match catch_unwind(AssertUnwindSafe(|| (step.run)(&mut ctx))) {
        Ok(Ok(())) => ctx.check().and_then(|()| ctx.adopt()),
        Ok(Err(e)) => Err(e),
        Err(panic) => Err(StepError::msg(format!("the step's code panicked: {}", panic_text(panic.as_ref())))),
    };
    // judged before the step's files are removed, which may make room on a full disk
    let result = result.map_err(|e| failed(step, cache, &e, ctx.tail(TAIL)));
    let result = match (result, ctx.clean()) {
        (Ok(_), Err(e)) => Err(failed(step, cache, &e.into(), Vec::new())),
        (result, _) => result,
    };
    // a step may fail in any way after a request to stop; the request is the reason
    let result = if cancel.is_cancelled() { Err(Stopped::Cancelled) } else { result };
    result.map(|outputs| Record {
        step: step.id.clone(),
        key: key.clone(),
        outputs,
        ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        date: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
    })
}

fn failed(step: &Step, cache: &Cache, error: &StepError, tail: Vec<String>) -> Stopped {
    let (mut class, mut text) = (error.class(), error.to_string());
    // a program that a step runs reports a full disk in its own words, or not at all
    if class == FailureClass::Step && !has_room(cache) {
        class = FailureClass::DiskFull;
        text = format!("{text}; the disk that holds the cache is full: {MAKE_ROOM}");
    }
    Stopped::Failed(Box::new(Failure {
        id: step.id.clone(),
        source: step.source.clone(),
        class,
        error: text,
        log: cache.log_path(&step.id),
        tail,
    }))
}

/// Whether the disk of the cache has more than a few blocks left for us.
fn has_room(cache: &Cache) -> bool {
    rustix::fs::statvfs(cache.root()).is_ok_and(|s| s.f_bavail * s.f_frsize > 1 << 18)
}

/// A failure of a step that could not even start.
pub(crate) fn unfit(step: &Step, cache: &Cache, error: String) -> Failure {
    Failure {
        id: step.id.clone(),
        source: step.source.clone(),
        class: FailureClass::Input,
        error,
        log: cache.log_path(&step.id),
        tail: Vec::new(),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}
