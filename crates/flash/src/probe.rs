//! Whether a medium has the capacity that it says, before hundreds of megabytes are written to it.

use crate::{Error, Fault, Medium, Problem, buffer::Buffer};
use segments::SECTOR;
use types::{Bytes, Digest};

/// Writes a mark at the end of the image's disk and at each power of two before it, and reads them all: where addresses wrap
/// around, which is how counterfeit sticks pretend, two places have one mark. The marks are zeroed again.
pub(crate) fn probe(size: Bytes, medium: &dyn Medium) -> Result<(), Error> {
    let end = size.0 / SECTOR * SECTOR - SECTOR;
    let powers = (20..u64::BITS).map(|n| 1 << n).take_while(|at| *at < end);
    let places: Vec<u64> = powers.chain([end]).collect();
    let mut sector = Buffer::new(SECTOR as usize);
    let mark = |at: u64| Digest::of(format!("mark {at} {}", std::process::id()).as_bytes()).as_bytes().repeat(16);
    let write = |at: u64, bytes: &Buffer| {
        let range = at..at + SECTOR;
        medium.write_at(bytes.bytes(), at).map_err(|source| Error::Write { range, source })
    };
    let flush = || medium.flush().map_err(|source| Error::Write { range: 0..size.0, source });
    for at in &places {
        sector.bytes_mut().copy_from_slice(&mark(*at));
        write(*at, &sector)?;
    }
    flush()?;
    let mut faults = Vec::new();
    for at in &places {
        let read = medium.read_at(sector.bytes_mut(), *at);
        let problem = match read {
            Err(e) => Problem::Unreadable(e),
            Ok(()) if sector.bytes() == mark(*at) => continue,
            Ok(()) => match places.iter().find(|other| mark(**other) == sector.bytes()) {
                Some(with) => Problem::Aliased { with: *with },
                None => Problem::Differs { first: *at },
            },
        };
        faults.push(Fault { range: *at..at + SECTOR, problem });
    }
    let zeros = Buffer::new(SECTOR as usize);
    places.iter().try_for_each(|at| write(*at, &zeros))?;
    flush()?;
    if faults.is_empty() { Ok(()) } else { Err(Error::Faults(faults)) }
}
