//! Images on media that work, and on media that do not.
#![allow(clippy::unwrap_used)]

use super::*;
use segments::{SegmentList, scan};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Cursor, Write as _},
    ops::Range,
    sync::{Barrier, Mutex},
};
use types::{Bytes, Digest};

const MIB: u64 = 1 << 20;
const SIZE: u64 = 40 * MIB;

/// A disk with tables at both ends, content with a hole in it, and free room.
fn image() -> (Vec<u8>, SegmentList) {
    let mut disk = vec![0; SIZE as usize];
    let noise = |n: u64| Digest::of(&n.to_le_bytes()).as_bytes().repeat(2048);
    let ranges = [0..17 << 10, MIB..20 * MIB, 30 * MIB..31 * MIB, SIZE - 16896..SIZE];
    for range in &ranges {
        for at in (range.start..range.end).step_by(64 << 10).filter(|at| !(4 * MIB..6 * MIB).contains(at)) {
            let end = (at + (64 << 10)).min(range.end);
            disk[at as usize..end as usize].copy_from_slice(&noise(at)[..(end - at) as usize]);
        }
    }
    let list = scan(&mut Cursor::new(&disk), Bytes(SIZE), &ranges).unwrap();
    (disk, list)
}

/// A medium in memory, and its faults.
#[derive(Default)]
struct Memory {
    bytes: Mutex<Vec<u8>>,
    /// Writes in order.
    writes: Mutex<Vec<Range<u64>>>,
    /// Sectors that ignore writes.
    dropped: BTreeSet<u64>,
    /// Sectors of which one bit is always wrong.
    flipped: BTreeSet<u64>,
    /// Sectors that cannot be read.
    bad: BTreeSet<u64>,
    /// Its true capacity, where that is less than it reports: addresses wrap around.
    really: Option<u64>,
    /// Refuses the write that has this byte.
    protected: Option<u64>,
    /// Refuses all writes once this many threads wait for one.
    unplugged: Option<Barrier>,
}

impl Memory {
    fn new() -> Self {
        Self { bytes: Mutex::new(vec![0xa5; (SIZE + 3 * MIB) as usize]), ..Self::default() }
    }

    fn sectors(&self, at: u64, len: usize) -> impl Iterator<Item = (u64, Range<usize>, Range<usize>)> {
        assert!(at.is_multiple_of(512) && len.is_multiple_of(512), "{len} bytes at {at} are no sectors");
        let really = self.really.unwrap_or(u64::MAX);
        (0..len).step_by(512).map(move |from| {
            let place = ((at + from as u64) % really) as usize;
            ((at + from as u64) / 512, from..from + 512, place..place + 512)
        })
    }
}

impl Medium for Memory {
    fn size(&self) -> Bytes {
        Bytes(self.bytes.lock().unwrap().len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let bytes = self.bytes.lock().unwrap();
        for (sector, to, from) in self.sectors(at, buffer.len()) {
            if self.bad.contains(&sector) {
                return Err(io::Error::from_raw_os_error(5));
            }
            buffer[to.clone()].copy_from_slice(&bytes[from]);
            buffer[to.start] ^= u8::from(self.flipped.contains(&sector));
        }
        Ok(())
    }

    fn write_at(&self, new: &[u8], at: u64) -> io::Result<()> {
        let range = at..at + new.len() as u64;
        if let Some(unplugged) = self.unplugged.as_ref().filter(|_| new.len() as u64 >= MIB) {
            unplugged.wait();
            return Err(io::Error::from_raw_os_error(19));
        }
        if self.protected.is_some_and(|byte| range.contains(&byte)) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.writes.lock().unwrap().push(range);
        let mut bytes = self.bytes.lock().unwrap();
        for (sector, from, to) in self.sectors(at, new.len()) {
            if !self.dropped.contains(&sector) {
                bytes[to].copy_from_slice(&new[from]);
            }
        }
        Ok(())
    }

    fn discard(&self, _: Range<u64>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

fn raw(disk: &[u8]) -> Raw {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(disk).unwrap();
    Raw(file)
}

fn run(medium: &Memory) -> Result<Done, Error> {
    let (disk, list) = image();
    flash(&list, &mut raw(&disk), medium, &mut |_| ())
}

fn is_on(list: &SegmentList, disk: &[u8]) -> bool {
    list.segments.iter().all(|segment| {
        let range = segment.range();
        segment.is(&disk[range.start as usize..range.end as usize])
    })
}

/// Whether firmware would find a table.
fn has_table(medium: &Memory) -> bool {
    medium.bytes.lock().unwrap()[..512].iter().any(|b| *b != 0)
}

#[test]
fn a_medium_gets_what_the_list_has_and_the_first_sector_last() {
    let (disk, list) = image();
    let medium = Memory::new();
    let mut phases = Vec::new();
    let done = flash(&list, &mut raw(&disk), &medium, &mut |progress| phases.push(progress)).unwrap();
    assert_eq!((done.written, done.discarded), (list.content(), false));
    let bytes = medium.bytes.lock().unwrap();
    assert!(is_on(&list, &bytes));
    assert!(bytes[25 * MIB as usize..30 * MIB as usize].iter().all(|b| *b == 0xa5), "free bytes are not written");
    let end = bytes.len() - 512;
    assert!(bytes[end..].iter().all(|b| *b == 0), "the table at the end of the medium is removed");
    let writes = medium.writes.lock().unwrap();
    assert_eq!(writes.last().unwrap().start, 0);
    assert!(writes[writes.len() - 2..].iter().all(|w| w.end <= MIB || w.start >= SIZE - MIB), "{writes:?}");
    let last = |phase| *phases.iter().rfind(|p| p.phase == phase).unwrap();
    assert_eq!(last(Phase::ReadBack).done, last(Phase::ReadBack).all);
}

#[test]
fn a_file_gets_the_same_and_a_compressed_image_and_other_bytes_in_one_place_do_as_well() {
    let (mut disk, mut list) = image();
    let folder = tempfile::tempdir().unwrap();
    let packed = folder.path().join("disk.raw.zst");
    fs::write(&packed, zstd::encode_all(&disk[..], 1).unwrap()).unwrap();
    let own = vec![7; MIB as usize];
    let range = 30 * MIB..31 * MIB;
    let mut with = scan(&mut Cursor::new(&own), Bytes(MIB), std::slice::from_ref(&(0..MIB))).unwrap().segments;
    with.iter_mut().for_each(|segment| segment.start.0 += range.start);
    list.replace(range.clone(), with).unwrap();
    disk[range.start as usize..range.end as usize].copy_from_slice(&own);
    let image = Zstd::new(File::open(&packed).unwrap()).unwrap();
    let path = folder.path().join("medium");
    let medium = Device::open(&path, list.size).unwrap();
    let mut source = Patched { image, start: range.start, bytes: own };
    let done = flash(&list, &mut source, &medium, &mut |_| ()).unwrap();
    assert!(done.discarded || cfg!(not(target_os = "linux")));
    assert!(fs::read(&path).unwrap() == disk, "a new file equals the image in its free bytes, too");
}

#[test]
fn a_damaged_image_gives_no_table() {
    let (mut disk, list) = image();
    disk[10 * MIB as usize + 3] ^= 1;
    let medium = Memory::new();
    let error = flash(&list, &mut raw(&disk), &medium, &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains(&format!("bytes {} to {}", 8 * MIB, 12 * MIB - 1)), "{error}");
    assert!(!has_table(&medium));
    let short = raw(&disk[..9 * MIB as usize]);
    assert!(matches!(flash(&list, &mut { short }, &Memory::new(), &mut |_| ()), Err(Error::Source { .. })));
}

#[test]
fn faults_of_a_medium_are_found_and_named_and_it_gets_no_table() {
    let set = |sector: u64| BTreeSet::from([sector]);
    let sector = 10 * MIB / 512 + 5;
    let in_zeros = 5 * MIB / 512 + 9;
    for (medium, said) in [
        (
            Memory { dropped: set(sector), ..Memory::new() },
            format!("bytes {} to {}: other bytes than written", 8 * MIB, 12 * MIB - 1),
        ),
        (Memory { flipped: set(sector), ..Memory::new() }, "other bytes than written".to_owned()),
        (Memory { dropped: set(in_zeros), ..Memory::new() }, format!("from sector {in_zeros} on")),
        (
            Memory { bad: BTreeSet::from([sector, sector + 2]), ..Memory::new() },
            format!("bytes {} to {}: bad sectors", sector * 512, (sector + 3) * 512 - 1),
        ),
        (Memory { really: Some(16 * MIB), ..Memory::new() }, "its capacity is counterfeit".to_owned()),
    ] {
        let error = run(&medium).unwrap_err().to_string();
        assert!(error.contains(&said), "{error}\nexpected {said}");
        assert!(medium.really.is_some() || !has_table(&medium));
    }
}

#[test]
fn a_medium_that_is_pulled_out_ends_every_thread() {
    let medium = Memory { unplugged: Some(Barrier::new(4)), ..Memory::new() };
    let error = run(&medium).unwrap_err().to_string();
    assert!(error.contains("No such device"), "{error}");
    assert!(!has_table(&medium));
}

#[test]
fn a_medium_that_is_too_small_or_protected_says_so() {
    let small = Memory { bytes: Mutex::new(vec![1; MIB as usize]), ..Memory::default() };
    let error = run(&small).unwrap_err().to_string();
    assert_eq!(error, "the medium has 1.0 MB, the image needs 41.9 MB: take a larger one");
    assert!(small.writes.lock().unwrap().is_empty());
    let medium = Memory { protected: Some(15 * MIB), ..Memory::new() };
    let error = run(&medium).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot write bytes {} to", 12 * MIB)), "{error}");
    assert!(!has_table(&medium));
}
