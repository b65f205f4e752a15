//! Signing modules of a kernel from source, between two steps: after the kernel, and before the steps that contain the
//! modules. Every verb that plans images begins here.

use super::keys;
use crate::{
    failure::Failure,
    session::{Session, root},
};
use graph::{Graph, State, StepId};
use sign::{Keys, Wanted};
use std::collections::BTreeSet;
use steps::{Error, ModuleSigner, Project, Target};
use types::{Arch, Digest};

/// The checkout, ready for a build of these images. For a kernel from source, this builds the kernel and signs its
/// modules.
pub(crate) fn signed(session: &Session, project: &Project, targets: &[Target]) -> Result<Project, Failure> {
    if !project.is_kernel_built() {
        return Ok(project.clone());
    }
    let mut kernels = Kernels::new(session, project, targets)?;
    let built = session.build(&kernels.project, &kernels.graph, &kernels.ids())?;
    let cas = session.cache.cas();
    for (arch, step) in kernels.steps.clone() {
        let digests = built.get(&step, "digests").expect("the step has this output").digest;
        if let Some(signatures) = kernels.sign(session, arch, digests)? {
            kernels.signer.add(arch, cas.put(signatures.as_bytes())?);
        }
    }
    // one request for the missing signatures of all images
    if kernels.wanted.is_empty() { Ok(kernels.done()) } else { Err(keys::ask(kernels.wanted, &root().join("dist"))) }
}

/// The checkout with the signatures that exist without building, for looking at its steps. Prints which are missing.
pub(crate) fn as_known(session: &Session, project: &Project, targets: &[Target]) -> Result<Project, Failure> {
    if !project.is_kernel_built() {
        return Ok(project.clone());
    }
    let mut kernels = Kernels::new(session, project, targets)?;
    let plan = kernels.graph.plan(&session.cache, &kernels.ids())?;
    for (arch, step) in kernels.steps.clone() {
        let record = match plan.get(&step).map(|planned| &planned.state) {
            Some(State::Cached { key }) => session.cache.record(key),
            _ => None,
        };
        let Some(digests) = record.and_then(|r| r.outputs.get("digests").map(|o| o.digest)) else {
            session.events.say(&format!("the kernel for {arch} is not built yet; its modules are signed once it is"));
            continue;
        };
        match kernels.sign(session, arch, digests)? {
            Some(signatures) => kernels.signer.add(arch, Digest::of(signatures.as_bytes())),
            None => session.events.say(&format!(
                "the modules of the kernel for {arch} are not signed yet: `cargo xtask image` asks for signatures"
            )),
        }
    }
    Ok(kernels.done())
}

/// Kernels from source, and the signer of their modules.
struct Kernels {
    project: Project,
    keys: Keys,
    signer: ModuleSigner,
    graph: Graph,
    /// The steps with the digests to sign.
    steps: Vec<(Arch, StepId)>,
    /// Signatures whose private key is elsewhere.
    wanted: Vec<Wanted>,
}

impl Kernels {
    /// The kernels of images.
    fn new(session: &Session, project: &Project, targets: &[Target]) -> Result<Self, Failure> {
        let keys = keys::open(session)?;
        let signer = ModuleSigner::new(&keys);
        let project = Project { modules: Some(signer.clone()), ..project.clone() };
        let archs: BTreeSet<Arch> = targets.iter().map(|target| target.arch).collect();
        let (graph, steps) = project.module_digests(archs)?;
        Ok(Self { project, keys, signer, graph, steps, wanted: Vec::new() })
    }

    fn ids(&self) -> Vec<StepId> {
        self.steps.iter().map(|(_, id)| id.clone()).collect()
    }

    /// The checkout with the existing signatures.
    fn done(self) -> Project {
        Project { modules: Some(self.signer), ..self.project }
    }

    /// Signatures of modules as JSON; `None` if a private key is elsewhere.
    fn sign(&mut self, session: &Session, arch: Arch, digests: Digest) -> Result<Option<String>, Failure> {
        match self.project.sign_modules(&self.keys, arch, &session.cache.cas().read(&digests)?) {
            Err(Error::Sign(sign::Error::Wanted(request))) => {
                self.wanted.extend(request.wanted);
                Ok(None)
            }
            other => Ok(Some(other?.json())),
        }
    }
}
