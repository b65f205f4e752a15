//! The owner's limit: a reader that measures the bytes and waits where they come faster.

use std::{
    cell::Cell,
    io::{self, Read},
    thread,
    time::{Duration, Instant},
};
use types::Bytes;

/// The bytes that may be read in a second, and those that were read.
#[derive(Debug)]
pub(crate) struct Meter {
    limit: Option<Bytes>,
    since: Instant,
    read: Cell<u64>,
}

impl Meter {
    pub(crate) fn new(limit: Option<Bytes>) -> Self {
        Self { limit: limit.filter(|limit| limit.0 > 0), since: Instant::now(), read: Cell::new(0) }
    }

    /// The bytes that were read.
    pub(crate) fn read(&self) -> Bytes {
        Bytes(self.read.get())
    }

    /// Adds bytes, and returns when the limit allows them.
    fn pass(&self, len: usize) {
        self.read.set(self.read.get() + len as u64);
        let Some(limit) = self.limit else { return };
        let due = Duration::from_secs_f64(self.read.get() as f64 / limit.0 as f64);
        thread::sleep(due.saturating_sub(self.since.elapsed()));
    }

    /// A reader whose bytes are measured.
    pub(crate) fn through<'a>(&'a self, inner: Box<dyn Read + 'a>) -> Metered<'a> {
        Metered { meter: self, inner }
    }
}

/// See [`Meter::through`].
pub(crate) struct Metered<'a> {
    meter: &'a Meter,
    inner: Box<dyn Read + 'a>,
}

impl Read for Metered<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // a second's worth at once at most, so that the limit holds in every second
        let most = self.meter.limit.map_or(buf.len(), |limit| usize::try_from(limit.0).unwrap_or(usize::MAX));
        let end = buf.len().min(most);
        let len = self.inner.read(&mut buf[..end])?;
        self.meter.pass(len);
        Ok(len)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_kept_and_bytes_are_counted() {
        let meter = Meter::new(Some(Bytes(1000)));
        let mut all = Vec::new();
        meter.through(Box::new(&[7; 300][..])).read_to_end(&mut all).unwrap();
        assert_eq!((all.len(), meter.read()), (300, Bytes(300)));
        assert!(meter.since.elapsed() >= Duration::from_millis(300));
    }
}
