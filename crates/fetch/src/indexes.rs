//! The package indexes of suites, for `lock update`.

use crate::{Error, Event, Fetcher, NoMirror, Want, transport::Refusal};
use debian::{Archive, Expiry, Index, Release, ReleaseError, limit};
use std::io::Read as _;
use types::{Arch, Bytes, Digest};

/// Larger than any `InRelease` (140 kB for trixie), small enough to hold in memory.
const MAX_IN_RELEASE: u64 = 16 << 20;

/// Why the indexes cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// No mirror is known.
    #[error(transparent)]
    NoMirror(#[from] NoMirror),
    /// `InRelease` cannot be fetched.
    #[error("cannot fetch {url}: {said}")]
    Unreachable {
        /// The URL.
        url: String,
        /// What was said.
        said: String,
    },
    /// `InRelease` is not accepted.
    #[error("{url}: {source}")]
    Release {
        /// The URL.
        url: String,
        /// Why.
        source: ReleaseError,
    },
    /// The suite has no index for the architecture.
    #[error("suite {suite} has no {path}")]
    NoIndex {
        /// The suite.
        suite: String,
        /// The path in the suite.
        path: String,
    },
    /// An index cannot be fetched.
    #[error(transparent)]
    Fetch(#[from] Error),
    /// An index cannot be decompressed.
    #[error("index {name} ({sha256}) is damaged: {source}")]
    Damaged {
        /// Suite and path.
        name: String,
        /// Its digest.
        sha256: Digest,
        /// What the decompressor said.
        source: std::io::Error,
    },
}

impl Fetcher {
    /// The indexes of these components of every suite (by codename) for every architecture: signature, expiry and digests
    /// are verified. Indexes stay in the store, so that a second call fetches only what has changed.
    ///
    /// # Errors
    /// As [`IndexError`] lists.
    pub fn indexes(
        &self,
        suites: &[&str],
        components: &[&str],
        archs: &[Arch],
        expiry: Expiry,
        progress: &(dyn Fn(Event<'_>) + Sync),
    ) -> Result<Vec<Index>, IndexError> {
        let mut wants = Vec::new();
        for suite in suites {
            let release = self.release(suite, expiry)?;
            for (component, arch) in components.iter().flat_map(|c| archs.iter().map(move |a| (*c, *a))) {
                wants.push((*suite, arch, index_want(suite, component, arch, &release)?));
            }
        }
        let list: Vec<Want> = wants.iter().map(|(_, _, want)| want.clone()).collect();
        self.fetch(&list, progress)?;
        wants
            .into_iter()
            .map(|(suite, arch, want)| {
                let damaged = |source| IndexError::Damaged { name: want.name.clone(), sha256: want.sha256, source };
                let packed = self.cas().read(&want.sha256).map_err(Error::Store)?;
                let mut text = String::new();
                limit::xz(packed.as_slice(), limit::INDEX).read_to_string(&mut text).map_err(damaged)?;
                Ok(Index { suite: suite.to_owned(), arch, text })
            })
            .collect()
    }

    fn release(&self, suite: &str, expiry: Expiry) -> Result<Release, IndexError> {
        let base = self.options.mirrors.base(Archive::of_suite(suite))?;
        let url = format!("{base}/dists/{suite}/InRelease");
        let bytes = self.small(&url).map_err(|said| IndexError::Unreachable { url: url.clone(), said })?;
        Release::verify(suite, &bytes, expiry).map_err(|source| IndexError::Release { url, source })
    }

    /// A small file whose digest is not known before.
    fn small(&self, url: &str) -> Result<Vec<u8>, String> {
        let mut pause = self.pause;
        for last in [false, false, false, true] {
            let mut bytes = Vec::new();
            let said = match self.transport.open(url, 0) {
                Ok(opened) => match opened.body.take(MAX_IN_RELEASE).read_to_end(&mut bytes) {
                    Ok(_) => return Ok(bytes),
                    Err(e) => e.to_string(),
                },
                Err(Refusal::No(said)) => return Err(said),
                Err(Refusal::Broken(said)) => said,
            };
            if last {
                return Err(said);
            }
            std::thread::sleep(pause);
            pause *= 2;
        }
        unreachable!("the last try returns")
    }
}

fn index_want(suite: &str, component: &str, arch: Arch, release: &Release) -> Result<Want, IndexError> {
    let path = format!("{component}/binary-{arch}/Packages.xz");
    let Some((sha256, size)) = release.files.get(&path) else {
        return Err(IndexError::NoIndex { suite: suite.to_owned(), path });
    };
    // By digest, because the file under its plain name may be of another moment than InRelease.
    let location = if release.by_hash {
        format!("dists/{suite}/{component}/binary-{arch}/by-hash/SHA256/{}", sha256.hex())
    } else {
        format!("dists/{suite}/{path}")
    };
    let locations = vec![(Archive::of_suite(suite), location)];
    Ok(Want { name: format!("{suite} {path}"), sha256: *sha256, size: Bytes(*size), locations })
}
