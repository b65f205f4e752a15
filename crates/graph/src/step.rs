use crate::{Ctx, Error, StepError};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};
use types::Digest;

/// The name of a step, unique in its graph and readable: `layer/kube`, `disk/live`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct StepId(String);

impl StepId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as one file name: every byte but letters, digits, `.`, `-` and `_` becomes `%` and two hex digits.
    #[must_use]
    pub(crate) fn file_name(&self) -> String {
        let mut name = String::with_capacity(self.0.len());
        for byte in self.0.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => name.push(byte as char),
                _ => name.push_str(&format!("%{byte:02x}")),
            }
        }
        name
    }
}

impl<S: Into<String>> From<S> for StepId {
    fn from(name: S) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Where in the definitions a step comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Source {
    /// The file, as the user would name it.
    pub file: PathBuf,
    /// The line, from 1; `None` means the whole file.
    pub line: Option<u32>,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

/// What a step reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A blob that is in the cache already, such as a locked input.
    Blob(Digest),
    /// An output of another step.
    Step {
        /// The step that makes it.
        step: StepId,
        /// The name of its output.
        output: String,
    },
    /// A file or folder of the source tree. The digest is the key's; the path is only where to find it.
    File {
        /// Its current path.
        path: PathBuf,
        /// The digest of its content; the caller has the rule for folders.
        digest: Digest,
    },
}

type Run = dyn Fn(&mut Ctx<'_>) -> Result<(), StepError> + Send + Sync;

/// One pure build action: its outputs depend only on `kind`, `version`, `params` and the bytes of its inputs.
pub struct Step {
    /// Its name. Not part of the key.
    pub id: StepId,
    /// What it does: `layer`, `erofs`. Part of the key.
    pub kind: &'static str,
    /// The version of the code of this kind. An author raises it when the code makes other bytes from the same inputs.
    /// Part of the key.
    pub version: u32,
    /// Parameters, an object. Part of the key.
    pub params: serde_json::Map<String, serde_json::Value>,
    /// Its inputs, by labels of its choice. Part of the key, as digests.
    pub inputs: BTreeMap<String, Input>,
    /// Where in the definitions it comes from. Not part of the key.
    pub source: Option<Source>,
    /// The number of job slots that it takes while it runs; `usize::MAX` for a step that keeps every core busy.
    pub slots: usize,
    /// How long it usually runs, for machines that have never run it. Not part of the key.
    pub usual: Duration,
    pub(crate) run: Box<Run>,
}

impl Step {
    /// A step without inputs or parameters that takes one job slot.
    pub fn new(
        id: impl Into<StepId>,
        kind: &'static str,
        version: u32,
        run: impl Fn(&mut Ctx<'_>) -> Result<(), StepError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            id: id.into(),
            kind,
            version,
            params: serde_json::Map::new(),
            inputs: BTreeMap::new(),
            source: None,
            slots: 1,
            usual: Duration::from_secs(1),
            run: Box::new(run),
        }
    }

    /// With a parameter.
    #[must_use]
    pub fn param(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.params.insert(name.to_owned(), value.into());
        self
    }

    /// With an input.
    #[must_use]
    pub fn input(mut self, label: impl Into<String>, input: Input) -> Self {
        self.inputs.insert(label.into(), input);
        self
    }

    /// With a blob from the cache as input.
    #[must_use]
    pub fn blob(self, label: impl Into<String>, digest: Digest) -> Self {
        self.input(label, Input::Blob(digest))
    }

    /// With another step's output as input.
    #[must_use]
    pub fn from(self, label: impl Into<String>, step: impl Into<StepId>, output: impl Into<String>) -> Self {
        self.input(label, Input::Step { step: step.into(), output: output.into() })
    }

    /// With a file or folder of the source tree as input.
    #[must_use]
    pub fn file(self, label: impl Into<String>, path: impl Into<PathBuf>, digest: Digest) -> Self {
        self.input(label, Input::File { path: path.into(), digest })
    }

    /// Coming from this place in the definitions.
    #[must_use]
    pub fn at(mut self, file: impl AsRef<Path>, line: Option<u32>) -> Self {
        self.source = Some(Source { file: file.as_ref().to_owned(), line });
        self
    }

    /// Taking this many job slots.
    #[must_use]
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = slots.max(1);
        self
    }

    /// Usually running this long.
    #[must_use]
    pub fn usually(mut self, usual: Duration) -> Self {
        self.usual = usual;
        self
    }

    /// Whether the other step has the same key for all possible inputs.
    fn is_same(&self, other: &Self) -> bool {
        (self.kind, self.version) == (other.kind, other.version)
            && (&self.params, &self.inputs) == (&other.params, &other.inputs)
    }

    /// The steps whose outputs it reads.
    pub fn needs(&self) -> impl Iterator<Item = &StepId> {
        self.inputs.values().filter_map(|input| match input {
            Input::Step { step, .. } => Some(step),
            _ => None,
        })
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("id", &self.id).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Steps and their dependencies, checked to be complete and without a circle when a target is asked for.
#[derive(Debug, Default)]
pub struct Graph {
    steps: BTreeMap<StepId, Step>,
}

impl Graph {
    /// A graph without steps.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a step.
    ///
    /// # Errors
    /// When another step has its name.
    pub fn add(&mut self, step: Step) -> Result<StepId, Error> {
        let id = step.id.clone();
        if self.steps.contains_key(&id) {
            return Err(Error::Duplicate { id });
        }
        self.steps.insert(id.clone(), step);
        Ok(id)
    }

    /// Adds a step unless the same step is there: targets share the steps that they need.
    ///
    /// # Errors
    /// When a different step has its name.
    pub fn share(&mut self, step: Step) -> Result<StepId, Error> {
        match self.steps.get(&step.id) {
            Some(there) if there.is_same(&step) => Ok(step.id),
            _ => self.add(step),
        }
    }

    /// The targets and everything they need.
    ///
    /// # Errors
    /// When a step is missing or the steps go in a circle.
    pub fn needed(&self, targets: &[StepId]) -> Result<BTreeSet<StepId>, Error> {
        Ok(self.ordered(targets)?.into_iter().map(|step| step.id.clone()).collect())
    }

    /// The step of this name.
    #[must_use]
    pub fn get(&self, id: &StepId) -> Option<&Step> {
        self.steps.get(id)
    }

    /// Every step, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Step> {
        self.steps.values()
    }

    /// The targets and everything they need, each after what it needs; the same order at every call.
    pub(crate) fn ordered(&self, targets: &[StepId]) -> Result<Vec<&Step>, Error> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            Open,
            Done,
        }
        let mut marks: BTreeMap<&StepId, Mark> = BTreeMap::new();
        let mut order = Vec::new();
        for target in targets {
            // an explicit stack: a chain of steps may be longer than the program's
            let step = self.steps.get(target).ok_or_else(|| self.unknown(target, None))?;
            if marks.contains_key(&step.id) {
                continue;
            }
            marks.insert(&step.id, Mark::Open);
            let mut stack = vec![(step, step.needs())];
            while let Some(&mut (step, ref mut needs)) = stack.last_mut() {
                let Some(next) = needs.next() else {
                    marks.insert(&step.id, Mark::Done);
                    order.push(step);
                    stack.pop();
                    continue;
                };
                let need = self.steps.get(next).ok_or_else(|| self.unknown(next, Some(&step.id)))?;
                match marks.get(&need.id) {
                    Some(Mark::Done) => {}
                    Some(Mark::Open) => {
                        let start = stack.iter().position(|(s, _)| s.id == need.id).unwrap_or(0);
                        let mut circle: Vec<_> = stack[start..].iter().map(|(s, _)| s.id.clone()).collect();
                        circle.push(need.id.clone());
                        return Err(Error::Circle { circle });
                    }
                    None => {
                        marks.insert(&need.id, Mark::Open);
                        stack.push((need, need.needs()));
                    }
                }
            }
        }
        Ok(order)
    }

    fn unknown(&self, id: &StepId, wanted_by: Option<&StepId>) -> Error {
        let tail = id.as_str().rsplit('/').next().unwrap_or_default();
        let like: Vec<_> =
            self.steps.keys().filter(|k| !tail.is_empty() && k.as_str().contains(tail)).cloned().collect();
        Error::UnknownStep { id: id.clone(), wanted_by: wanted_by.cloned(), like }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn step(id: &str, needs: &[&str]) -> Step {
        needs.iter().fold(Step::new(id, "test", 1, |_| Ok(())), |s, need| s.from(*need, *need, "out"))
    }

    fn graph(steps: Vec<Step>) -> Graph {
        let mut graph = Graph::new();
        for step in steps {
            graph.add(step).unwrap();
        }
        graph
    }

    #[test]
    fn what_is_needed_comes_first_and_nothing_else_comes() {
        let g = graph(vec![step("a", &["c", "b"]), step("b", &["c"]), step("c", &[]), step("other", &[])]);
        let order: Vec<_> = g.ordered(&["a".into()]).unwrap().iter().map(|s| s.id.as_str().to_owned()).collect();
        assert_eq!(order, ["c", "b", "a"]);
    }

    #[test]
    fn a_circle_is_named() {
        let g = graph(vec![step("a", &["b"]), step("b", &["c"]), step("c", &["b"])]);
        let text = g.ordered(&["a".into()]).unwrap_err().to_string();
        assert_eq!(text, "steps need each other in a circle: b → c → b");
    }

    #[test]
    fn an_unknown_step_names_who_wants_it_and_what_is_alike() {
        let g = graph(vec![step("a", &["layer/kub"]), step("layer/kube", &[])]);
        let text = g.ordered(&["a".into()]).unwrap_err().to_string();
        assert_eq!(text, "no step `layer/kub`, which `a` needs; there is layer/kube");
        assert!(matches!(graph(vec![]).ordered(&["x".into()]), Err(Error::UnknownStep { .. })));
    }

    #[test]
    fn two_steps_cannot_have_one_name() {
        let mut g = graph(vec![step("a", &[])]);
        assert!(matches!(g.add(step("a", &[])), Err(Error::Duplicate { .. })));
    }

    #[test]
    fn only_the_very_same_step_is_shared() {
        let mut g = graph(vec![step("a", &["b"])]);
        assert_eq!(g.share(step("a", &["b"])).unwrap(), "a".into());
        for other in [step("a", &["c"]), step("a", &["b"]).param("level", 3)] {
            assert!(matches!(g.share(other), Err(Error::Duplicate { .. })));
        }
    }

    #[test]
    fn different_names_give_different_file_names() {
        assert_eq!(StepId::from("layer/kube").file_name(), "layer%2fkube");
        assert_ne!(StepId::from("a%2fb").file_name(), StepId::from("a/b").file_name());
    }
}
