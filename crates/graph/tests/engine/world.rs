//! Steps that count how often they run, and a cache to run them with.

use graph::{Built, Cache, Error, Event, Graph, Options, Step, StepId};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};
use types::{Cancel, Digest};

/// How often each step ran, in the order of their first run.
#[derive(Clone, Default)]
pub(crate) struct Runs(Arc<Mutex<Vec<String>>>);

impl Runs {
    pub(crate) fn add(&self, name: &str) {
        self.0.lock().unwrap().push(name.to_owned());
    }

    /// What ran since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) runs: Runs,
    pub(crate) events: Mutex<Vec<Event>>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), runs: Runs::default(), events: Mutex::default() }
    }

    pub(crate) fn cache(&self) -> Cache {
        Cache::open(&self.dir.path().join("cache")).unwrap()
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    /// A step whose output `out` is its inputs' bytes and `text`, in the order of the labels.
    pub(crate) fn join(&self, id: &str, text: &str) -> Step {
        let (runs, name) = (self.runs.clone(), id.to_owned());
        Step::new(id, "join", 1, move |ctx| {
            runs.add(&name);
            let mut bytes = Vec::new();
            for label in ctx.labels("").map(str::to_owned).collect::<Vec<_>>() {
                bytes.extend(std::fs::read(ctx.input(&label)?)?);
            }
            let params: BTreeMap<String, String> = ctx.params()?;
            bytes.extend(params["text"].bytes());
            ctx.put("out", &bytes)?;
            Ok(())
        })
        .param("text", text)
    }

    pub(crate) fn run(&self, graph: &Graph, target: &str) -> Result<Built, Error> {
        self.run_with(graph, &[target], &Options::default(), &Cancel::default())
    }

    pub(crate) fn run_with(
        &self,
        graph: &Graph,
        targets: &[&str],
        options: &Options,
        cancel: &Cancel,
    ) -> Result<Built, Error> {
        self.events.lock().unwrap().clear();
        let targets: Vec<StepId> = targets.iter().map(|t| StepId::from(*t)).collect();
        let sink = |event: &Event| self.events.lock().unwrap().push(event.clone());
        graph.run(&self.cache(), &targets, options, &sink, cancel)
    }

    /// The text of a step's output.
    pub(crate) fn text(&self, built: &Built, id: &str) -> String {
        std::fs::read_to_string(built.path(&self.cache(), &id.into(), "out").unwrap()).unwrap()
    }

    /// The plan for a target, as text.
    pub(crate) fn plan(&self, graph: &Graph, target: &str) -> String {
        graph.plan(&self.cache(), &[target.into()]).unwrap().to_string()
    }
}

pub(crate) fn graph(steps: impl IntoIterator<Item = Step>) -> Graph {
    let mut graph = Graph::new();
    for step in steps {
        graph.add(step).unwrap();
    }
    graph
}

/// A file of the source tree, as the definitions would give it.
pub(crate) fn source(world: &World, name: &str, text: &str) -> (std::path::PathBuf, Digest) {
    let path = world.root().join(name);
    std::fs::write(&path, text).unwrap();
    (path, Digest::of(text.as_bytes()))
}

pub(crate) fn with(mut step: Step, change: impl FnOnce(&mut Step)) -> Step {
    change(&mut step);
    step
}
