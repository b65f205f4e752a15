//! The sources of updates. None is trusted: every blob is compared with its digest, and no source can hold up an update for ever.

mod files;
mod registry;
mod usb;
mod web;

use crate::{error::Error, http::Http, limit::Meter, paths::Paths, patience::Patience};
use artefact::Blob;
use std::{
    io::{self, Read, Write},
    ops::Range,
    path::Path,
    thread,
};
use types::{Arch, Bytes, Digest, Flavour, Hasher};

/// A source of updates.
pub(crate) trait Source {
    /// Its address, for messages.
    fn address(&self) -> String;

    /// The manifest of the newest update for a flavour and architecture.
    fn manifest(&self, flavour: Flavour, arch: Arch) -> Result<Vec<u8>, Error>;

    /// The bytes of a blob within a range.
    fn open(&self, blob: &Digest, range: Range<u64>) -> Result<Box<dyn Read + '_>, Error>;
}

/// Finds the source that an address names.
pub(crate) fn find(address: &str, paths: &Paths) -> Result<Box<dyn Source>, Error> {
    find_patiently(address, paths, Patience::default())
}

/// The same with other limits.
pub(crate) fn find_patiently(address: &str, paths: &Paths, patience: Patience) -> Result<Box<dyn Source>, Error> {
    let http = || Http::patient(paths, patience);
    Ok(if address == "usb" {
        Box::new(usb::Usb::find(paths)?)
    } else if address.starts_with("http://") || address.starts_with("https://") {
        Box::new(web::Web::new(address, http()?))
    } else if let Some(name) = address.strip_prefix("oci://") {
        Box::new(registry::Registry::new("https", name, http()?)?)
    } else if let Some(name) = address.strip_prefix("oci+http://") {
        Box::new(registry::Registry::new("http", name, http()?)?)
    } else {
        files::open(Path::new(address))?
    })
}

/// Fetches blobs of a source.
pub(crate) struct Fetch<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) meter: &'a Meter,
    pub(crate) patience: Patience,
}

impl Fetch<'_> {
    /// A whole blob, in memory.
    pub(crate) fn whole(&self, what: &str, blob: Blob) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.stream(what, blob, 0..blob.size.0, &mut bytes, &mut |_| Ok(()))?;
        self.judge(what, blob.digest, Digest::of(&bytes))?;
        Ok(bytes)
    }

    /// A range of a blob, which the caller verifies.
    pub(crate) fn range(&self, what: &str, blob: Blob, range: Range<u64>) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.stream(what, blob, range, &mut bytes, &mut |_| Ok(()))?;
        Ok(bytes)
    }

    /// Writes the rest of a blob of which `done` bytes, whose hash is given, are written. Calls `seen` after each piece with the
    /// number of bytes that are written then.
    pub(crate) fn into(
        &self,
        what: &str,
        blob: Blob,
        (done, hash): (u64, Hasher),
        out: &mut dyn Write,
        seen: &mut dyn FnMut(u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut out = Hashing { out, hash };
        self.stream(what, blob, done..blob.size.0, &mut out, seen)?;
        self.judge(what, blob.digest, out.hash.finish())
    }

    fn judge(&self, what: &str, expected: Digest, found: Digest) -> Result<(), Error> {
        if found == expected {
            return Ok(());
        }
        Err(Error::Damaged { what: what.to_owned(), address: self.source.address(), found, expected })
    }

    /// Reads a range, over a new connection where one breaks off. Only enough bytes give a source a new row of tries: one that
    /// sends a byte a connection is given up, too.
    fn stream(
        &self,
        what: &str,
        blob: Blob,
        range: Range<u64>,
        out: &mut dyn Write,
        seen: &mut dyn FnMut(u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Range { start: mut at, end } = range;
        let mut buffer = vec![0; 1 << 18];
        let Patience { tries: most, pause, progress, .. } = self.patience;
        let (mut tries, mut problem, mut counted) = (0, String::new(), at);
        while at < end {
            if tries == most {
                return Err(Error::Unavailable {
                    address: self.source.address(),
                    problem: format!("{what}: {problem}"),
                });
            }
            if tries > 0 {
                thread::sleep(pause * 2u32.pow(tries - 1));
            }
            tries += 1;
            problem = match self.source.open(&blob.digest, at..end) {
                Ok(reader) => {
                    let mut reader = self.meter.through(Box::new(reader));
                    self.drain(what, &mut reader, (&mut at, end), &mut buffer, out, seen)?
                }
                Err(Error::Unavailable { problem, .. }) => problem,
                Err(e) => return Err(e),
            };
            if at - counted >= progress.0 {
                (tries, counted) = (1, at);
            }
            // a file that ends early will not be longer the next time
            if at < end && problem.starts_with(ENDS) && !self.source.address().contains("://") {
                return Err(Error::Truncated {
                    what: what.to_owned(),
                    address: self.source.address(),
                    found: Bytes(at),
                    expected: Bytes(end),
                });
            }
        }
        Ok(())
    }

    /// Writes what comes over one connection, and returns why it ended.
    fn drain(
        &self,
        what: &str,
        reader: &mut dyn Read,
        (at, end): (&mut u64, u64),
        buffer: &mut [u8],
        out: &mut dyn Write,
        seen: &mut dyn FnMut(u64) -> Result<(), Error>,
    ) -> Result<String, Error> {
        while *at < end {
            let most = usize::try_from(end - *at).unwrap_or(usize::MAX).min(buffer.len());
            match reader.read(&mut buffer[..most]) {
                Ok(0) => return Ok(format!("{ENDS} after {} of {}", Bytes(*at), Bytes(end))),
                Ok(len) => {
                    out.write_all(&buffer[..len]).map_err(Error::io("write", what))?;
                    *at += len as u64;
                    seen(*at)?;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Ok(e.to_string()),
            }
        }
        Ok(String::new())
    }
}

/// How the text of an end begins.
const ENDS: &str = "it ends";

struct Hashing<'a> {
    out: &'a mut dyn Write,
    hash: Hasher,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.out.write(bytes)?;
        self.hash.update(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
