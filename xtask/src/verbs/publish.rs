//! `publish`: images as updates, for devices in use.

use super::{image::LIVE, keys, modules};
use crate::{
    cli::{Common, Publish},
    exit::Exit,
    failure::Failure,
    session::{Session, root},
};
use registry::{Address, Credentials, Progress, Registry, Tag};
use std::path::Path;
use steps::{Artefact, PublishedUpdate, Target, pack};
use types::Bytes;

/// Builds an image and writes it as an update; prints its place.
pub(crate) fn publish(common: &Common, args: &Publish) -> Result<(), Failure> {
    let session = Session::open(common)?;
    let to = Path::new(&args.to);
    if let Some(address) = Address::read(&args.to)? {
        push(&session, args, address)?;
    } else if to.extension().is_some_and(|e| e == "tar") {
        let folder = tempfile::tempdir_in(session.cache.cas().tmp())?;
        write(&session, args, folder.path())?;
        pack(folder.path(), to)?;
    } else {
        write(&session, args, to)?;
    }
    println!("{}", args.to);
    Ok(())
}

/// Blobs from this size on are reported one by one.
const REPORTED: Bytes = Bytes::mib(1);

/// Writes the update into a temporary folder, and pushes it into a registry with two tags: the image's name, and the
/// flavour and architecture, which a device pulls by default.
fn push(session: &Session, args: &Publish, address: Address) -> Result<(), Failure> {
    if session.offline {
        return Err(Failure::new(Exit::Usage, format!("--offline forbids to push to {address}")));
    }
    let credentials = Credentials::discover(&address, |name| std::env::var(name).ok())?;
    let folder = tempfile::tempdir_in(session.cache.cas().tmp())?;
    let published = write(session, args, folder.path())?;
    let update = &published.update;
    let tags = [Tag::of(&update.image)?, Tag::of(&format!("{}-{}", update.flavour, update.arch))?];

    let events = &session.events;
    let mut tell = |event: Progress<'_>| match event {
        Progress::Plan { blobs, bytes } => {
            events.say(&format!("pushing {}, {bytes}, to {address}", types::count(blobs, "blob")));
        }
        Progress::Sending { digest, size } if size >= REPORTED => {
            events.say(&format!("sending {}, {size}", digest.short()))
        }
        Progress::Trouble { error, pause } => {
            events.say(&format!("{error}\n  trying again in {:.1} s", pause.as_secs_f32()));
        }
        Progress::Tagged { tag } => events.say(&format!("{}:{tag} is {}", address.name(), published.manifest.short())),
        Progress::Present { .. } | Progress::Sending { .. } | Progress::Sent { .. } => {}
    };
    let options = registry::Options { cancel: session.cancel.clone(), ..registry::Options::default() };
    let registry = Registry::new(address.clone(), credentials, options);
    let pushed = registry.push(folder.path(), &published.manifest, &tags, &mut tell)?;
    events.say(&format!("{} sent, {} were there", pushed.sent, pushed.present));
    Ok(())
}

fn write(session: &Session, args: &Publish, folder: &Path) -> Result<PublishedUpdate, Failure> {
    let keys = keys::open(session)?;
    let target = Target { flavour: args.target.hv, arch: args.target.arch };
    let project = modules::signed(session, &session.project()?, &[target])?;
    let (graph, targets) = project.plan(LIVE, target)?;
    let built = session.build(&project, &graph, &targets.all())?;
    let cache = &session.cache;
    let sizes = &steps::report(&project, target, cache, &targets, &built)?;
    let artefact = Artefact {
        project: &project,
        image: LIVE,
        target,
        cache,
        graph: &graph,
        targets: &targets,
        built: &built,
        sizes,
    };
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
