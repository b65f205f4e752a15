//! Going through the states that cuts leave.
//!
//! Nothing is copied: a state is a rule that decides for each sector written since the last flush whether it reached
//! the medium. A read looks for a sector in this order:
//! ```text
//! written by the judge ─► pending, the last that the rule lets through ─► durable: place in the log ─► base
//! ```

use super::{Event, Logged, overlay, sectors};
use crate::{
    SECTOR,
    blocks::{Blocks, within},
};
use std::{
    collections::{BTreeSet, HashMap},
    fmt, io,
    ops::Range,
    sync::{Mutex, PoisonError},
};

/// The choice of visited states.
#[derive(Clone, Copy, Default)]
pub struct Options<'a> {
    /// The seed of the random states.
    pub seed: u64,
    /// Random states at each point.
    pub random_per_point: usize,
    /// Visits only points for which this is true; its argument is the number of events before the cut.
    pub only: Option<&'a dyn Fn(usize) -> bool>,
}

/// A moment of a power cut, and the disk's reaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// The number of events before the cut.
    pub events: usize,
    /// The fate of the writes since the last flush.
    pub cut: Cut,
}

/// The fate of the writes since the last flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// All are lost.
    Nothing,
    /// All are on the medium.
    All,
    /// All except the last are on the medium, and of the last one only the first sectors.
    Torn {
        /// The number of these sectors.
        sectors: usize,
    },
    /// A random choice of sectors.
    Random {
        /// Its number among those of this point, from 0.
        round: usize,
    },
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cut after {} events: ", self.events)?;
        match self.cut {
            Cut::Nothing => f.write_str("nothing behind the last flush"),
            Cut::All => f.write_str("everything"),
            Cut::Torn { sectors } => write!(f, "everything, but of the last write only {sectors} sectors"),
            Cut::Random { round } => write!(f, "random sectors behind the last flush, round {round}"),
        }
    }
}

/// The disk after a cut. Writes to it stay in this value.
pub struct State<'a, B> {
    base: &'a B,
    seen: &'a Seen<'a>,
    point: Point,
    seed: u64,
    written: Mutex<HashMap<u64, [u8; SECTOR as usize]>>,
}

/// The events up to a point.
struct Seen<'a> {
    events: &'a [Event],
    durable: HashMap<u64, Logged>,
    /// Writes since the last flush by sector, the oldest first.
    pending: HashMap<u64, Vec<Logged>>,
    /// The number of sectors of these writes.
    waiting: usize,
}

/// Visits every possible point of a power cut: before the first event, after each, and after the last. Visits several
/// states of each point: no unflushed write, all of them, the last write torn, and random sectors. Returns the number
/// of visited states.
///
/// # Errors
/// The judge's first error.
pub fn states<B: Blocks, E>(
    base: &B,
    events: &[Event],
    options: &Options<'_>,
    mut judge: impl FnMut(&Point, &State<'_, B>) -> Result<(), E>,
) -> Result<usize, E> {
    let mut seen = Seen { events, durable: HashMap::new(), pending: HashMap::new(), waiting: 0 };
    let mut visited = 0;
    for told in 0..=events.len() {
        if let Some(event) = told.checked_sub(1) {
            seen.add(event);
        }
        if options.only.is_some_and(|only| !only(told)) {
            continue;
        }
        for cut in seen.cuts(told, options.random_per_point) {
            let point = Point { events: told, cut };
            let state = State { base, seen: &seen, point, seed: options.seed, written: Mutex::default() };
            judge(&point, &state)?;
            visited += 1;
        }
    }
    Ok(visited)
}

/// The points right before and right after each event that writes to one of the ranges, for [`Options::only`].
#[must_use]
pub fn points_at(events: &[Event], ranges: &[Range<u64>]) -> BTreeSet<usize> {
    let touches = |event: &Event| match event {
        Event::Write { at, bytes } => ranges.iter().any(|r| *at < r.end && r.start < at + bytes.len() as u64),
        Event::Flush => false,
    };
    events.iter().enumerate().filter(|(_, e)| touches(e)).flat_map(|(n, _)| [n, n + 1]).collect()
}

impl Seen<'_> {
    fn add(&mut self, event: usize) {
        match &self.events[event] {
            Event::Write { at, bytes } => {
                for (n, sector) in sectors(*at, bytes.len()).enumerate() {
                    self.waiting += 1;
                    self.pending.entry(sector).or_default().push(Logged { event, sector: n });
                }
            }
            Event::Flush => {
                self.waiting = 0;
                let last = std::mem::take(&mut self.pending).into_iter();
                let last = last.filter_map(|(sector, places)| Some((sector, *places.last()?)));
                self.durable.extend(last);
            }
        }
    }

    fn cuts(&self, told: usize, random: usize) -> Vec<Cut> {
        if self.pending.is_empty() {
            return vec![Cut::All];
        }
        let mut cuts = vec![Cut::Nothing, Cut::All];
        if let Some(Event::Write { bytes, .. }) = told.checked_sub(1).map(|last| &self.events[last]) {
            let n = bytes.len() / SECTOR as usize;
            let torn: BTreeSet<usize> = if n <= 8 { (1..n).collect() } else { [1, n / 4, n / 2, n - 1].into() };
            cuts.extend(torn.into_iter().map(|sectors| Cut::Torn { sectors }));
        }
        // a single sector written once has only two states
        if self.waiting > 1 {
            cuts.extend((0..random).map(|round| Cut::Random { round }));
        }
        cuts
    }
}

impl<B> State<'_, B> {
    fn arrived(&self, place: Logged) -> bool {
        match self.point.cut {
            Cut::Nothing => false,
            Cut::All => true,
            Cut::Torn { sectors } => place.event + 1 < self.point.events || place.sector < sectors,
            Cut::Random { round } => {
                let state = mix(mix(mix(self.seed) ^ self.point.events as u64) ^ round as u64);
                // few, half or most of them: a single missing or present sector finds most faults
                let of_eight = [4, 1, 7, 4][(state >> 32) as usize % 4];
                mix(mix(state ^ place.event as u64) ^ place.sector as u64) >> 61 < of_eight
            }
        }
    }

    fn logged(&self, sector: u64) -> Option<&[u8]> {
        let pending = self.seen.pending.get(&sector).into_iter().flatten().rev().copied();
        let place = pending.into_iter().find(|place| self.arrived(*place));
        place.or_else(|| self.seen.durable.get(&sector).copied())?.bytes(self.seen.events)
    }
}

impl<B: Blocks> Blocks for State<'_, B> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.base.len()? / SECTOR * SECTOR)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        within(at, buf.len() as u64, self.len()?)?;
        self.base.read_at(buf, at)?;
        let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        for sector in sectors(at, buf.len()) {
            if let Some(bytes) = written.get(&sector).map(|b| &b[..]).or_else(|| self.logged(sector)) {
                overlay(buf, at, sector, bytes);
            }
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        within(at, bytes.len() as u64, self.len()?)?;
        for sector in sectors(at, bytes.len()) {
            let start = sector * SECTOR;
            let mut whole = [0; SECTOR as usize];
            self.read_at(&mut whole, start)?;
            let (from, to) = (start.max(at), (start + SECTOR).min(at + bytes.len() as u64));
            whole[(from - start) as usize..(to - start) as usize]
                .copy_from_slice(&bytes[(from - at) as usize..(to - at) as usize]);
            self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(sector, whole);
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// One step of SplitMix64 (Steele, Lea, Flood: *Fast Splittable Pseudorandom Number Generators*): repeatable random
/// numbers.
fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
