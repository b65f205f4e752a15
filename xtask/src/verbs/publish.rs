//! `publish`: images as updates, for devices that are in use.

use super::keys;
use crate::{
    cli::{Common, Publish},
    failure::Failure,
    session::{Session, root},
};
use std::path::Path;
use steps::{Artefact, PublishedUpdate, Target, pack};

/// Builds an image and writes it as an update; prints where.
pub(crate) fn publish(common: &Common, args: &Publish) -> Result<(), Failure> {
    let session = Session::open(common)?;
    let to = Path::new(&args.to);
    if to.extension().is_some_and(|e| e == "tar") {
        let folder = tempfile::tempdir_in(session.cache.cas().tmp())?;
        write(&session, args, folder.path())?;
        pack(folder.path(), to)?;
    } else {
        write(&session, args, to)?;
    }
    println!("{}", args.to);
    Ok(())
}

fn write(session: &Session, args: &Publish, folder: &Path) -> Result<PublishedUpdate, Failure> {
    let project = session.project()?;
    let keys = keys::open(session)?;
    let target = Target { flavour: args.target.hv, arch: args.target.arch };
    let (graph, targets) = project.plan(target)?;
    let built = session.build(&project, &graph, &targets.all())?;
    let cache = &session.cache;
    let sizes = &steps::report(&project, target, cache, &targets, &built)?;
    let artefact =
        Artefact { project: &project, target, cache, graph: &graph, targets: &targets, built: &built, sizes };
    let published = match artefact.publish_update(&keys, folder) {
        Err(steps::Error::Sign(sign::Error::Wanted(request))) => {
            return Err(keys::ask(request.wanted, &root().join("dist")));
        }
        other => other?,
    };
    let size = size::binary(published.size);
    session.events.say(&format!("{}: {size} in all, manifest {}", published.update.image, published.manifest.short()));
    Ok(published)
}
