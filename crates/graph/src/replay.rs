use crate::{
    Cache, Error, Graph, Options, Output, Sink, StepId,
    execute::{Stopped, execute},
    plan::{document, look},
};
use std::collections::BTreeSet;
use types::Cancel;

/// The result of repeating a step.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Replay {
    /// The step.
    pub id: StepId,
    /// Its outputs, by name.
    pub outputs: Vec<Compared>,
}

/// One output, as cached and as repeated. Both stay in the cache, for comparison.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Compared {
    /// The output's name.
    pub name: String,
    /// The cached output; `None` if the step never ran with these inputs.
    pub before: Option<Output>,
    /// The output of the repetition; `None` if it has none.
    pub after: Option<Output>,
}

impl Replay {
    /// Whether a cached run exists and all outputs are equal.
    #[must_use]
    pub fn same(&self) -> bool {
        self.outputs.iter().all(|o| o.before == o.after)
    }
}

impl Graph {
    /// Runs one step again although it is cached, and compares its outputs with the cached ones. Runs missing steps
    /// before it. The record of the earlier run stays.
    ///
    /// # Errors
    /// As [`Graph::run`].
    pub fn replay(
        &self,
        cache: &Cache,
        id: &StepId,
        options: &Options,
        sink: &dyn Sink,
        cancel: &Cancel,
    ) -> Result<Replay, Error> {
        let order = self.ordered(std::slice::from_ref(id))?;
        // ordered() ends with the target
        let step = order[order.len() - 1];
        let needs: BTreeSet<_> = step.needs().cloned().collect();
        let built = self.run(cache, &needs.into_iter().collect::<Vec<_>>(), options, sink, cancel)?;
        let (document, _) = document(step, &built.outputs)
            .map_err(|text| Error::Failed(vec![crate::execute::unfit(step, cache, text)]))?;
        let looked = look(step, document, cache, false, false)?;
        let before = cache.record(&looked.key).map(|record| record.outputs).unwrap_or_default();
        let jobs = options.jobs.max(1);
        let record =
            execute(step, &looked.document, cache, &built.outputs, jobs, sink, cancel).map_err(|e| match e {
                Stopped::Cancelled => Error::Cancelled,
                Stopped::Failed(failure) => Error::Failed(vec![*failure]),
            })?;
        let names: BTreeSet<_> = before.keys().chain(record.outputs.keys()).cloned().collect();
        let outputs = names.into_iter().map(|name| Compared {
            before: before.get(&name).copied(),
            after: record.outputs.get(&name).copied(),
            name,
        });
        Ok(Replay { id: id.clone(), outputs: outputs.collect() })
    }
}
