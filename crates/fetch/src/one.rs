//! Fetching one input from the first place that has it.

use crate::{Error, Event, Fetcher, Source, Want, transport::Refusal};
use std::{
    fmt,
    fs::{self, File},
    io::{self, Read as _, Seek as _, Write as _},
    path::Path,
};
use types::{Bytes, Digest};

/// How often a place is asked again without a byte having arrived in between.
const RETRIES: u32 = 3;

/// An input that no place has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// [`Want::name`]
    pub name: String,
    /// Its digest.
    pub sha256: Digest,
    /// Every place that was tried, in order.
    pub tried: Vec<Attempt>,
    /// What is missing to try more places.
    pub hint: Option<String>,
}

/// What one place said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// URL or path.
    pub place: String,
    /// Its last word.
    pub said: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot fetch {} ({})", self.name, self.sha256)?;
        for Attempt { place, said } in &self.tried {
            write!(f, "\n  {place}: {said}")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  {hint}"),
            None => f.write_str(
                "\n  the archive may have dropped this version: run `cargo xtask lock update`, or name in EVEK_SOURCES a \
                 folder made by `cargo xtask lock archive` or a mirror that keeps old versions",
            ),
        }
    }
}

pub(crate) enum Problem {
    Nowhere(Failure),
    Stop(Error),
}

/// Why a place did not give the right bytes.
enum Wrong {
    Refused(Refusal),
    /// Complete, and not what the lock names.
    Content(String),
    /// No other place would help.
    Stop(Error),
}

impl Fetcher {
    pub(crate) fn fetch_one(&self, want: &Want, progress: &(dyn Fn(Event<'_>) + Sync)) -> Result<(), Problem> {
        let (places, hint) = self.places(want);
        let mut tried = Vec::new();
        for place in places {
            let said = match self.try_place(want, &place, progress) {
                Ok(()) => return Ok(()),
                Err(Wrong::Stop(error)) => return Err(Problem::Stop(error)),
                Err(Wrong::Content(said) | Wrong::Refused(Refusal::No(said) | Refusal::Broken(said))) => said,
            };
            // offline, every mirror refuses because of our own option: one error says so when no folder has the input
            if !self.options.offline {
                progress(Event::Trouble { name: &want.name, place: &place, said: &said });
            }
            tried.push(Attempt { place, said });
        }
        Err(Problem::Nowhere(Failure { name: want.name.clone(), sha256: want.sha256, tried, hint }))
    }

    /// The URLs to try, and what to say of a mirror that is not known.
    fn places(&self, want: &Want) -> (Vec<String>, Option<String>) {
        let (mut places, mut hint) = (Vec::new(), None);
        for (archive, path) in &want.locations {
            match self.options.mirrors.base(*archive) {
                Ok(base) => places.push(format!("{base}/{path}")),
                Err(none) => hint = Some(none.to_string()),
            }
        }
        for source in &self.options.sources {
            match source {
                Source::Folder(folder) => {
                    places.push(format!("file://{}", crate::archive::path_in(folder, &want.sha256).display()));
                }
                Source::Mirror(base) => places.extend(want.locations.iter().map(|(_, path)| format!("{base}/{path}"))),
            }
        }
        (places, hint)
    }

    fn try_place(&self, want: &Want, url: &str, progress: &(dyn Fn(Event<'_>) + Sync)) -> Result<(), Wrong> {
        let partial = self.partial(want);
        let (mut retries, mut pause) = (0, self.pause);
        loop {
            let before = fs::metadata(&partial).map_or(0, |m| m.len());
            let error = match self.receive(want, url, &partial, progress) {
                Ok(()) => match self.accept(want, &partial) {
                    // What was here from before may have been the wrong part.
                    Err(Wrong::Content(_)) if before > 0 && retries < RETRIES => {
                        retries += 1;
                        continue;
                    }
                    result => return result,
                },
                Err(error) => error,
            };
            let Wrong::Refused(Refusal::Broken(said)) = &error else { return Err(error) };
            if fs::metadata(&partial).map_or(0, |m| m.len()) > before {
                (retries, pause) = (0, self.pause);
            } else if retries == RETRIES {
                return Err(error);
            } else {
                retries += 1;
            }
            progress(Event::Trouble { name: &want.name, place: url, said });
            std::thread::sleep(pause);
            pause *= 2;
        }
    }

    /// Appends to the partial file until it has the size wanted.
    fn receive(
        &self,
        want: &Want,
        url: &str,
        partial: &Path,
        progress: &(dyn Fn(Event<'_>) + Sync),
    ) -> Result<(), Wrong> {
        let store =
            |action| move |source| Wrong::Stop(cas::Error::Io { action, path: partial.to_owned(), source }.into());
        let mut file = File::options().create(true).append(true).open(partial).map_err(store("create"))?;
        let mut have = file.metadata().map_err(store("read"))?.len();
        if have > want.size.0 {
            file.set_len(0).map_err(store("truncate"))?;
            have = 0;
        }
        if have == want.size.0 && have > 0 {
            return Ok(());
        }
        let mut opened = self.transport.open(url, have).map_err(Wrong::Refused)?;
        if opened.start != have {
            file.set_len(opened.start).and_then(|()| file.rewind()).map_err(store("truncate"))?;
            have = opened.start;
        }
        let mut buffer = vec![0; 1 << 16];
        while have < want.size.0 {
            if self.options.cancel.is_cancelled() {
                return Err(Wrong::Stop(Error::Cancelled));
            }
            let room = usize::try_from(want.size.0 - have).unwrap_or(usize::MAX).min(buffer.len());
            let n = match opened.body.read(&mut buffer[..room]) {
                Ok(0) => return Err(broken(format!("ends after {have} of {} bytes", want.size.0))),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(broken(format!("breaks off after {have} of {} bytes: {e}", want.size.0))),
            };
            file.write_all(&buffer[..n]).map_err(store("write"))?;
            have += n as u64;
            progress(Event::Received { bytes: Bytes(n as u64) });
        }
        // Reading the end lets the connection be used again; more bytes than wanted show in the digest or do not matter.
        let more = opened.body.read(&mut buffer[..1]).unwrap_or(0);
        if more > 0 {
            let found = format!("is longer than {} bytes, expected {} {}", want.size.0, want.size.0, want.sha256);
            drop(fs::remove_file(partial));
            return Err(Wrong::Content(found));
        }
        Ok(())
    }

    /// Moves the complete file into the store if its digest is right, and removes it if not.
    fn accept(&self, want: &Want, partial: &Path) -> Result<(), Wrong> {
        let found = cas::digest_of_file(partial).map_err(|e| Wrong::Stop(e.into()))?;
        if found != want.sha256 {
            drop(fs::remove_file(partial));
            return Err(Wrong::Content(format!("wrong content: expected {}, found {found}", want.sha256)));
        }
        self.cas.adopt_as(partial, found).map(drop).map_err(|e| Wrong::Stop(e.into()))
    }
}

fn broken(said: String) -> Wrong {
    Wrong::Refused(Refusal::Broken(said))
}
