//! `image`: from a checkout to a disk in dist/.

use crate::{
    cli::{Common, Target},
    failure::Failure,
    session::{Session, root},
};
use std::path::Path;
use steps::Published;

/// Builds and publishes an image.
pub(crate) fn image(common: &Common, target: &Target) -> Result<Published, Failure> {
    let session = Session::open(common)?;
    image_in(&session, target)
}

/// The same in a session that is open.
pub(crate) fn image_in(session: &Session, target: &Target) -> Result<Published, Failure> {
    let project = session.project()?;
    let wanted = steps::Target { flavour: target.hv, arch: target.arch };
    let (graph, targets) = project.plan(wanted)?;
    let built = session.build(&project, &graph, &targets.all())?;
    let dist = root().join("dist");
    let published = steps::publish(&project, wanted, &session.cache, (&graph, &targets), &built, &dist)?;
    let state = if published.unchanged { "unchanged" } else { "written" };
    session.events.say(&format!(
        "{}: {state}, root hash {}",
        published.image.version,
        published.image.root_hash.short()
    ));
    println!("{}", published.folder.display());
    Ok(published)
}

/// Builds and writes the images as an OCI image layout; prints their names.
pub(crate) fn oci(common: &Common, target: &Target, dir: &Path) -> Result<(), Failure> {
    let session = Session::open(common)?;
    let project = session.project()?;
    let (graph, targets) = project.plan(steps::Target { flavour: target.hv, arch: target.arch })?;
    let built = session.build(&project, &graph, &targets.all())?;
    for name in steps::export_oci(&session.cache, &graph, &targets, &built, dir)? {
        println!("{name}");
    }
    Ok(())
}
