//! Writing an image, tables last.

use crate::{Error, Medium, Source, buffer::Buffer, probe::probe, read_back::read_back};
use segments::{Content, LONGEST, SECTOR, Segment, SegmentList};
use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};
use types::Bytes;

/// Segments on their way at the same time: devices are fast when they have several orders.
const DEPTH: usize = 4;

/// Tables are before and behind the partitions, which start and end at multiples of this.
const MARGIN: u64 = 1 << 20;

/// What is done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Segments are written.
    Write,
    /// Segments are read back.
    ReadBack,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is done now.
    pub phase: Phase,
    /// Bytes that are done.
    pub done: Bytes,
    /// All bytes of this phase.
    pub all: Bytes,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// Bytes written, and read back.
    pub written: Bytes,
    /// Whether the medium took a discard, after which what is free on it needs no erasing.
    pub discarded: bool,
}

/// Writes an image and reads it back.
///
/// # Errors
/// [`Error`]. From the first write until the last one, the medium has no valid partition table.
pub fn flash(
    list: &SegmentList,
    source: &mut dyn Source,
    medium: &dyn Medium,
    progress: &mut dyn FnMut(Progress),
) -> Result<Done, Error> {
    list.check()?;
    let size = medium.size();
    if size < list.size {
        return Err(Error::TooSmall { found: size, needed: list.size });
    }
    wipe(list, medium)?;
    probe(list.size, medium)?;
    let discarded = medium.discard(0..size.0).is_ok();
    let last = list.size.0.saturating_sub(MARGIN);
    let is_table = |segment: &Segment| segment.start.0 < MARGIN || segment.start.0 >= last;
    let (tables, content): (Vec<&Segment>, Vec<&Segment>) = list.segments.iter().partition(|segment| is_table(segment));
    let mut tables = write_all(list, source, medium, is_table, progress)?.into_iter().zip(tables).collect::<Vec<_>>();
    flushed(medium)?;
    read_back(&content, medium, progress)?;
    // the first sector, with which firmware begins, comes last
    tables.reverse();
    for (bytes, segment) in &tables {
        write(medium, bytes, segment)?;
    }
    flushed(medium)?;
    let tables: Vec<&Segment> = tables.into_iter().map(|(_, segment)| segment).collect();
    read_back(&tables, medium, &mut |_| ())?;
    Ok(Done { written: list.content(), discarded })
}

/// Removes the tables of what the medium had before: at both ends of the image, and at the end of the medium.
fn wipe(list: &SegmentList, medium: &dyn Medium) -> Result<(), Error> {
    const TABLE: u64 = 34 * SECTOR;
    let zeros = Buffer::new(TABLE as usize);
    for end in [TABLE, list.size.0, medium.size().0 / SECTOR * SECTOR] {
        let start = end.saturating_sub(TABLE);
        let zeros = &zeros.bytes()[..(end - start) as usize];
        medium.write_at(zeros, start).map_err(|source| Error::Write { range: start..end, source })?;
    }
    flushed(medium)
}

fn flushed(medium: &dyn Medium) -> Result<(), Error> {
    medium.flush().map_err(|source| Error::Write { range: 0..medium.size().0, source })
}

fn write(medium: &dyn Medium, bytes: &Buffer, segment: &Segment) -> Result<(), Error> {
    let range = segment.range();
    medium.write_at(bytes.bytes(), range.start).map_err(|source| Error::Write { range, source })
}

/// Writes all segments but those that are kept back, whose bytes it gives.
fn write_all(
    list: &SegmentList,
    source: &mut dyn Source,
    medium: &dyn Medium,
    is_kept_back: impl Fn(&Segment) -> bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Buffer>, Error> {
    let all = list.content();
    let done = AtomicU64::new(0);
    let failed = Mutex::new(None::<Error>);
    let (send, receive) = mpsc::sync_channel::<(Buffer, Segment)>(1);
    let receive = Mutex::new(receive);
    let has_failed = || failed.lock().is_ok_and(|failed| failed.is_some());
    let work = || {
        while let Ok((bytes, segment)) = receive.lock().map_err(|_| mpsc::RecvError).and_then(|queue| queue.recv()) {
            // after a failure the rest is only taken, so that nobody waits for a place in the queue
            if has_failed() {
                continue;
            }
            match write(medium, &bytes, &segment) {
                Ok(()) => drop(done.fetch_add(segment.length.0, Ordering::Relaxed)),
                Err(e) => {
                    if let Ok(mut failed) = failed.lock() {
                        failed.get_or_insert(e);
                    }
                }
            }
        }
    };
    let kept = thread::scope(|scope| {
        let threads: Vec<_> = (0..DEPTH).map(|_| scope.spawn(work)).collect();
        let mut kept = Vec::new();
        for segment in list.segments.iter().flat_map(pieces) {
            let bytes = read(source, &segment)?;
            if is_kept_back(&segment) {
                kept.push(bytes);
                continue;
            }
            if has_failed() || send.send((bytes, segment)).is_err() {
                break;
            }
            progress(Progress { phase: Phase::Write, done: Bytes(done.load(Ordering::Relaxed)), all });
        }
        drop(send);
        threads.into_iter().for_each(|thread| drop(thread.join()));
        Ok::<_, Error>(kept)
    })?;
    let failed = failed.into_inner().ok().flatten();
    progress(Progress { phase: Phase::Write, done: Bytes(done.into_inner()), all });
    failed.map_or(Ok(kept), Err)
}

/// A segment of zeros may be long.
fn pieces(segment: &Segment) -> Vec<Segment> {
    if segment.content != Content::Zeros {
        return vec![segment.clone()];
    }
    let range = segment.range();
    let starts = range.clone().step_by(LONGEST as usize);
    let piece = |start: u64| Segment {
        start: Bytes(start),
        length: Bytes((range.end - start).min(LONGEST)),
        content: Content::Zeros,
    };
    starts.map(piece).collect()
}

/// The bytes of a segment, which are those of the list.
fn read(source: &mut dyn Source, segment: &Segment) -> Result<Buffer, Error> {
    let range = segment.range();
    let mut buffer = Buffer::new(segment.length.0 as usize);
    match &segment.content {
        Content::Zeros => return Ok(buffer),
        Content::Bytes(bytes) => buffer.bytes_mut().copy_from_slice(bytes),
        Content::Digest(_) => {
            let read = source.read(buffer.bytes_mut(), range.start);
            read.map_err(|source| Error::Source { at: range.start, source })?;
        }
    }
    if segment.is(buffer.bytes()) { Ok(buffer) } else { Err(Error::Damaged { range }) }
}
