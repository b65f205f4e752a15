//! What most verbs need: the checkout, its cache, its inputs, and how events are shown.

use crate::{cli::Common, events::Events, exit::Exit, failure::Failure};
use defs::Definitions;
use fetch::{Fetcher, Mirrors, Source};
use graph::{Built, Cache, Graph, Options, StepId};
use lock::Lock;
use std::path::{Path, PathBuf};
use steps::{Inputs, Project};
use types::{Arch, Cancel};

/// The checkout that this program was built from; `EVEK_ROOT` names another, for tests and benchmarks.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let other = std::env::var_os("EVEK_ROOT").filter(|v| !v.is_empty()).map(PathBuf::from);
    other.unwrap_or_else(|| here.parent().unwrap_or(here).to_owned())
}

/// The lock's path.
pub(crate) fn lock_path() -> PathBuf {
    root().join(lock::FILE_NAME)
}

/// Reads the definitions.
pub(crate) fn definitions() -> Result<Definitions, Failure> {
    Ok(Definitions::read(&root())?)
}

/// The architectures that the lock covers, as targets and as hosts.
pub(crate) const LOCKED: [Arch; 2] = Arch::ALL;

/// An opened cache with everything around it.
pub(crate) struct Session {
    pub(crate) cache: Cache,
    pub(crate) fetcher: Fetcher,
    pub(crate) events: Events,
    pub(crate) cancel: Cancel,
    pub(crate) jobs: usize,
    pub(crate) offline: bool,
    /// `--keys`.
    pub(crate) keys: Option<PathBuf>,
}

impl Session {
    /// Opens the cache; opens no connection.
    pub(crate) fn open(common: &Common) -> Result<Self, Failure> {
        let folder = cache_folder(common)?;
        let cache = Cache::open(&folder)?;
        let cancel = Cancel::default();
        // a second Ctrl-C ends the program at once; the cache bears that too
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register_conditional_shutdown(signal, Exit::Interrupted as i32, cancel.flag())?;
            signal_hook::flag::register(signal, cancel.flag())?;
        }
        let options = fetch::Options {
            mirrors: Mirrors::discover(|name| std::env::var(name).ok(), Path::new("/etc/apt")),
            sources: Source::parse_all(&common.sources.join(" ")),
            offline: common.offline,
            cancel: cancel.clone(),
        };
        let jobs = common.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
        Ok(Self {
            fetcher: Fetcher::new(cache.cas().clone(), options),
            events: Events::new(common),
            cache,
            cancel,
            jobs: jobs.max(1),
            offline: common.offline,
            keys: common.keys.clone(),
        })
    }

    /// Reads definitions and lock, and checks that they belong together.
    pub(crate) fn project(&self) -> Result<Project, Failure> {
        let project = self.unchecked_project(Lock::read(&lock_path())?)?;
        project.lock.check(&steps::wanted(&project.defs, &LOCKED)?)?;
        Ok(project)
    }

    /// Definitions with a lock that may not cover them.
    pub(crate) fn unchecked_project(&self, lock: Lock) -> Result<Project, Failure> {
        let version = std::env::var("VERSION").ok().filter(|v| !v.is_empty());
        let version = version.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned());
        steps::check_version(&version).map_err(bad_version)?;
        Ok(Project { defs: definitions()?, lock, version, modules: None })
    }

    pub(crate) fn inputs<'a>(&'a self, project: &'a Project) -> Inputs<'a> {
        Inputs { project, cache: &self.cache, fetcher: &self.fetcher, offline: self.offline, jobs: self.jobs }
    }

    /// Fetches what is missing and runs what is not cached.
    pub(crate) fn build(&self, project: &Project, graph: &Graph, targets: &[StepId]) -> Result<Built, Failure> {
        let plan = graph.plan(&self.cache, targets)?;
        self.inputs(project).fetch(graph, &plan, &|e| self.events.fetch(e), &self.events, &self.cancel)?;
        let options = Options { jobs: self.jobs, ..Options::default() };
        Ok(graph.run(&self.cache, targets, &options, &self.events, &self.cancel)?)
    }
}

fn bad_version(error: steps::BadVersion) -> Failure {
    let failure = Failure::new(Exit::Usage, format!("VERSION: {error}"));
    match error.instead {
        Some(instead) => failure.hint(&format!("VERSION={instead} is older than the version without that suffix")),
        None => failure,
    }
}

/// `--cache`, else `$XDG_CACHE_HOME/evek`, else `~/.cache/evek`.
fn cache_folder(common: &Common) -> Result<PathBuf, Failure> {
    let from = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let default = || from("XDG_CACHE_HOME").or_else(|| Some(from("HOME")?.join(".cache"))).map(|p| p.join("evek"));
    let missing =
        || Failure::new(Exit::Usage, "neither XDG_CACHE_HOME nor HOME is set: name a cache folder with --cache");
    common.cache.clone().or_else(default).ok_or_else(missing)
}
