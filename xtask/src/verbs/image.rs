//! `image`: from a checkout to disks in dist/.

use super::{keys, modules};
use crate::{
    cli::{Common, ImageArgs, Target},
    failure::Failure,
    session::{Session, root},
};
use sign::Keys;
use std::path::Path;
use steps::{Artefact, Project, Published};

/// The recipe of the disk that these verbs are about: `images/live.yml`.
pub(crate) const LIVE: &str = "live";

/// Builds and publishes images.
pub(crate) fn images(common: &Common, args: &ImageArgs) -> Result<(), Failure> {
    let (session, choice) = (Session::open(common)?, &args.images);
    let mut project = session.project()?;
    if let Some(recipe) = project.defs.images.get_mut(LIVE) {
        let more = args.format.iter().filter(|format| !recipe.formats.contains(format)).copied().collect::<Vec<_>>();
        recipe.formats.extend(more);
    }
    let keys = if choice.unsigned { None } else { Some(keys::open(&session)?) };
    let targets = choice.targets(&project.defs);
    for published in build_with(&session, &project, &targets, keys.as_ref())? {
        println!("{}", published.folder.display());
    }
    Ok(())
}

/// Builds and publishes signed images in an open session.
pub(crate) fn build(
    session: &Session,
    project: &Project,
    targets: &[steps::Target],
) -> Result<Vec<Published>, Failure> {
    build_with(session, project, targets, Some(&keys::open(session)?))
}

/// All images are one graph, so that shared steps run once and no processor waits.
fn build_with(
    session: &Session,
    project: &Project,
    targets: &[steps::Target],
    keys: Option<&Keys>,
) -> Result<Vec<Published>, Failure> {
    let project = &modules::signed(session, project, targets)?;
    let (graph, images) = project.plan_all(LIVE, targets)?;
    let wanted: Vec<_> = images.iter().flat_map(|(_, steps)| steps.all()).collect();
    let built = session.build(project, &graph, &wanted)?;
    let dist = root().join("dist");
    let mut wanted = Vec::new();
    let mut all = Vec::new();
    for (target, targets) in &images {
        let (cache, own) = (&session.cache, built.of(&graph.needed(&targets.all())?));
        let sizes = &steps::report(project, *target, cache, targets, &own)?;
        let artefact =
            Artefact { project, image: LIVE, target: *target, cache, graph: &graph, targets, built: &own, sizes };
        match artefact.publish(keys, &dist) {
            // one request for the missing signatures of all images
            Err(steps::Error::Sign(sign::Error::Wanted(request))) => wanted.extend(request.wanted),
            other => {
                let published = other?;
                report(session, &published, sizes);
                all.push(published);
            }
        }
    }
    if wanted.is_empty() { Ok(all) } else { Err(keys::ask(wanted, &dist)) }
}

/// Prints the result of an image.
fn report(session: &Session, published: &Published, sizes: &size::Report) {
    let state = if published.unchanged { "unchanged" } else { "written" };
    let image = &published.image;
    session.events.say(&format!("{}: {state}, root hash {}", image.version, image.root_hash.short()));
    if let Some(warning) = image.signing.as_ref().and_then(|s| s.warning.as_ref()) {
        session.events.say(warning);
    }
    if let Some(store) = sizes.budgets.iter().find(|budget| budget.name == "store") {
        let [size, limit, left] = [store.size, store.limit, store.headroom()].map(size::binary);
        session.events.say(&format!("store: {size} of {limit}, {left} left; `cargo xtask size` shows what takes them"));
    }
    session.events.say(&size::verdict(&sizes.fits));
}

/// Builds one image in an open session.
pub(crate) fn image(session: &Session, project: &Project, target: &Target) -> Result<Published, Failure> {
    let target = steps::Target { flavour: target.hv, arch: target.arch };
    let published = build(session, project, &[target])?;
    Ok(published.into_iter().next().expect("an image for the target"))
}

/// Builds and writes the images as an OCI image layout; prints their names.
pub(crate) fn oci(common: &Common, target: &Target, dir: &Path) -> Result<(), Failure> {
    let session = Session::open(common)?;
    let target = steps::Target { flavour: target.hv, arch: target.arch };
    let project = modules::signed(&session, &session.project()?, &[target])?;
    let (graph, targets) = project.plan(LIVE, target)?;
    let built = session.build(&project, &graph, &targets.all())?;
    for name in steps::export_oci(&session.cache, &graph, &targets, &built, dir)? {
        println!("{name}");
    }
    Ok(())
}
