//! What a guest has written to its disk, in order, as QEMU's `blklogwrites` notes it.
//!
//! ```text
//! sector 0         1       2 …
//! ┌───────────────┬───────┬──────┬───────┬───────┬──────┬─
//! │ magic version │ entry │ data │ entry │ entry │ data │ …      entry: sector, sectors, flags, length of a mark
//! │ entries       │       │      │ flush │       │      │        all little-endian, each at the start of a sector
//! └───────────────┴───────┴──────┴───────┴───────┴──────┴─
//! ```
//! The format is that of Linux's dm-log-writes (drivers/md/dm-log-writes.c; Documentation/admin-guide/device-mapper). QEMU
//! notes a request when it is done and before the guest hears of it, so that a write that a flush covers stands before it.
//! A write that is done while a flush is under way stands before it too, although that flush need not cover it.
//!
//! A device's first start clears its whole P3, of which the log has every zero. To record what comes after, let one machine
//! make that start and record another one of [`State::Kept`](crate::State::Kept).
//!
//! QEMU counts entries at a flush, and each 4096th, only. What follows the counted ones is read as far as it goes: of a QEMU
//! that was killed, that ends at the first entry that is not there as a whole.
//!
//! An [`Event`] can say less than an entry. What becomes of one that it cannot say:
//!
//! - A write with FUA is on the disk when it is done, but alone. It becomes a write that stays only by the next flush, which
//!   allows more than a disk would do. (A virtio disk has no FUA; its guests flush.)
//! - A flush and a write in one entry are first the flush, then the write.
//! - Zeroes that are asked for without being sent are a write of zeroes.
//! - A discard leaves undefined what was there. Up to [`DISCARD_LIMIT`] it becomes a write of zeroes, which is what QEMU's
//!   disk mostly reads as afterwards. A larger one is left out, as if the disk had not cared.
//! - A mark is nothing.

use crate::Error;
use disk::{SECTOR, power::Event};
use std::{fs::File, ops::Range, os::unix::fs::FileExt as _, path::Path};
use types::Bytes;

/// A discard of more than this is left out.
pub const DISCARD_LIMIT: Bytes = Bytes::mib(64);

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;

const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// Reads a record of writes, whose QEMU may be gone in any way.
///
/// # Errors
/// [`Error::Writes`] when it is no such record, or lacks something that it has counted; [`Error::Io`] when it cannot be read.
pub fn read(path: &Path) -> Result<Vec<Event>, Error> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let size = file.metadata().map_err(Error::io("look at", path))?.len();
    let extents = disk::extents(&file).map_err(Error::io("look for holes in", path))?;
    let mut log = Log { path, file, extents, size, at: 0 };
    let counted = log.counted()?;
    let mut events = Vec::new();
    for n in 0.. {
        match log.entry(n < counted)? {
            Some(entry) => entry.events(&mut events),
            None => break,
        }
    }
    Ok(events)
}

struct Log<'a> {
    path: &'a Path,
    file: File,
    /// What of the file is no hole.
    extents: Vec<Range<u64>>,
    size: u64,
    /// The next entry.
    at: u64,
}

/// One entry, with its data.
struct Entry {
    /// First byte on the disk.
    at: u64,
    flags: u64,
    size: u64,
    /// None of a flush, a discard or a mark.
    bytes: Vec<u8>,
}

impl Log<'_> {
    /// Reads the superblock; gives how many entries there are for certain. Before the first flush there may be none yet.
    fn counted(&mut self) -> Result<u64, Error> {
        self.at = SECTOR;
        if self.size < SECTOR {
            let reason = format!("it has {} bytes, less than a sector", self.size);
            return if self.size == 0 { Ok(0) } else { Err(self.bad(0, reason)) };
        }
        let [magic, version, entries, sector] = self.words(0)?;
        match (magic, version, sector & u64::from(u32::MAX)) {
            (0, 0, 0) if entries == 0 => Ok(0),
            (MAGIC, VERSION, SECTOR) => Ok(entries),
            (MAGIC, VERSION, size) => Err(self.bad(24, format!("sectors have {size} bytes instead of {SECTOR}"))),
            (MAGIC, other, _) => Err(self.bad(8, format!("the version is {other} instead of {VERSION}"))),
            (other, ..) => Err(self.bad(0, format!("the magic is {other:#x} instead of {MAGIC:#x}"))),
        }
    }

    /// Reads the next entry, which must be there if it is counted.
    fn entry(&mut self, counted: bool) -> Result<Option<Entry>, Error> {
        let start = self.at;
        let cut = |reason: &str| if counted { Err(self.bad(start, reason.to_owned())) } else { Ok(None) };
        if self.size.saturating_sub(start) < SECTOR {
            return cut("an entry that is counted is missing");
        }
        let [sector, sectors, flags, mark] = self.words(start)?;
        if [sector, sectors, flags, mark] == [0; 4] {
            return cut("an entry that is counted is empty");
        }
        if flags & !(FLUSH | FUA | DISCARD | MARK) != 0 {
            return Err(self.bad(start + 16, format!("an entry has unknown flags, {flags:#x}")));
        }
        // a file has no byte beyond `i64::MAX`, nor has a disk
        let bytes = |sectors: u64| sectors.checked_mul(SECTOR).filter(|&n| i64::try_from(n).is_ok());
        let (Some(at), Some(size)) = (bytes(sector), bytes(sectors)) else {
            return Err(self.bad(start, format!("no disk has {sectors} sectors from {sector} on")));
        };
        if i64::try_from(at + size).is_err() {
            return Err(self.bad(start, format!("no disk has {sectors} sectors from {sector} on")));
        }
        // what a mark says stands in the entry's own sector
        let stored = if flags & (DISCARD | MARK) == 0 { size } else { 0 };
        if stored > self.size - start - SECTOR {
            return cut("an entry has more data than the file");
        }
        let bytes = self.data(start + SECTOR, stored)?;
        self.at = start + SECTOR + stored;
        Ok(Some(Entry { at, flags, size, bytes }))
    }

    /// Reads data, without touching file or memory where there are zeroes that were never sent, which can be gigabytes.
    fn data(&self, start: u64, size: u64) -> Result<Vec<u8>, Error> {
        let size = usize::try_from(size).map_err(|_| self.bad(start, format!("{size} bytes are too many")))?;
        let mut bytes = vec![0; size];
        let end = start + size as u64;
        let first = self.extents.partition_point(|extent| extent.end <= start);
        for extent in self.extents[first..].iter().take_while(|extent| extent.start < end) {
            let (from, to) = (extent.start.max(start), extent.end.min(end));
            let target = &mut bytes[(from - start) as usize..(to - start) as usize];
            self.file.read_exact_at(target, from).map_err(Error::io("read", self.path))?;
        }
        Ok(bytes)
    }

    /// Reads four words of the file.
    fn words(&self, at: u64) -> Result<[u64; 4], Error> {
        let mut words = [[0; 8]; 4];
        self.file.read_exact_at(words.as_flattened_mut(), at).map_err(Error::io("read", self.path))?;
        Ok(words.map(u64::from_le_bytes))
    }

    fn bad(&self, at: u64, reason: String) -> Error {
        Error::Writes { path: self.path.to_owned(), at, reason }
    }
}

impl Entry {
    /// What happened to the disk.
    fn events(self, events: &mut Vec<Event>) {
        if self.flags & MARK != 0 {
            return;
        }
        if self.flags & FLUSH != 0 {
            events.push(Event::Flush);
        }
        let bytes = match usize::try_from(self.size) {
            Ok(size) if self.flags & DISCARD != 0 && self.size <= DISCARD_LIMIT.0 => vec![0; size],
            _ => self.bytes,
        };
        if !bytes.is_empty() {
            events.push(Event::Write { at: self.at, bytes });
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A record as QEMU writes it.
    struct Record(Vec<u8>);

    impl Record {
        fn new(entries: u64) -> Self {
            let mut record = Self(Vec::new());
            record.sector(&[MAGIC, VERSION, entries, SECTOR]);
            record
        }

        fn sector(&mut self, words: &[u64; 4]) {
            self.0.extend(words.iter().flat_map(|w| w.to_le_bytes()));
            self.0.resize(self.0.len().next_multiple_of(512), 0);
        }

        fn entry(mut self, sector: u64, sectors: u64, flags: u64, data: &[u8]) -> Self {
            self.sector(&[sector, sectors, flags, 0]);
            self.0.extend(data);
            self
        }

        fn read(&self) -> Result<Vec<Event>, String> {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("writes.log");
            std::fs::write(&path, &self.0).unwrap();
            read(&path).map_err(|e| e.to_string().replace(&path.display().to_string(), "writes.log"))
        }
    }

    fn write(sector: u64, byte: u8, sectors: usize) -> Event {
        Event::Write { at: sector * SECTOR, bytes: vec![byte; sectors * 512] }
    }

    #[test]
    fn writes_and_flushes_come_in_order() {
        let record = Record::new(3).entry(7, 2, 0, &[1; 1024]).entry(0, 0, FLUSH, &[]).entry(0, 1, 0, &[0; 512]);
        assert_eq!(record.read().unwrap(), [write(7, 1, 2), Event::Flush, write(0, 0, 1)]);
    }

    #[test]
    fn what_an_event_cannot_say_is_said_otherwise() {
        let limit = DISCARD_LIMIT.0 / SECTOR;
        let cases = [
            ("FUA keeps nothing but itself", FUA, 1, vec![2; 512], vec![write(3, 2, 1)]),
            ("a flush comes before its write", FLUSH | FUA, 1, vec![2; 512], vec![Event::Flush, write(3, 2, 1)]),
            ("a discard is zeroes", DISCARD, 8, vec![], vec![write(3, 0, 8)]),
            ("a large one nothing", DISCARD, limit + 1, vec![], vec![]),
            ("as is a mark", MARK, 0, vec![], vec![]),
        ];
        for (what, flags, sectors, data, expected) in cases {
            let record = Record::new(2).entry(3, sectors, flags, &data).entry(0, 0, FLUSH, &[]);
            assert_eq!(record.read().unwrap(), [expected, vec![Event::Flush]].concat(), "{what}");
        }
    }

    #[test]
    fn a_record_that_was_not_flushed_yet_has_entries_all_the_same() {
        assert_eq!(Record(Vec::new()).read().unwrap(), []);
        let mut record = Record(vec![0; 512]);
        assert_eq!(record.read().unwrap(), []);
        record = record.entry(1, 1, 0, &[5; 512]);
        assert_eq!(record.read().unwrap(), [write(1, 5, 1)]);
    }

    #[test]
    fn what_is_not_counted_may_be_cut_and_what_is_may_not() {
        let whole = |counted| Record::new(counted).entry(0, 0, FLUSH, &[]).entry(1, 2, 0, &[5; 1024]);
        for cut in [1024, 1024 + 31, 1024 + 512, 1024 + 512 + 1023] {
            let mut record = whole(1);
            record.0.truncate(cut);
            assert_eq!(record.read().unwrap(), [Event::Flush], "{cut}");
            let mut record = whole(2);
            record.0.truncate(cut);
            let said = record.read().unwrap_err();
            assert!(
                said.starts_with("writes.log is no record ") && said.contains(": at byte 1024, an entry "),
                "{said}"
            );
        }
        let mut record = Record::new(1).entry(0, 0, FLUSH, &[]);
        record.0.extend([0; 512]);
        assert_eq!(record.entry(1, 1, 0, &[5; 512]).read().unwrap(), [Event::Flush], "behind a gap");
    }

    #[test]
    fn zeroes_that_were_not_sent_are_not_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let gib = 1 << 30;
        let record = Record::new(3).entry(8, gib / SECTOR, 0, &[]);
        file.as_file().write_all_at(&record.0, 0).unwrap();
        let next = Record(Vec::new()).entry(1, 1, 0, &[5; 512]).entry(0, 0, FLUSH, &[]);
        file.as_file().write_all_at(&next.0, record.0.len() as u64 + gib).unwrap();
        let events = read(file.path()).unwrap();
        let Event::Write { at: 4096, bytes } = &events[0] else { panic!("another first event") };
        assert_eq!((bytes.len() as u64, bytes[0], bytes[bytes.len() - 1]), (gib, 0, 0));
        assert_eq!(events[1..], [write(1, 5, 1), Event::Flush]);
    }

    #[test]
    fn something_else_is_refused_with_its_place() {
        let superblock = |words| {
            let mut record = Record(Vec::new());
            record.sector(&words);
            record
        };
        let cases = [
            (Record(vec![b'x'; 100]), "at byte 0, it has 100 bytes, less than a sector"),
            (superblock([1, VERSION, 0, SECTOR]), "at byte 0, the magic is 0x1 instead of 0x6a736677736872"),
            (superblock([MAGIC, 2, 0, SECTOR]), "at byte 8, the version is 2 instead of 1"),
            (superblock([MAGIC, VERSION, 0, 4096]), "at byte 24, sectors have 4096 bytes instead of 512"),
            (Record::new(0).entry(1, 1, 16, &[]), "at byte 528, an entry has unknown flags, 0x10"),
            (
                Record::new(0).entry(u64::MAX, 1, 0, &[]),
                "at byte 512, no disk has 1 sectors from 18446744073709551615 on",
            ),
            (
                Record::new(0).entry(i64::MAX as u64 / 512, 1, 0, &[0; 512]),
                "at byte 512, no disk has 1 sectors from 18014398509481983 on",
            ),
        ];
        for (record, expected) in cases {
            let said = record.read().unwrap_err();
            assert_eq!(
                said,
                format!("writes.log is no record of what a guest has written: {expected}; record it anew")
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..4096), entries in 0u64..4) {
            let _ = Record(bytes.clone()).read();
            // small words behind a good superblock reach further
            for word in bytes.chunks_mut(8) {
                word.iter_mut().skip(1).for_each(|b| *b = 0);
            }
            let mut record = Record::new(entries);
            record.0.extend(bytes);
            if let Ok(events) = record.read() {
                for event in events {
                    if let Event::Write { at, bytes } = event {
                        prop_assert!(at % SECTOR == 0 && bytes.len() % 512 == 0 && !bytes.is_empty());
                    }
                }
            }
        }
    }
}
