use crate::{
    Cache, Error, Graph, Input, KeyDocument, Outputs, Reason, Record, Source, Step, StepId,
    reason::{differences, names},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};
use types::Digest;

/// The state of each step before a run, in an order in which every step comes after those that it needs.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Plan {
    /// The targets and everything they need.
    pub steps: Vec<Planned>,
}

/// One step before a run.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Planned {
    /// The step.
    pub id: StepId,
    /// Its place in the definitions.
    pub source: Option<Source>,
    /// The steps whose outputs it reads.
    pub needs: Vec<StepId>,
    /// Its state.
    #[serde(flatten)]
    pub state: State,
}

/// The state of a step before a run.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// Its outputs are in the cache.
    Cached {
        /// Its key.
        key: Digest,
    },
    /// It will run.
    WillRun {
        /// Its key.
        key: Digest,
        /// The reasons.
        reasons: Vec<Reason>,
    },
    /// Steps before it will run; when they make the same bytes as last time, this one need not.
    Unknown {
        /// The steps directly before it that will run, or are unknown themselves.
        after: Vec<StepId>,
        /// The differences that are known already.
        reasons: Vec<Reason>,
    },
}

/// The state of a step whose inputs are all known.
pub(crate) struct Looked {
    pub(crate) key: Digest,
    pub(crate) document: KeyDocument,
    pub(crate) found: Result<Record, Vec<Reason>>,
}

/// The step's document as far as the outputs of earlier steps are known, and the labels of the inputs that are not.
pub(crate) fn document<'s>(
    step: &'s Step,
    outputs: &BTreeMap<StepId, Outputs>,
) -> Result<(KeyDocument, BTreeSet<&'s str>), String> {
    let mut inputs = BTreeMap::new();
    let mut unknown = BTreeSet::new();
    for (label, input) in &step.inputs {
        let digest = match input {
            Input::Blob(digest) | Input::File { digest, .. } => *digest,
            Input::Step { step: from, output } => match outputs.get(from) {
                None => {
                    unknown.insert(label.as_str());
                    continue;
                }
                Some(made) => match made.get(output) {
                    Some(output) => output.digest,
                    None => {
                        let there = made.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                        return Err(format!("input `{label}`: step `{from}` has no output `{output}`, only: {there}"));
                    }
                },
            },
        };
        inputs.insert(label.clone(), digest);
    }
    let params = serde_json::Value::Object(step.params.clone());
    Ok((KeyDocument { kind: step.kind.to_owned(), version: step.version, params, inputs }, unknown))
}

/// Looks for the step's outputs in the cache, and for the reasons when they are not there.
pub(crate) fn look(
    step: &Step,
    document: KeyDocument,
    cache: &Cache,
    forced: bool,
    verify: bool,
) -> Result<Looked, Error> {
    let key = document.key();
    let found = match cache.record(&key) {
        _ if forced => Err(vec![Reason::Forced]),
        Some(record) => match cache.broken(&record, verify)? {
            None => Ok(record),
            Some(reason) => Err(vec![reason]),
        },
        None => Err(match cache.last(&step.id) {
            None => vec![Reason::NeverBuilt],
            Some(last) => {
                let reasons = differences(step, &last, &document, &BTreeSet::new());
                if reasons.is_empty() { vec![Reason::Forgotten] } else { reasons }
            }
        }),
    };
    Ok(Looked { key, document, found })
}

impl Graph {
    /// Predicts a run for these targets, with reasons. Runs nothing and writes nothing.
    ///
    /// # Errors
    /// When a step is missing or the steps go in a circle.
    pub fn plan(&self, cache: &Cache, targets: &[StepId]) -> Result<Plan, Error> {
        let mut outputs: BTreeMap<StepId, Outputs> = BTreeMap::new();
        let mut steps = Vec::new();
        for step in self.ordered(targets)? {
            let (document, unknown) = document(step, &outputs)
                .map_err(|text| Error::Failed(vec![crate::execute::unfit(step, cache, text)]))?;
            let state = if unknown.is_empty() {
                let looked = look(step, document, cache, false, false)?;
                match looked.found {
                    Err(reasons) => State::WillRun { key: looked.key, reasons },
                    Ok(record) => {
                        outputs.insert(step.id.clone(), record.outputs);
                        State::Cached { key: looked.key }
                    }
                }
            } else {
                let reasons = match cache.last(&step.id) {
                    None => vec![Reason::NeverBuilt],
                    Some(last) => differences(step, &last, &document, &unknown),
                };
                let after: BTreeSet<_> = step.needs().filter(|need| !outputs.contains_key(*need)).cloned().collect();
                State::Unknown { after: after.into_iter().collect(), reasons }
            };
            let needs: BTreeSet<_> = step.needs().cloned().collect();
            steps.push(Planned {
                id: step.id.clone(),
                source: step.source.clone(),
                needs: needs.into_iter().collect(),
                state,
            });
        }
        Ok(Plan { steps })
    }
}

impl Plan {
    /// The step of this name, when it is part of the plan.
    #[must_use]
    pub fn get(&self, id: &StepId) -> Option<&Planned> {
        self.steps.iter().find(|planned| planned.id == *id)
    }

    /// How many steps are cached.
    #[must_use]
    pub fn cached(&self) -> usize {
        self.steps.iter().filter(|planned| matches!(planned.state, State::Cached { .. })).count()
    }

    /// Why this step would run: the step and everything it needs that is not cached, deepest cause first.
    #[must_use]
    pub fn causes(&self, id: &StepId) -> Vec<&Planned> {
        let mut wanted = BTreeSet::from([id]);
        let mut causes = Vec::new();
        // backwards, so that a step comes after all steps that need it
        for planned in self.steps.iter().rev() {
            if wanted.contains(&planned.id) {
                wanted.extend(&planned.needs);
                if !matches!(planned.state, State::Cached { .. }) {
                    causes.push(planned);
                }
            }
        }
        causes.reverse();
        causes
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)?;
        if let Some(source) = &self.source {
            write!(f, " ({source})")?;
        }
        match &self.state {
            State::Cached { key } => write!(f, "\n    cached, key {}", key.short()),
            State::WillRun { reasons, .. } => reasons.iter().try_for_each(|reason| write!(f, "\n    {reason}")),
            State::Unknown { after, reasons } => {
                reasons.iter().try_for_each(|reason| write!(f, "\n    {reason}"))?;
                write!(f, "\n    unknown until {} has run", names(after))
            }
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |wanted: fn(&State) -> bool| self.steps.iter().filter(|p| wanted(&p.state)).count();
        let run = count(|s| matches!(s, State::WillRun { .. }));
        let unknown = count(|s| matches!(s, State::Unknown { .. }));
        write!(f, "{}: {} cached, {run} to run", types::count(self.steps.len(), "step"), self.cached())?;
        if unknown > 0 {
            write!(f, ", {unknown} after those")?;
        }
        self.steps
            .iter()
            .filter(|planned| !matches!(planned.state, State::Cached { .. }))
            .try_for_each(|planned| write!(f, "\n{planned}"))
    }
}
