//! `update apply`, `update resume`.

use crate::{
    config::Config,
    error::Error,
    kernel,
    limit::Meter,
    loader::Loader,
    machine::{self, Running},
    places::Places,
    record::{Last, LoaderState, LoaderTrial, Outcome, Progress, Records},
    source::{self, Fetch, Source},
    trust,
    writer::{self, Writer},
};
use artefact::{Blob, Update, oci::Manifest};
use sign::Trust;
use slots::{Device, SlotStatus, compare};
use std::{cmp::Ordering, fs::File};
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

/// Goes on with an update that was interrupted, if there is one.
pub(crate) fn resume(places: &Places) -> Result<(), Error> {
    let Some(progress) = Records::open(places)?.progress()? else { return Ok(()) };
    eprintln!("going on with {} from {}", progress.image, progress.source);
    let Progress { source, limit, allow_older, .. } = progress;
    apply(places, &Options { source: Some(source), limit, allow_older, reboot: false })
}

/// Puts an update into the slot that is not running.
pub(crate) fn apply(places: &Places, options: &Options) -> Result<(), Error> {
    let records = Records::open(places)?;
    let _alone = records.alone(false)?;
    let config = Config::read(places)?;
    let none = || Error::Usage { what: "no source is given, and /config/update.yml names none".to_owned() };
    let address = options.source.clone().or_else(|| config.source.clone()).ok_or_else(none)?;
    let source = source::find(&address, places)?;
    let meter = Meter::new(options.limit.or(config.limit));
    let fetch = Fetch { source: source.as_ref(), meter: &meter };

    let running = Running::read(places)?;
    let device = Device::new(machine::disk(places, true)?);
    let trust = trust::read(places, &device)?;
    let (update, digest) = offered(&fetch, source.as_ref(), &running, &trust)?;
    fits(&update, &running, &records, options)?;
    eprintln!("{} from {}", update.image, source.address());

    let status = device.status()?;
    let current = status.with_root_hash(running.root_hash);
    let current = current.ok_or(slots::Error::NotOurs { root_hash: running.root_hash })?;
    if current.root_hash() == Some(update.root_hash) {
        return Err(refused(&update, "it is what is running"));
    }
    let target = status.slot(if current.slot == Slot::A { Slot::B } else { Slot::A });
    let own = &current.entries[0].file;
    let own = device.read(&format!("EFI/Linux/{own}"))?.unwrap_or_default();
    let program = programs(&fetch, &update, &own, &trust)?;
    room(&device, target, &update)?;
    let news = loader(&fetch, &device, &records, &update, &running, &trust)?;

    let before = records.progress()?.filter(|before| before.update == digest);
    let mut progress = Progress {
        source: address,
        update: digest,
        image: update.image.clone(),
        limit: options.limit,
        allow_older: options.allow_older,
        blob: before.and_then(|before| before.blob),
    };
    let layout = writer::layout(&fetch, &update, &places.store)?;
    records.set_progress(&progress)?;
    let target = device.clear(target.slot, running.root_hash)?;
    let partial = progress.blob;
    let writer = Writer {
        fetch: &fetch,
        update: &update,
        slot: &target,
        device: places.partitions.join(target.slot.label()),
        store: &places.store,
    };
    let written = writer.write(&layout, partial, &mut |blob| {
        progress.blob = blob;
        records.set_progress(&progress)
    })?;

    records.set_attempts(&[])?;
    records.set_last(&Last {
        from: running.image.clone(),
        to: update.image.clone(),
        root_hash: update.root_hash,
        fetched: meter.read(),
        reused: written.reused,
        result: Outcome::Ready,
        reason: None,
    })?;
    // from here on what is kept belongs to the new image; one that is on trial was another's
    let signed = |program: &[u8]| kernel::signed("boot loader", program, &trust);
    Loader::new(places, &records, &device, running.arch, &signed).forget()?;
    match news {
        Some(loader) => records.set_loader(&loader)?,
        None => records.forget_loader()?,
    }
    device.activate(target.slot, running.root_hash, &program, config.health.tries)?;
    records.forget_progress()?;
    let (label, fetched, reused) = (target.slot.label(), meter.read(), written.reused);
    eprintln!("{} is in {label}: {fetched} fetched, {reused} were here", update.image);
    if options.reboot {
        return machine::restart();
    }
    eprintln!("it starts with the next restart");
    Ok(())
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
        // documents, which are read into memory
        let size = Bytes(of.size.min(4 << 20));
        fetch.whole(what, Blob { digest: of.digest, size })
    };
    let document = whole("update.json", manifest.update())?;
    let signatures = whole("signatures.json", manifest.signatures()?)?;
    Ok((artefact::check(&document, &signatures, trust)?, Digest::of(&document)))
}

/// Whether an update is for this device.
fn fits(update: &Update, running: &Running, records: &Records, options: &Options) -> Result<(), Error> {
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
    if let Some(floor) = records.floor()?
        && compare(&update.version, &floor.version) == Ordering::Less
    {
        return Err(refused(update, format!("nothing older than {} may run here any more", floor.version)));
    }
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

/// The boot loader, where it is another one, and none that has failed here.
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
    if records.loader_trial()?.as_ref().is_some_and(failed) {
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
