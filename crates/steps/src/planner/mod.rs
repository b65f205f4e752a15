//! From definitions and lock to the steps of an image. Plans only: no artefact is touched.
//!
//! ```text
//! image ──► root layers, services, payload ──► package layers ──► programs
//!   └─► slot ─► UKI ─► ESP
//! ```

mod image;
mod kernel;
mod package;
mod programs;
mod size;
mod usual;

use crate::{
    Error,
    layers::{self, Debs, Erofs},
    project::{Project, Target},
    sources, toolbox,
    wanted::host,
};
use graph::{Graph, Step, StepId};
use types::Arch;

/// The steps of images, during planning.
pub(crate) struct Planner<'p> {
    project: &'p Project,
    target: Target,
    graph: Graph,
}

/// A layer: the steps that make its tar and its EROFS blob.
#[derive(Debug, Clone)]
struct Layer {
    name: String,
    /// The component that includes its size: a package of `pkg/`, or the root.
    owner: String,
    tar: StepId,
    erofs: StepId,
    /// Whether it consists of Debian packages, so that its step lists the package of each file.
    of_debs: bool,
}

/// The component of layers that are in the root image only.
const ROOT: &str = "root";

fn json<T: serde::Serialize>(value: &T) -> serde_json::Value {
    serde_json::to_value(value).expect("parameters have string keys only")
}

/// With each field of a parameter struct as a parameter of its own, so that `explain` can name it.
fn params<T: serde::Serialize>(mut step: Step, params: &T) -> Step {
    if let serde_json::Value::Object(fields) = json(params) {
        for (name, value) in fields {
            step = step.param(&name, value);
        }
    }
    step
}

impl<'p> Planner<'p> {
    /// Without steps.
    pub(crate) fn new(project: &'p Project, target: Target) -> Self {
        Self { project, target, graph: Graph::new() }
    }

    /// The same plan for another target; the targets share equal steps.
    pub(crate) fn target(&mut self, target: Target) {
        self.target = target;
    }

    /// All steps that were planned.
    pub(crate) fn finish(self) -> Graph {
        self.graph
    }

    fn arch(&self) -> Arch {
        self.target.arch
    }

    fn id(&self, name: &str) -> StepId {
        format!("{name}@{}", self.arch()).into()
    }

    fn flavoured(&self, name: &str) -> StepId {
        format!("{name}/{}@{}", self.target.flavour, self.arch()).into()
    }

    /// Adds a step unless it exists: images share layers.
    fn add(&mut self, step: Step) -> Result<StepId, Error> {
        let usual = usual::of(step.kind, step.id.as_str());
        Ok(self.graph.share(step.usually(usual))?)
    }

    /// Adds the packages of a set, or those that `keep` selects, as inputs `deb/…`.
    fn with_debs(&self, mut step: Step, set: &str, arch: Arch, keep: impl Fn(&str) -> bool) -> Result<Step, Error> {
        let lock = &self.project.lock;
        let found = lock.set(set, arch).ok_or_else(|| Error::NoSet { set: set.to_owned(), arch })?;
        for deb in lock.debs_of(found).filter(|d| keep(&d.name)) {
            step = step.blob(format!("deb/{}:{}", deb.name, deb.arch), deb.sha256);
        }
        Ok(step)
    }

    pub(crate) fn toolbox(&mut self, set: &str) -> Result<StepId, Error> {
        let definition =
            self.project.defs.toolbox.sets.get(set).ok_or_else(|| Error::NoTools { set: set.to_owned() })?;
        let links = definition.links.iter().map(|(path, target)| (path.clone(), target.value.clone())).collect();
        let prefer = definition.prefer.iter().map(|(path, package)| (path.clone(), package.value.clone())).collect();
        let step = Step::new(format!("toolbox/{set}"), "toolbox", toolbox::VERSION, toolbox::run).slots(2);
        let step = self.with_debs(
            params(step, &toolbox::Params { links, prefer }),
            &format!("toolbox/{set}"),
            host()?,
            |_| true,
        )?;
        self.add(step.at("xtask/toolbox.yml", None))
    }

    fn erofs(&mut self, owner: &str, name: &str, tar: StepId) -> Result<Layer, Error> {
        let tools = self.toolbox("files")?;
        let step = Step::new(self.id(&format!("erofs/{name}")), "erofs", layers::EROFS_VERSION, layers::erofs)
            .from("tar", tar.clone(), "tar")
            .from("files", tools, "root")
            .slots(usize::MAX);
        let erofs = self.add(params(step, &Erofs { compression: "zstd,3".into(), cluster: 65536 }))?;
        Ok(Layer { name: name.to_owned(), owner: owner.to_owned(), tar, erofs, of_debs: false })
    }

    fn on(&self, mut step: Step, below: &[Layer]) -> Step {
        for (n, layer) in below.iter().enumerate() {
            step = step.from(format!("lower/{n:02}"), layer.tar.clone(), "tar");
        }
        step
    }

    /// The layer of a set of Debian packages.
    fn debs(&mut self, owner: &str, set: &str, below: &[Layer], debs: &Debs, file: &str) -> Result<Layer, Error> {
        let name = set.trim_start_matches("pkg/").to_owned();
        let tools = self.toolbox("files")?;
        let step = Step::new(self.id(&format!("debs/{name}")), "debs", layers::DEBS_VERSION, layers::debs)
            .from("files", tools, "root")
            .at(file, None)
            .slots(2);
        let mut step = self.with_debs(self.on(params(step, debs), below), set, self.arch(), |_| true)?;
        for (n, layer) in below.iter().enumerate().filter(|(_, layer)| layer.of_debs) {
            step = step.from(format!("lower-origins/{n:02}"), layer.tar.clone(), "origins");
        }
        let tar = self.add(step)?;
        Ok(Layer { of_debs: true, ..self.erofs(owner, &name, tar)? })
    }

    fn files(&self, step: Step, label: &str, folder: &str) -> Result<Step, Error> {
        let path = self.project.root().join(folder);
        Ok(step.file(label, path.clone(), sources::folder(&path)?))
    }
}
