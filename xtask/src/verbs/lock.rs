//! `lock …`: the one list of every input.

use crate::{
    cli::{Common, Lock as Verb},
    exit::Exit,
    failure::Failure,
    session::{LOCKED, Session, definitions, lock_path, root},
};
use debian::{Expiry, Index};
use lock::{Error, Lock, Vendor, Wanted};
use std::{collections::BTreeSet, time::SystemTime};
use types::count;

pub(crate) fn run(common: &Common, verb: &Verb) -> Result<(), Failure> {
    match verb {
        Verb::Update { names, to: None, allow_expired } => update(common, names, *allow_expired),
        Verb::Update { names, to: Some(version), .. } => take_over(common, names, version),
        Verb::Check => check(),
        Verb::Outdated => outdated(common),
        Verb::Why { package } => why(package),
        Verb::Archive { dir } => archive(common, dir),
    }
}

fn read_or_empty() -> Result<Lock, Failure> {
    match Lock::read_sound(&lock_path()) {
        Err(Error::Absent(_)) => Ok(Lock::default()),
        other => Ok(other?),
    }
}

fn indexes(session: &Session, allow_expired: bool) -> Result<Vec<Index>, Failure> {
    let expiry = if allow_expired { Expiry::Ignored } else { Expiry::At(SystemTime::now()) };
    Ok(session.fetcher.indexes(&steps::SUITES, &steps::COMPONENTS, &LOCKED, expiry, &|e| session.events.fetch(e))?)
}

fn update(common: &Common, names: &[String], allow_expired: bool) -> Result<(), Failure> {
    let session = Session::open(common)?;
    let defs = definitions()?;
    let wanted = steps::wanted(&defs, &LOCKED)?;
    let mut lock = read_or_empty()?;
    let vendors: BTreeSet<&str> = wanted.vendors.iter().map(|v| v.name.as_str()).collect();
    let (vendor_names, set_names): (BTreeSet<String>, BTreeSet<String>) =
        names.iter().cloned().partition(|n| vendors.contains(n.as_str()));
    let before = lock.clone();
    if names.is_empty() || !set_names.is_empty() {
        let only = (!names.is_empty()).then_some(&set_names);
        lock::update(&mut lock, &wanted, only, &indexes(&session, allow_expired)?)?;
    }
    if names.is_empty() {
        lock.retain_vendors(&vendors);
    }
    update_vendors(&session, &mut lock, &wanted, &vendor_names, names.is_empty())?;
    lock.write(&lock_path())?;
    report(&session, &before, &lock);
    Ok(())
}

/// Makes the named source archives, or with `stale` those whose manifests changed.
fn update_vendors(
    session: &Session,
    lock: &mut Lock,
    wanted: &Wanted,
    names: &BTreeSet<String>,
    stale: bool,
) -> Result<(), Failure> {
    for archive in &wanted.vendors {
        let current = lock.vendor(&archive.name).is_some_and(|v| v.manifest == archive.manifest);
        if !(names.contains(&archive.name) || stale && !current) {
            continue;
        }
        session.events.say(&format!("making source archive {}", archive.name));
        let project = session.unchecked_project(lock.clone())?;
        let inputs = session.inputs(&project);
        let (sha256, size) =
            inputs.make(&archive.name, archive.kind, &|e| session.events.fetch(e), &session.events, &session.cancel)?;
        let (name, kind, manifest) = (archive.name.clone(), archive.kind, archive.manifest);
        lock.set_vendor(Vendor { name, kind, manifest, sha256, size });
    }
    Ok(())
}

fn report(session: &Session, before: &Lock, after: &Lock) {
    let ids = |lock: &Lock| lock.debs().map(lock::Deb::id).collect::<BTreeSet<_>>();
    let (old, new) = (ids(before), ids(after));
    for id in old.difference(&new) {
        session.events.say(&format!("- {id}"));
    }
    for id in new.difference(&old) {
        session.events.say(&format!("+ {id}"));
    }
    let archives = count(after.vendors().count(), "source archive");
    session.events.say(&format!("evek.lock: {}, {archives}", count(new.len(), "package")));
}

fn take_over(common: &Common, names: &[String], version: &str) -> Result<(), Failure> {
    let [name] = names else {
        return Err(Failure::new(Exit::Usage, "--to takes the name of one Go program, such as k3s"));
    };
    let session = Session::open(common)?;
    let project = session.unchecked_project(read_or_empty()?)?;
    let folder = steps::take_over(
        &session.inputs(&project),
        name,
        version,
        &|e| session.events.fetch(e),
        &session.events,
        &session.cancel,
    )?;
    let shown = folder.strip_prefix(root()).unwrap_or(&folder);
    session.events.say(&format!("{}: go.mod and go.sum are those of {name} {version}", shown.display()));
    let vendor = shown.strip_prefix("pkg").map(|p| format!("go/{}", p.display())).unwrap_or_default();
    update(common, &[vendor], false)
}

fn check() -> Result<(), Failure> {
    let lock = Lock::read(&lock_path())?;
    lock.check(&steps::wanted(&definitions()?, &LOCKED)?)?;
    eprintln!("evek.lock covers the definitions");
    Ok(())
}

fn outdated(common: &Common) -> Result<(), Failure> {
    let session = Session::open(common)?;
    let lock = Lock::read(&lock_path())?;
    let wanted = steps::wanted(&definitions()?, &LOCKED)?;
    for one in lock::outdated(&lock, &wanted, &indexes(&session, false)?)? {
        println!("{} {} -> {} ({}; {})", one.package, one.locked, one.available, one.suite, one.sets.join(", "));
    }
    Ok(())
}

fn why(package: &str) -> Result<(), Failure> {
    let lock = Lock::read(&lock_path())?;
    let mut found = false;
    for set in lock.sets() {
        let chain = lock.why(set, package);
        if !chain.is_empty() {
            found = true;
            println!("{} for {}: {}", set.name, set.arch, chain.join(" → "));
        }
    }
    if found { Ok(()) } else { Err(Failure::new(Exit::Usage, format!("{package} is not in evek.lock"))) }
}

fn archive(common: &Common, dir: &std::path::Path) -> Result<(), Failure> {
    let session = Session::open(common)?;
    let project = session.project()?;
    let inputs = session.inputs(&project);
    let wants = inputs.everything(&|e| session.events.fetch(e), &session.events, &session.cancel)?;
    fetch::archive(session.cache.cas(), dir, &wants)?;
    let (inputs, dir) = (count(wants.len(), "input"), dir.display());
    session.events.say(&format!("{dir} has {inputs}: name the folder in EVEK_SOURCES to build from it"));
    Ok(())
}
