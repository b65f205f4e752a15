//! `image`: from a checkout to disks in dist/.

use crate::{
    cli::{Common, Images, Target},
    failure::Failure,
    session::{Session, root},
};
use std::path::Path;
use steps::{Project, Published};

/// Builds and publishes images.
pub(crate) fn images(common: &Common, choice: &Images) -> Result<(), Failure> {
    let session = Session::open(common)?;
    let project = session.project()?;
    for published in build(&session, &project, &choice.targets(&project.defs))? {
        println!("{}", published.folder.display());
    }
    Ok(())
}

/// The same in a session that is open. All images are one graph, so that nothing is made twice and no processor waits.
pub(crate) fn build(
    session: &Session,
    project: &Project,
    targets: &[steps::Target],
) -> Result<Vec<Published>, Failure> {
    let (graph, images) = project.plan_all(targets)?;
    let wanted: Vec<_> = images.iter().flat_map(|(_, steps)| steps.all()).collect();
    let built = session.build(project, &graph, &wanted)?;
    let dist = root().join("dist");
    let publish = |(target, steps): &(steps::Target, steps::Targets)| -> Result<Published, Failure> {
        let own = built.of(&graph.needed(&steps.all())?);
        let sizes = steps::report(project, *target, &session.cache, steps, &own)?;
        let published = steps::publish(project, *target, &session.cache, (&graph, steps), &own, &sizes, &dist)?;
        tell(session, &published, &sizes);
        Ok(published)
    };
    images.iter().map(publish).collect()
}

/// What there is to say about an image that is done.
fn tell(session: &Session, published: &Published, sizes: &size::Report) {
    let state = if published.unchanged { "unchanged" } else { "written" };
    let image = &published.image;
    session.events.say(&format!("{}: {state}, root hash {}", image.version, image.root_hash.short()));
    if let Some(store) = sizes.budgets.iter().find(|budget| budget.name == "store") {
        let [size, limit, left] = [store.size, store.limit, store.headroom()].map(size::binary);
        session.events.say(&format!("store: {size} of {limit}, {left} left; `cargo xtask size` shows what takes them"));
    }
    session.events.say(&size::verdict(&sizes.fits));
}

/// One image in a session that is open.
pub(crate) fn image(session: &Session, project: &Project, target: &Target) -> Result<Published, Failure> {
    let target = steps::Target { flavour: target.hv, arch: target.arch };
    let published = build(session, project, &[target])?;
    Ok(published.into_iter().next().expect("an image for the target"))
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
