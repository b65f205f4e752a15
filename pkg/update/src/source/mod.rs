//! Where updates come from. Nothing that a source says is believed: every blob is compared with its digest.

mod files;
mod registry;
mod usb;
mod web;

use crate::{error::Error, http::Http, limit::Meter, places::Places};
use artefact::Blob;
use std::{
    io::{self, Read, Write},
    ops::Range,
    path::Path,
    thread,
    time::Duration,
};
use types::{Arch, Bytes, Digest, Flavour, Hasher};

/// How often a connection is made anew without a byte coming, and the first pause between; each is twice the one before.
const ATTEMPTS: u32 = 6;
const PAUSE: Duration = Duration::from_secs(1);

/// Something that has updates.
pub(crate) trait Source {
    /// Its address, for people.
    fn address(&self) -> String;

    /// The manifest of the newest update for a flavour and architecture.
    fn manifest(&self, flavour: Flavour, arch: Arch) -> Result<Vec<u8>, Error>;

    /// The bytes of a blob within a range.
    fn open(&self, blob: &Digest, range: Range<u64>) -> Result<Box<dyn Read + '_>, Error>;
}

/// Finds the source that an address names.
pub(crate) fn find(address: &str, places: &Places) -> Result<Box<dyn Source>, Error> {
    let http = || Http::new(places);
    Ok(if address == "usb" {
        Box::new(usb::Usb::find(places)?)
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
}

impl Fetch<'_> {
    /// A blob as a whole, which must not be larger than memory bears.
    pub(crate) fn whole(&self, what: &str, blob: Blob) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.stream(what, blob, 0..blob.size.0, &mut bytes, &mut |_| Ok(()))?;
        self.judge(what, blob.digest, Digest::of(&bytes))?;
        Ok(bytes)
    }

    /// A range of a blob, on which the caller passes judgement.
    pub(crate) fn range(&self, what: &str, blob: Blob, range: Range<u64>) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.stream(what, blob, range, &mut bytes, &mut |_| Ok(()))?;
        Ok(bytes)
    }

    /// A blob into a writer, from where it is already written to on; `hash` knows that part. `seen` is told after each piece how
    /// much of the blob was written.
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

    /// Reads a range, over a new connection where one breaks off.
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
        let (mut tries, mut problem) = (0, String::new());
        while at < end {
            if tries == ATTEMPTS {
                return Err(Error::Gone { address: self.source.address(), problem: format!("{what}: {problem}") });
            }
            if tries > 0 {
                thread::sleep(PAUSE * 2u32.pow(tries - 1));
            }
            tries += 1;
            let mut reader = match self.source.open(&blob.digest, at..end) {
                Ok(reader) => self.meter.through(reader),
                Err(Error::Gone { problem: p, .. }) => {
                    problem = p;
                    continue;
                }
                Err(e) => return Err(e),
            };
            while at < end {
                let most = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
                match reader.read(&mut buffer[..most]) {
                    Ok(0) => {
                        problem = format!("it ends after {} of {}", Bytes(at), Bytes(end));
                        break;
                    }
                    Ok(len) => {
                        out.write_all(&buffer[..len]).map_err(Error::io("write", what))?;
                        at += len as u64;
                        tries = 0;
                        seen(at)?;
                    }
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                    Err(e) => {
                        problem = e.to_string();
                        break;
                    }
                }
            }
            // a file that ends early will not be longer the next time
            if at < end && problem.starts_with("it ends") && !self.source.address().contains("://") {
                let (found, expected) = (Bytes(at), Bytes(end));
                return Err(Error::Truncated {
                    what: what.to_owned(),
                    address: self.source.address(),
                    found,
                    expected,
                });
            }
        }
        Ok(())
    }
}

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
