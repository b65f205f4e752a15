//! Reading an image back from the medium.

use crate::{Error, Fault, Medium, Phase, Problem, Progress, buffer::Buffer};
use segments::{Content, LONGEST, SECTOR, Segment};
use std::{
    ops::Range,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};
use types::Bytes;

const DEPTH: usize = 4;

/// Compares segments with what the medium gives, all of them, and names what it does instead.
pub(crate) fn read_back(
    wanted: &[&Segment],
    medium: &dyn Medium,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), Error> {
    let all = wanted.iter().map(|segment| segment.length).sum();
    let next = AtomicUsize::new(0);
    let (send, receive) = mpsc::channel();
    let mut faults = thread::scope(|scope| {
        for _ in 0..DEPTH {
            let (send, next) = (send.clone(), &next);
            scope.spawn(move || {
                while let Some(segment) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if send.send((segment.length, compare(segment, medium))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        let (mut done, mut faults) = (Bytes(0), Vec::new());
        for (length, fault) in receive {
            done = done + length;
            progress(Progress { phase: Phase::ReadBack, done, all });
            faults.extend(fault);
        }
        faults
    });
    faults.sort_by_key(|fault| fault.range.start);
    if faults.is_empty() { Ok(()) } else { Err(Error::Faults(faults)) }
}

fn compare(segment: &Segment, medium: &dyn Medium) -> Option<Fault> {
    let range = segment.range();
    let mut buffer = Buffer::new(segment.length.0.min(LONGEST) as usize);
    let mut at = range.start;
    while at < range.end {
        let len = (range.end - at).min(LONGEST) as usize;
        if let Err(e) = medium.read_at(&mut buffer.bytes_mut()[..len], at) {
            return Some(Fault { range: unreadable(medium, at..at + len as u64), problem: Problem::Unreadable(e) });
        }
        let bytes = &buffer.bytes()[..len];
        let piece = Segment { start: Bytes(at), length: Bytes(len as u64), content: segment.content.clone() };
        if !piece.is(bytes) {
            let first = at + first_difference(&segment.content, bytes);
            return Some(Fault { range, problem: Problem::Differs { first } });
        }
        at += len as u64;
    }
    None
}

/// The sectors of a range that cannot be read: the first of them to the last.
fn unreadable(medium: &dyn Medium, range: Range<u64>) -> Range<u64> {
    let mut sector = Buffer::new(SECTOR as usize);
    let mut fails = |n: &u64| medium.read_at(sector.bytes_mut(), n * SECTOR).is_err();
    let (start, end) = (range.start / SECTOR, range.end / SECTOR);
    let first = (start..end).find(&mut fails).unwrap_or(start);
    let last = (first..end).rev().find(&mut fails).unwrap_or(end - 1);
    first * SECTOR..(last + 1) * SECTOR
}

/// The offset of the first sector that is wrong, as far as the list tells: a digest says nothing of sectors.
fn first_difference(content: &Content, bytes: &[u8]) -> u64 {
    let differs = match content {
        Content::Zeros => bytes.iter().position(|b| *b != 0),
        Content::Bytes(own) => bytes.iter().zip(own).position(|(a, b)| a != b),
        Content::Digest(_) => None,
    };
    differs.map_or(0, |at| at as u64 / SECTOR * SECTOR)
}
