//! Brings inputs into the blob store: the one part of a build that touches the network.
//!
//! ```text
//! Want {name, sha256, size, path on a mirror}
//!   │   in the store already, with the right bytes? done
//!   ▼
//! mirror ─404─► archive folder ─► further mirror ─► … ─► error: every place and what it said
//!   │ 8 at a time, resumed where they broke off, retried
//!   ▼
//! <store>/tmp/partial-<sha256> ──sha256 and size right──► blob
//! ```
//! Names are never trusted, digests are: a blob enters the store only with the digest that the lock names. Which mirror there
//! is, the host says (`DEBIAN_MIRROR`, its apt configuration); this crate knows no host name.
//!
//! What this crate deliberately does not do: it decides nothing (the lock does), unpacks nothing but package indexes, and runs
//! neither the Go nor the cargo client, which fetch for themselves.

mod archive;
mod indexes;
mod mirrors;
mod one;
mod transport;

pub use archive::{ArchiveError, archive};
pub use indexes::IndexError;
pub use mirrors::{Mirrors, NoMirror, Source};
pub use one::{Attempt, Failure};
pub use transport::agent;

use cas::Cas;
use debian::Archive;
use std::{
    collections::{BTreeSet, VecDeque},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use transport::Transport;
use types::{Bytes, Cancel, Digest};

/// How many files are fetched at the same time.
const CONNECTIONS: usize = 8;

/// An input that is to be in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// What to call it in messages.
    pub name: String,
    /// Its digest.
    pub sha256: Digest,
    /// Its size.
    pub size: Bytes,
    /// Where mirrors have it: which archive, and the path below the mirror's base.
    pub locations: Vec<(Archive, String)>,
}

/// Something to tell the user while fetching.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// Before the first byte: what is not in the store yet.
    Plan {
        /// Number of files.
        files: usize,
        /// Their sizes together, less what is here from an earlier try.
        bytes: Bytes,
    },
    /// Bytes have arrived.
    Received {
        /// Their number.
        bytes: Bytes,
    },
    /// A place failed; another try or another place follows.
    Trouble {
        /// [`Want::name`]
        name: &'a str,
        /// The URL or folder.
        place: &'a str,
        /// What it said.
        said: &'a str,
    },
    /// An input is in the store.
    Done {
        /// [`Want::name`]
        name: &'a str,
    },
}

/// Why inputs are not in the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The network may not be used.
    #[error(
        "{count} inputs are not in the cache and --offline forbids to fetch them: {}{}; \
         run once without --offline, or name an archive folder in EVEK_SOURCES",
        names.join(", "), if *count > names.len() { ", …" } else { "" }
    )]
    Offline {
        /// The first of them.
        names: Vec<String>,
        /// How many there are.
        count: usize,
    },
    /// No place has them.
    #[error("{}", failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Failed {
        /// Each input and every place that was tried.
        failures: Vec<Failure>,
    },
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] cas::Error),
    /// The user asked to stop. What has arrived stays, and the next run continues it.
    #[error("interrupted")]
    Cancelled,
}

/// How and from where to fetch.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Debian's mirrors.
    pub mirrors: Mirrors,
    /// Further places, tried in this order when the mirror does not have an input.
    pub sources: Vec<Source>,
    /// Whether the network is forbidden. Folders and `file://` mirrors are read all the same.
    pub offline: bool,
    /// Stops fetching when it is set.
    pub cancel: Cancel,
}

/// Fetches inputs into a store.
pub struct Fetcher {
    cas: Cas,
    options: Options,
    transport: Transport,
    /// The pause before the first retry; it doubles with each.
    pause: Duration,
}

impl Fetcher {
    /// Opens no connection yet.
    #[must_use]
    pub fn new(cas: Cas, options: Options) -> Self {
        let transport = Transport::new(options.offline);
        Self { cas, options, transport, pause: Duration::from_millis(500) }
    }

    /// The store that inputs go to.
    #[must_use]
    pub fn cas(&self) -> &Cas {
        &self.cas
    }

    /// Debian's mirrors, as they were found.
    #[must_use]
    pub fn mirrors(&self) -> &Mirrors {
        &self.options.mirrors
    }

    /// The wants that are not in the store with the right bytes, each digest once, in the given order. Damaged ones are set
    /// aside.
    fn missing<'w>(
        &self,
        wants: &'w [Want],
        progress: &(dyn Fn(Event<'_>) + Sync),
    ) -> Result<Vec<&'w Want>, cas::Error> {
        let mut seen = BTreeSet::new();
        let mut missing = Vec::new();
        for want in wants.iter().filter(|want| seen.insert(want.sha256)) {
            if !self.sound(&want.sha256, &want.name, progress)? {
                missing.push(want);
            }
        }
        Ok(missing)
    }

    /// Whether an input is in the store with the right bytes, which are hashed once in a process. A damaged one is set aside,
    /// and `progress` receives [`Event::Trouble`] that says where.
    ///
    /// # Errors
    /// When a blob cannot be read or moved.
    pub fn sound(
        &self,
        sha256: &Digest,
        name: &str,
        progress: &(dyn Fn(Event<'_>) + Sync),
    ) -> Result<bool, cas::Error> {
        if !self.cas.has(sha256) {
            return Ok(false);
        }
        let found = match self.cas.verify_once(sha256) {
            Ok(()) => return Ok(true),
            Err(cas::Error::Mismatch { found, .. }) => found,
            Err(e) => return Err(e),
        };
        let aside = self.cas.set_aside(sha256)?;
        let said = format!("damaged: its digest is {found}, expected {sha256}; set aside as {}", aside.display());
        progress(Event::Trouble { name, place: &self.cas.path(sha256).display().to_string(), said: &said });
        Ok(false)
    }

    /// Brings everything wanted into the store. The bytes of what is there are verified, once in a process; a damaged blob is
    /// set aside and fetched anew.
    ///
    /// # Errors
    /// [`Error::Failed`] with every place tried, once no place has an input; what was fetched until then stays. The others as
    /// [`Error`] lists.
    pub fn fetch(&self, wants: &[Want], progress: &(dyn Fn(Event<'_>) + Sync)) -> Result<(), Error> {
        let missing = self.missing(wants, progress)?;
        if missing.is_empty() {
            return Ok(());
        }
        let partial = |w: &Want| std::fs::metadata(self.partial(w)).map_or(0, |m| m.len()).min(w.size.0);
        let bytes = Bytes(missing.iter().map(|w| w.size.0 - partial(w)).sum());
        progress(Event::Plan { files: missing.len(), bytes });

        let threads = CONNECTIONS.min(missing.len());
        let queue = Mutex::new(VecDeque::from(missing));
        let next = || locked(&queue).pop_front();
        let (failures, broken) = (Mutex::new(Vec::new()), Mutex::new(None));
        let give_up = || locked(&queue).drain(..).count();
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(want) = next() {
                        match self.fetch_one(want, progress) {
                            Ok(()) => progress(Event::Done { name: &want.name }),
                            Err(one::Problem::Nowhere(failure)) => {
                                locked(&failures).push(failure);
                                // Offline, the rest is looked at to be able to name and count it.
                                if !self.options.offline {
                                    give_up();
                                }
                            }
                            Err(one::Problem::Stop(error)) => {
                                *locked(&broken) = Some(error);
                                give_up();
                            }
                        }
                    }
                });
            }
        });
        if let Some(error) = broken.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let mut failures: Vec<Failure> = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        failures.sort_by(|a, b| a.name.cmp(&b.name));
        match failures.len() {
            0 => Ok(()),
            count if self.options.offline => {
                Err(Error::Offline { names: failures.into_iter().take(5).map(|f| f.name).collect(), count })
            }
            _ => Err(Error::Failed { failures }),
        }
    }

    fn partial(&self, want: &Want) -> PathBuf {
        self.cas.tmp().join(format!("partial-{}", want.sha256.hex()))
    }
}

/// A thread that panicked leaves the lists as they were; the panic itself surfaces when the scope ends.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
