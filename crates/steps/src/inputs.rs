//! Brings the lock's inputs into the cache, and verifies the bytes of those that are there before a step reads them. With
//! everything there, no socket is opened.

use crate::{
    Error, Project, vendor,
    wanted::{host, tools_for},
};
use fetch::{Event, Fetcher, Want};
use graph::{Cache, Graph, Input, Plan, Sink, State};
use lock::{Deb, VendorKind};
use rayon::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};
use types::{Bytes, Cancel, Digest};

/// The usual time in which the Go or cargo client fetches the modules or crates of one program.
const CLIENT: Duration = Duration::from_secs(40);

/// Where inputs come from.
pub struct Inputs<'a> {
    /// The lock and the definitions.
    pub project: &'a Project,
    /// The cache that they go to.
    pub cache: &'a Cache,
    /// Mirrors and further sources.
    pub fetcher: &'a Fetcher,
    /// Whether no socket may be opened.
    pub offline: bool,
    /// Parallel steps, for toolboxes that fetching needs.
    pub jobs: usize,
}

/// A Debian package as something to be fetched.
fn want(deb: &Deb) -> Want {
    Want {
        name: format!("{} {}", deb.name, deb.version),
        sha256: deb.sha256,
        size: deb.size,
        locations: vec![(deb.archive(), deb.file.clone())],
    }
}

impl Inputs<'_> {
    /// Fetches what the steps of a plan read that are not cached. A step that waits for another's outputs may turn out to be
    /// cached; its inputs are fetched all the same, for nothing is fetched while steps run.
    ///
    /// # Errors
    /// When an input cannot be had.
    pub fn fetch(
        &self,
        graph: &Graph,
        plan: &Plan,
        progress: &(dyn Fn(Event<'_>) + Sync),
        sink: &dyn Sink,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let mut needed = BTreeSet::new();
        for planned in plan.steps.iter().filter(|p| !matches!(p.state, State::Cached { .. })) {
            let inputs = graph.get(&planned.id).into_iter().flat_map(|step| step.inputs.values());
            needed.extend(inputs.filter_map(|input| match input {
                Input::Blob(digest) => Some(*digest),
                _ => None,
            }));
        }
        self.fetch_digests(&needed, progress, sink, cancel)
    }

    /// The inputs that are not in the cache with the right bytes. A damaged one is set aside, and `progress` says so.
    fn missing(
        &self,
        needed: &BTreeSet<Digest>,
        progress: &(dyn Fn(Event<'_>) + Sync),
        cancel: &Cancel,
    ) -> Result<BTreeSet<Digest>, Error> {
        let lock = &self.project.lock;
        let names: BTreeMap<Digest, String> = lock
            .debs()
            .map(|deb| (deb.sha256, want(deb).name))
            .chain(lock.vendors().map(|archive| (archive.sha256, archive.name.clone())))
            .collect();
        let all: Vec<&Digest> = needed.iter().collect();
        let missing = all.par_iter().map(|digest| -> Result<Option<Digest>, Error> {
            if cancel.is_cancelled() {
                return Err(fetch::Error::Cancelled.into());
            }
            let name = names.get(digest).map_or("an input", String::as_str);
            let sound = self.fetcher.sound(digest, name, progress).map_err(fetch::Error::from)?;
            Ok((!sound).then_some(**digest))
        });
        missing.filter_map(Result::transpose).collect()
    }

    /// Fetches the inputs that are not in the cache, by digest; each must be in the lock. The bytes of those that are there are
    /// verified.
    ///
    /// # Errors
    /// When an input cannot be had.
    pub fn fetch_digests(
        &self,
        needed: &BTreeSet<Digest>,
        progress: &(dyn Fn(Event<'_>) + Sync),
        sink: &dyn Sink,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let missing = self.missing(needed, progress, cancel)?;
        if missing.is_empty() {
            return Ok(());
        }
        let debs: BTreeMap<Digest, &Deb> = self.project.lock.debs().map(|d| (d.sha256, d)).collect();
        let wants: Vec<Want> = missing.iter().filter_map(|d| debs.get(d)).map(|d| want(d)).collect();
        self.fetcher.fetch(&wants, progress)?;
        for archive in self.project.lock.vendors().filter(|v| missing.contains(&v.sha256)) {
            let as_blob =
                Want { name: archive.name.clone(), sha256: archive.sha256, size: archive.size, locations: vec![] };
            // an archive of inputs has it ready made; else its own client makes it
            match self.fetcher.fetch(std::slice::from_ref(&as_blob), &|_| ()) {
                Ok(()) => continue,
                // no place has it ready made: its client may make it, unless it must not use the network
                Err(fetch::Error::Failed { .. }) if !self.offline => {}
                Err(e) => return Err(e.into()),
            }
            let found = self.make(&archive.name, archive.kind, progress, sink, cancel)?.0;
            if found != archive.sha256 {
                let name = archive.name.clone();
                return Err(Error::VendorMismatch { name, expected: archive.sha256, found });
            }
        }
        Ok(())
    }

    /// Lets the Go or cargo client of the toolbox fetch what a manifest needs and packs it: digest and size of the tar.
    ///
    /// # Errors
    /// When the toolbox cannot be had, or the client fails.
    pub fn make(
        &self,
        name: &str,
        kind: VendorKind,
        progress: &(dyn Fn(Event<'_>) + Sync),
        sink: &dyn Sink,
        cancel: &Cancel,
    ) -> Result<(Digest, Bytes), Error> {
        let tools = self.tools(kind, progress, sink, cancel)?;
        let pulse = graph::Options::default().pulse;
        graph::watch(sink, &format!("fetch/{name}").into(), CLIENT, pulse, || {
            vendor::vendor(self.project, self.cache.cas(), &tools, name, kind, cancel)
        })
    }

    /// The toolbox folder that holds a client.
    ///
    /// # Errors
    /// When its packages cannot be had.
    pub fn tools(
        &self,
        kind: VendorKind,
        progress: &(dyn Fn(Event<'_>) + Sync),
        sink: &dyn Sink,
        cancel: &Cancel,
    ) -> Result<PathBuf, Error> {
        let client = match kind {
            VendorKind::Go => "go",
            VendorKind::Cargo => "rust",
        };
        let set = tools_for(client, host()?);
        let (graph, id) = self.project.toolbox(&set)?;
        let plan = graph.plan(self.cache, std::slice::from_ref(&id))?;
        self.fetch(&graph, &plan, progress, sink, cancel)?;
        let options = graph::Options { jobs: self.jobs, ..graph::Options::default() };
        let built = graph.run(self.cache, std::slice::from_ref(&id), &options, sink, cancel)?;
        built.path(self.cache, &id, "root").ok_or(Error::NoTools { set })
    }

    /// Fetches every input of the lock, whether a step reads it or not, and returns the list.
    ///
    /// # Errors
    /// When an input cannot be had.
    pub fn everything(
        &self,
        progress: &(dyn Fn(Event<'_>) + Sync),
        sink: &dyn Sink,
        cancel: &Cancel,
    ) -> Result<Vec<Want>, Error> {
        let lock = &self.project.lock;
        let archive =
            |v: &lock::Vendor| Want { name: v.name.clone(), sha256: v.sha256, size: v.size, locations: vec![] };
        let wants: Vec<Want> = lock.debs().map(want).chain(lock.vendors().map(archive)).collect();
        let needed = wants.iter().map(|w| w.sha256).collect();
        self.fetch_digests(&needed, progress, sink, cancel)?;
        Ok(wants)
    }
}
