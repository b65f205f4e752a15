//! Recording the commands to a disk.

use super::{Event, Logged, overlay, sectors};
use crate::{
    SECTOR,
    blocks::{Blocks, within},
};
use std::{
    collections::HashMap,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// A disk whose original never changes: writes stay in memory, in order, and reads see them.
///
/// Its log has whole sectors. A partial write of a sector is completed with the sector's bytes, as a disk does it.
#[derive(Debug)]
pub struct Recorder<B> {
    base: B,
    log: Mutex<Log>,
}

#[derive(Debug, Default)]
struct Log {
    events: Vec<Event>,
    /// The last write of each written sector.
    latest: HashMap<u64, Logged>,
}

impl<B: Blocks> Recorder<B> {
    /// Records writes over `base`.
    #[must_use]
    pub fn new(base: B) -> Self {
        Self { base, log: Mutex::default() }
    }

    /// The number of events so far.
    #[must_use]
    pub fn count(&self) -> usize {
        self.log().events.len()
    }

    /// The original and the events.
    #[must_use]
    pub fn into_parts(self) -> (B, Vec<Event>) {
        let log = self.log.into_inner().unwrap_or_else(PoisonError::into_inner);
        (self.base, log.events)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        // a panic while the lock is held ends the test, so no reader sees a half-changed log
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, log: &Log, buf: &mut [u8], at: u64) -> io::Result<()> {
        within(at, buf.len() as u64, self.len()?)?;
        self.base.read_at(buf, at)?;
        for sector in sectors(at, buf.len()) {
            if let Some(bytes) = log.latest.get(&sector).and_then(|place| place.bytes(&log.events)) {
                overlay(buf, at, sector, bytes);
            }
        }
        Ok(())
    }
}

impl<B: Blocks> Blocks for Recorder<B> {
    /// That of the original, in whole sectors.
    fn len(&self) -> io::Result<u64> {
        Ok(self.base.len()? / SECTOR * SECTOR)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        self.read(&self.log(), buf, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        within(at, bytes.len() as u64, self.len()?)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let mut log = self.log();
        let touched = sectors(at, bytes.len());
        let start = touched.start * SECTOR;
        let mut whole = vec![0; ((touched.end - touched.start) * SECTOR) as usize];
        if whole.len() != bytes.len() {
            self.read(&log, &mut whole, start)?;
        }
        let offset = (at - start) as usize;
        whole[offset..offset + bytes.len()].copy_from_slice(bytes);
        let event = log.events.len();
        log.latest.extend(touched.enumerate().map(|(n, sector)| (sector, Logged { event, sector: n })));
        log.events.push(Event::Write { at: start, bytes: whole });
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.log().events.push(Event::Flush);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn writes_are_read_back_logged_in_whole_sectors_and_never_reach_the_original() {
        let base = tempfile::tempfile().unwrap();
        base.set_len(4096 + 7).unwrap();
        Blocks::write_at(&base, &[1; 4096], 0).unwrap();
        let recorder = Recorder::new(&base);
        assert_eq!(recorder.len().unwrap(), 4096);
        recorder.write_at(&[2; 600], 500).unwrap();
        recorder.write_at(&[3; 512], 1024).unwrap();
        recorder.flush().unwrap();
        recorder.write_at(&[], 0).unwrap();
        assert!(recorder.write_at(&[0], 4096).is_err());
        let mut read = [0; 1200];
        recorder.read_at(&mut read, 450).unwrap();
        let at = |n: usize| read[n - 450];
        assert_eq!([at(499), at(500), at(1023), at(1024), at(1535), at(1536)], [1, 2, 2, 3, 3, 1]);
        let (base, events) = recorder.into_parts();
        let [Event::Write { at: 0, bytes }, Event::Write { at: 1024, .. }, Event::Flush] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!((bytes.len(), bytes[499], bytes[500], bytes[1099], bytes[1100]), (1536, 1, 2, 2, 1));
        let mut original = [0; 4096];
        Blocks::read_at(base, &mut original, 0).unwrap();
        assert_eq!(original, [1; 4096]);
    }
}
