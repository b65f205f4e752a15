use crate::{Cache, Ctx, Failure, FailureClass, KeyDocument, Outputs, Record, Sink, Step, StepError, StepId};
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Instant, SystemTime, UNIX_EPOCH},
};
use types::Cancel;

/// How many lines of its log a failure carries.
const TAIL: usize = 30;

/// Why a step gave no outputs.
#[derive(Debug)]
pub(crate) enum Stopped {
    Cancelled,
    Failed(Box<Failure>),
}

/// Runs one step and takes over its outputs. Writes no record.
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
        Ok(Ok(())) if cancel.is_cancelled() => Err(StepError::Cancelled),
        Ok(Ok(())) => ctx.adopt(),
        Ok(Err(e)) => Err(e),
        Err(panic) => Err(StepError::msg(format!("the step's code panicked: {}", panic_text(panic.as_ref())))),
    };
    let tail = if result.is_err() { ctx.tail(TAIL) } else { Vec::new() };
    let result = match (result, ctx.clean()) {
        (Ok(_), Err(e)) => Err(e.into()),
        (result, _) => result,
    };
    match result {
        Ok(outputs) => Ok(Record {
            step: step.id.clone(),
            key: key.clone(),
            outputs,
            ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
            date: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
        }),
        // whatever a step says after it was told to stop, the reason is that it was told
        Err(_) if cancel.is_cancelled() => Err(Stopped::Cancelled),
        Err(e) => Err(failed(step, cache, &e, tail)),
    }
}

fn failed(step: &Step, cache: &Cache, error: &StepError, tail: Vec<String>) -> Stopped {
    Stopped::Failed(Box::new(Failure {
        id: step.id.clone(),
        source: step.source.clone(),
        class: error.class(),
        error: error.to_string(),
        log: cache.log_path(&step.id),
        tail,
    }))
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
