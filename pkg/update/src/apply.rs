//! `update apply`, `update resume`.
//!
//! Only a slot's partition and the EFI system partition are written for an update. The records on P3 make it resume and explain;
//! a full or missing P3 stops no update.

use crate::{
    config::Config,
    error::Error,
    floor::Floor,
    health, kernel,
    limit::Meter,
    loader::Loader,
    machine::{self, Running, System},
    paths::Paths,
    patience::Patience,
    record::{Last, LoaderState, LoaderTrial, Outcome, Progress, Records, Refusal},
    source::{self, Fetch, Source},
    trust,
    writer::{self, Writer},
};
use artefact::{Blob, Update, oci::Manifest};
use sign::Trust;
use slots::{Device, SlotStatus, State, Status, compare};
use std::{cmp::Ordering, fs::File, time::Duration};
use store::Descriptor;
use types::{Bytes, Digest, Slot};

/// How to update.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Options {
    pub(crate) source: Option<String>,
    pub(crate) limit: Option<Bytes>,
    pub(crate) allow_older: bool,
    pub(crate) reboot: bool,
}

/// Goes on with an update that was interrupted, if there is one. One that this device refuses is recorded and not tried
/// again; any other error is returned, so that the unit tries again after a while.
pub(crate) fn resume(paths: &Paths, system: &dyn System) -> Result<(), Error> {
    let records = Records::open(paths);
    let Some(progress) = records.progress() else { return Ok(()) };
    eprintln!("going on with {} from {}", progress.image, progress.source);
    let Progress { source, image, limit, allow_older, .. } = progress;
    let options = Options { source: Some(source.clone()), limit, allow_older, reboot: false };
    match apply(paths, system, &options) {
        Err(e) if e.is_final() => {
            eprintln!("error: {e}");
            eprintln!("this update is not tried again; `update apply` tries the one that the source then offers");
            records.set_refusal(&Refusal { source, image, reason: e.to_string() });
            records.forget_progress();
            Ok(())
        }
        result => result,
    }
}

/// Puts an update into the slot that is not running.
pub(crate) fn apply(paths: &Paths, system: &dyn System, options: &Options) -> Result<(), Error> {
    let records = Records::open(paths);
    let _alone = records.alone(Duration::ZERO)?;
    let config = settings(paths, options, &records)?;
    let none = || Error::Usage { what: "no source is given, and /config/update.yml names none".to_owned() };
    let address = options.source.clone().or_else(|| config.source.clone()).ok_or_else(none)?;
    let running = Running::read(paths)?;
    let device = Device::new(machine::disk(paths, true)?);
    machine::starts_from(paths, device.esp_partition()?.partition.guid)?;
    let status = device.status()?;
    let current = current(&status, &running)?;
    let target = status.slot(if current.slot == Slot::A { Slot::B } else { Slot::A });
    if target.state == State::Missing {
        return Err(slots::Error::Missing(target.slot).into());
    }

    let source = source::find(&address, paths)?;
    let meter = Meter::new(options.limit.or(config.limit));
    let fetch = Fetch { source: source.as_ref(), meter: &meter, patience: Patience::default() };
    let trust = trust::read(paths, &device)?;
    let (update, digest) = offered(&fetch, source.as_ref(), &running, &trust)?;
    fits(&update, &running, &Floor::read(&records, &running, health::is_good(&status, &running)), options)?;
    eprintln!("{} from {}", update.image, source.address());
    if current.root_hash() == Some(update.root_hash) {
        return Err(refused(&update, "it is what is running"));
    }
    let own = &current.entries[0].file;
    let own = device.read(&format!("EFI/Linux/{own}"))?.unwrap_or_default();
    let program = programs(&fetch, &update, &own, &trust)?;
    room(&device, target, &update)?;
    let loader = loader(&fetch, &device, &records, &update, &running, &trust)?;

    let before = records.progress().filter(|before| before.update == digest);
    let mut progress = Progress {
        source: address,
        update: digest,
        image: update.image.clone(),
        limit: options.limit,
        allow_older: options.allow_older,
        blob: before.and_then(|before| before.blob),
    };
    let layout = writer::layout(&fetch, &update, &paths.store)?;
    records.set_progress(&progress);
    let target = device.clear(target.slot, running.root_hash)?;
    let partial = progress.blob;
    let writer = Writer {
        fetch: &fetch,
        update: &update,
        slot: &target,
        device: paths.partitions.join(target.slot.label()),
        store: &paths.store,
    };
    let written = writer.write(&layout, partial, &mut |blob| {
        progress.blob = blob;
        records.set_progress(&progress);
        Ok(())
    })?;

    records.set_attempts(&[]);
    records.set_last(&Last {
        from: running.image.clone(),
        to: update.image.clone(),
        root_hash: update.root_hash,
        fetched: meter.read(),
        reused: written.reused,
        result: Outcome::Ready,
        reason: None,
    });
    // from here on the boot loader that is kept belongs to the new image; one that is on trial came with another
    let signed = |program: &[u8]| kernel::signed("boot loader", program, &trust);
    Loader::new(paths, &records, &device, running.arch, &signed).forget()?;
    keep_loader(&records, loader.as_deref());
    device.activate(target.slot, running.root_hash, &program, config.health.tries)?;
    records.forget_progress();
    records.forget_refusal();
    let (label, fetched, reused) = (target.slot.label(), meter.read(), written.reused);
    eprintln!("{} is in {label}: {fetched} fetched, {reused} were here", update.image);
    if options.reboot {
        return system.restart();
    }
    eprintln!("it starts with the next restart");
    Ok(())
}

/// The owner's settings. A mistake in the file stops an update only where the file is needed, to name the source.
fn settings(paths: &Paths, options: &Options, records: &Records) -> Result<Config, Error> {
    if options.source.is_none() {
        return Config::read(paths);
    }
    let (config, warning) = Config::or_default(paths);
    warning.into_iter().for_each(|text| records.warn(text));
    Ok(config)
}

/// The running slot. It must be good before anything is fetched: it is what starts when the update fails.
fn current<'a>(status: &'a Status, running: &Running) -> Result<&'a SlotStatus, Error> {
    let current = status.with_root_hash(running.root_hash);
    let current = current.ok_or(slots::Error::NotOurs { root_hash: running.root_hash })?;
    match current.state {
        State::Good => Ok(current),
        state => Err(slots::Error::NotGood { slot: current.slot, state }.into()),
    }
}

/// Keeps the boot loader of an update for its trial. Without room on P3 the one that is here stays: it works.
fn keep_loader(records: &Records, loader: Option<&[u8]>) {
    let kept = match loader {
        Some(loader) => records.set_loader(loader).or_else(|e| {
            records.warn(format!("the boot loader of this update is not tried, the one that is here stays: {e}"));
            records.forget_loader()
        }),
        None => records.forget_loader(),
    };
    kept.unwrap_or_else(|e| records.warn(e.to_string()));
}

/// The update that a source offers, and the digest of its document.
fn offered(
    fetch: &Fetch<'_>,
    source: &dyn Source,
    running: &Running,
    trust: &Trust,
) -> Result<(Update, Digest), Error> {
    let manifest = Manifest::read(&source.manifest(running.flavour, running.arch)?)?;
    let whole = |what: &str, of: &Descriptor| {
        // a document, which is read into memory
        let size = Bytes(of.size.min(4 << 20));
        fetch.whole(what, Blob { digest: of.digest, size })
    };
    let document = whole("update.json", manifest.update())?;
    let signatures = whole("signatures.json", manifest.signatures()?)?;
    Ok((artefact::check(&document, &signatures, trust)?, Digest::of(&document)))
}

/// Whether an update is for this device.
fn fits(update: &Update, running: &Running, floor: &Floor, options: &Options) -> Result<(), Error> {
    if update.arch != running.arch {
        return Err(refused(update, format!("this device is {}", running.arch)));
    }
    if update.flavour != running.flavour {
        return Err(refused(
            update,
            format!(
                "it runs {}, and what is kept in /persist by one flavour means nothing to another: install {} anew, or \
                 update to an image of {}",
                running.flavour, update.flavour, running.flavour
            ),
        ));
    }
    floor.allows(&update.version).map_err(|reason| refused(update, reason))?;
    if compare(&update.version, &running.version) == Ordering::Less && !options.allow_older {
        return Err(refused(
            update,
            format!("it is older than {}, which runs: `--allow-older` takes it", running.version),
        ));
    }
    Ok(())
}

/// The kernel image, which starts just the slot that the update describes.
fn programs(fetch: &Fetch<'_>, update: &Update, own: &[u8], trust: &Trust) -> Result<Vec<u8>, Error> {
    let program = kernel::assemble(fetch, &update.kernel, own)?;
    kernel::signed("kernel image", &program, trust)?;
    let bad = |problem: String| Error::Program { what: "kernel image", problem };
    let described = boot::describe(&program).map_err(bad)?;
    let same = described.root_hash == update.root_hash
        && described.data_blocks == update.data_blocks
        && described.image_version == update.image;
    if !same {
        return Err(bad(format!("it is of {} with root hash {}", described.image_version, described.root_hash)));
    }
    Ok(program)
}

/// Whether kernel image and slot have room for it, before anything is touched.
fn room(device: &Device<File>, target: &SlotStatus, update: &Update) -> Result<(), Error> {
    let no = |what, needed, place: &str, room| Error::NoRoom { what, needed, place: place.to_owned(), room };
    let room = device.room(target.slot)?;
    if update.kernel.size > room {
        return Err(no("the kernel image", update.kernel.size, "the EFI system partition", room));
    }
    let data = Bytes(update.data_blocks.saturating_mul(verity::BLOCK));
    let needed = Bytes(data.0.saturating_add(verity::overhead(data).0));
    if needed > target.size {
        return Err(no("the update", needed, target.slot.label(), target.size));
    }
    Ok(())
}

/// The boot loader of the update, where it differs from this device's and has not failed here.
fn loader(
    fetch: &Fetch<'_>,
    device: &Device<File>,
    records: &Records,
    update: &Update,
    running: &Running,
    trust: &Trust,
) -> Result<Option<Vec<u8>>, Error> {
    if device.loader(running.arch)?.is_some_and(|own| Digest::of(&own) == update.loader.digest) {
        return Ok(None);
    }
    let failed = |trial: &LoaderTrial| trial.state == LoaderState::Failed && trial.digest == update.loader.digest;
    if records.loader_trial().as_ref().is_some_and(failed) {
        eprintln!("its boot loader has failed on this device before: the one that is here stays");
        return Ok(None);
    }
    let loader = fetch.whole("the boot loader", update.loader)?;
    kernel::signed("boot loader", &loader, trust)?;
    Ok(Some(loader))
}

fn refused(update: &Update, reason: impl Into<String>) -> Error {
    Error::Refused { image: update.image.clone(), reason: reason.into() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::trial::tests::World;

    fn interrupted(source: &str) -> Progress {
        let (source, image) = (source.to_owned(), "3.0-kvm-amd64".to_owned());
        Progress { source, update: Digest::of(b"3.0"), image, limit: None, allow_older: false, blob: None }
    }

    #[test]
    fn an_update_that_is_refused_is_not_tried_again_and_one_that_fails_is() {
        let world = World::new("");
        let records = Records::at(&world.paths);
        // the source is no address at all
        records.set_progress(&interrupted("oci://nothing"));
        resume(&world.paths, &world).unwrap();
        assert_eq!(records.progress(), None);
        let refusal = records.refusal().unwrap();
        assert_eq!((refusal.image.as_str(), refusal.source.as_str()), ("3.0-kvm-amd64", "oci://nothing"));
        assert!(refusal.reason.contains("is not <registry>"), "{}", refusal.reason);
        resume(&world.paths, &world).unwrap();
        // this device trusts nobody: its owner may enroll a key
        records.set_progress(&interrupted("http://127.0.0.1:1"));
        assert!(matches!(resume(&world.paths, &world), Err(Error::NoTrust(_))));
        assert!(records.progress().is_some());
    }

    #[test]
    fn an_image_on_trial_takes_no_update_before_anything_is_fetched() {
        let world = World::new("+2-1");
        let options = Options { source: Some("/nowhere".to_owned()), ..Options::default() };
        let error = apply(&world.paths, &world, &options).unwrap_err();
        assert!(matches!(error, Error::Slots(slots::Error::NotGood { .. })), "{error}");
    }

    #[test]
    fn a_mistake_in_config_stops_only_an_update_whose_source_it_would_name() {
        let world = World::new("");
        world.config("sauce: usb\n");
        let named = Options { source: Some("/nowhere".to_owned()), ..Options::default() };
        assert!(matches!(apply(&world.paths, &world, &named), Err(Error::Io { .. })), "it goes on to the source");
        assert!(matches!(apply(&world.paths, &world, &Options::default()), Err(Error::Config(_))));
    }
}
