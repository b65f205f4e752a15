//! QEMU and its companions from the toolbox, for the verbs that start machines.

use crate::{failure::Failure, session::Session};
use std::path::PathBuf;
use steps::Project;
use vm::{Accel, Tools};

/// The folder of an unpacked toolbox set.
pub(crate) fn set(session: &Session, project: &Project, name: &str) -> Result<PathBuf, Failure> {
    let (graph, id) = project.toolbox(name)?;
    let built = session.build(project, &graph, std::slice::from_ref(&id))?;
    Ok(built.path(&session.cache, &id, "root").unwrap_or_default())
}

/// The toolbox's QEMU for machines of an architecture, and the accelerator of this host.
pub(crate) fn qemu(session: &Session, project: &Project, arch: types::Arch) -> Result<(Tools, Accel), Failure> {
    let root = set(session, project, &steps::tools_for("qemu", arch))?;
    let tools = Tools::choose(&root);
    let verdict = vm::probe(&tools, arch, &session.cache.cas().root().join(format!("accel-{arch}.json")))?;
    if let Some(notice) = &verdict.notice {
        session.events.say(notice);
    }
    Ok((tools, verdict.accel))
}
