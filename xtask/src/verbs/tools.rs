//! QEMU and its companions from the toolbox, for the verbs that start machines.

use crate::{failure::Failure, session::Session};
use steps::Project;
use vm::{Accel, Tools};

/// The toolbox's QEMU, and how guests run here.
pub(crate) fn qemu(session: &Session, project: &Project, arch: types::Arch) -> Result<(Tools, Accel), Failure> {
    let (graph, id) = project.toolbox("qemu")?;
    let built = session.build(project, &graph, std::slice::from_ref(&id))?;
    let root = built.path(&session.cache, &id, "root").unwrap_or_default();
    let tools = Tools::choose(&root);
    let verdict = vm::probe(&tools, arch, &session.cache.cas().root().join("accel.json"))?;
    if let Some(notice) = &verdict.notice {
        session.events.say(notice);
    }
    Ok((tools, verdict.accel))
}
