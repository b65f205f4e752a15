//! Whether a database of bbolt, in which containerd keeps its metadata, is whole (bbolt 1.3, `page.go`, `db.go`,
//! `tx_check.go`).
//!
//! ```text
//!   page 0, 1: meta: magic, version, page size, root bucket, free list, high water mark, transaction, FNV-1a of these
//!   page n:    id, flags, count, overflow │ elements │ keys and values
//!                branch: keys ─► pages        leaf: keys ─► values, or nested buckets: a page, or inline in the value
//! ```
//! bbolt trusts its pages and panics, often long after the start, when one is damaged. This reader refuses what bbolt's own
//! check refuses. It follows every page that the newest valid meta page reaches, and keeps one page in memory for each level
//! of a tree.
//!
//! Deliberately absent: reading values, and writing.

use std::{collections::BTreeSet, fs::File, io, os::unix::fs::FileExt as _};

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const FREE_LIST: u16 = 0x10;
/// Flag of a leaf's element whose value is a bucket.
const BUCKET: u32 = 0x01;
/// Length of a page's header, of an element and of a bucket's header.
const HEADER: usize = 16;
/// Length of a meta page's content, of which the last eight bytes are the checksum of the others.
const META: usize = 64;
/// The free list's page where it is not kept on disk.
const NO_FREE_LIST: u64 = u64::MAX;
/// Deeper than any tree and any nesting of containerd's buckets; a damaged file must not exhaust the stack.
const DEPTH_MAX: usize = 64;

/// Why a database is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Damage {
    /// Neither of the meta pages is valid.
    #[error("no meta page is valid")]
    Meta,
    /// A page is not as bbolt writes it.
    #[error("page {page}: {what}")]
    Page { page: u64, what: &'static str },
    /// The file cannot be read, or ends inside a page.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
}

/// A little-endian number; every supported architecture is little-endian, and bbolt writes the machine's order.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    number(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    number(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    number(bytes, at).map(u64::from_le_bytes)
}

/// FNV-1a with 64 bits.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[derive(Debug, Clone, Copy)]
struct Meta {
    page_size: u64,
    root: u64,
    free_list: u64,
    /// The number of pages in use: the first page that no transaction has written.
    pages: u64,
    transaction: u64,
}

impl Meta {
    fn parse(page: &[u8]) -> Option<Self> {
        let meta = page.get(HEADER..HEADER + META)?;
        let page_size = u32_at(meta, 8)?;
        let whole = u32_at(meta, 0)? == MAGIC
            && u32_at(meta, 4)? == VERSION
            && u64_at(meta, 56)? == fnv(&meta[..56])
            && (1024..=65536).contains(&page_size)
            && page_size.is_power_of_two();
        whole.then_some(Self {
            page_size: page_size.into(),
            root: u64_at(meta, 16)?,
            free_list: u64_at(meta, 32)?,
            pages: u64_at(meta, 40)?,
            transaction: u64_at(meta, 48)?,
        })
    }

    /// The newer of the two. The second one's place depends on the page size, which the first one may no longer say.
    fn find(file: &File, len: u64) -> Option<Self> {
        let read = |at: u64| {
            let mut page = [0; HEADER + META];
            (at + page.len() as u64 <= len).then(|| file.read_exact_at(&mut page, at).ok())??;
            Self::parse(&page)
        };
        let first = read(0);
        let second = match first {
            Some(meta) => read(meta.page_size),
            None => (10..=16).find_map(|bits| read(1 << bits).filter(|meta| meta.page_size == 1 << bits)),
        };
        first.into_iter().chain(second).max_by_key(|meta| meta.transaction)
    }
}

/// The keys that a page may have: from the first one on, up to but not including the second one.
#[derive(Clone, Copy, Default)]
struct Range<'a> {
    from: Option<&'a [u8]>,
    to: Option<&'a [u8]>,
}

struct Reader<'a> {
    file: &'a File,
    len: u64,
    meta: Meta,
    seen: BTreeSet<u64>,
}

/// Reads the whole database in `file`.
pub(crate) fn check(file: &File) -> Result<(), Damage> {
    let len = file.metadata()?.len();
    let meta = Meta::find(file, len).ok_or(Damage::Meta)?;
    let mut reader = Reader { file, len, meta, seen: BTreeSet::from([0, 1]) };
    if meta.free_list != NO_FREE_LIST {
        reader.free_list(meta.free_list)?;
    }
    reader.tree(meta.root, Range::default(), 0)
}

fn damage<T>(page: u64, what: &'static str) -> Result<T, Damage> {
    Err(Damage::Page { page, what })
}

impl Reader<'_> {
    /// A page together with the pages that it continues on, each of which belongs to it alone.
    fn page(&mut self, id: u64) -> Result<(Vec<u8>, u16), Damage> {
        let size = self.meta.page_size;
        let inside = |pages: u64| id >= 2 && id.checked_add(pages).is_some_and(|end| end <= self.meta.pages);
        if !inside(1) || (id + 1) * size > self.len {
            return damage(id, "lies outside the database");
        }
        let mut page = vec![0; size as usize];
        self.file.read_exact_at(&mut page, id * size)?;
        let (own, flags, overflow) = (u64_at(&page, 0), u16_at(&page, 8), u32_at(&page, 12));
        let (Some(flags), Some(overflow)) = (flags, overflow) else { return damage(id, "has no header") };
        if own != Some(id) {
            return damage(id, "has the number of another page");
        }
        let pages = 1 + u64::from(overflow);
        if !inside(pages) || (id + pages) * size > self.len {
            return damage(id, "continues outside the database");
        }
        if !(id..id + pages).all(|page| self.seen.insert(page)) {
            return damage(id, "is used twice");
        }
        page.resize((pages * size) as usize, 0);
        self.file.read_exact_at(&mut page[size as usize..], (id + 1) * size)?;
        Ok((page, flags))
    }

    fn free_list(&mut self, id: u64) -> Result<(), Damage> {
        let (page, flags) = self.page(id)?;
        if flags != FREE_LIST {
            return damage(id, "is not the free list");
        }
        // a count that does not fit is the first element
        let (count, first) = match u16_at(&page, 10) {
            Some(u16::MAX) => (u64_at(&page, HEADER).unwrap_or(u64::MAX), HEADER + 8),
            count => (count.unwrap_or_default().into(), HEADER),
        };
        if count > self.meta.pages {
            return damage(id, "lists more free pages than there are");
        }
        let mut free = BTreeSet::new();
        for n in 0..count as usize {
            match u64_at(&page, first + n * 8) {
                Some(page) if (2..self.meta.pages).contains(&page) && free.insert(page) => {}
                _ => return damage(id, "lists a free page that cannot be one"),
            }
        }
        self.seen.extend(free);
        Ok(())
    }

    /// A page of a tree and all below it.
    fn tree(&mut self, id: u64, range: Range<'_>, depth: usize) -> Result<(), Damage> {
        if depth > DEPTH_MAX {
            return damage(id, "lies too deep");
        }
        let (page, flags) = self.page(id)?;
        match flags {
            LEAF => self.leaf(id, &page, range, depth),
            BRANCH => self.branch(id, &page, range, depth),
            _ => damage(id, "is neither branch nor leaf"),
        }
    }

    fn branch(&mut self, id: u64, page: &[u8], range: Range<'_>, depth: usize) -> Result<(), Damage> {
        let count = usize::from(u16_at(page, 10).unwrap_or_default());
        if count == 0 {
            return damage(id, "is a branch without pages below it");
        }
        let element = |n: usize| {
            let at = HEADER + n * HEADER;
            let (position, len) = (u32_at(page, at)? as usize, u32_at(page, at + 4)? as usize);
            let key = page.get(at.checked_add(position)?..)?.get(..len)?;
            Some((key, u64_at(page, at + 8)?))
        };
        let mut from = range.from;
        for n in 0..count {
            let Some((key, below)) = element(n) else { return damage(id, "has an element that leaves the page") };
            ordered(id, n, key, Range { from, ..range })?;
            let next = if n + 1 < count { element(n + 1).map(|(key, _)| key) } else { range.to };
            self.tree(below, Range { from: Some(key), to: next }, depth + 1)?;
            from = Some(key);
        }
        Ok(())
    }

    fn leaf(&mut self, id: u64, page: &[u8], range: Range<'_>, depth: usize) -> Result<(), Damage> {
        let count = usize::from(u16_at(page, 10).unwrap_or_default());
        let element = |n: usize| {
            let at = HEADER + n * HEADER;
            let flags = u32_at(page, at)?;
            let (position, key, value) = (u32_at(page, at + 4)?, u32_at(page, at + 8)?, u32_at(page, at + 12)?);
            let both = page.get(at.checked_add(position as usize)?..)?;
            let (key, rest) = both.split_at_checked(key as usize)?;
            Some((flags, key, rest.get(..value as usize)?))
        };
        let mut from = range.from;
        for n in 0..count {
            let Some((flags, key, value)) = element(n) else {
                return damage(id, "has an element that leaves the page");
            };
            ordered(id, n, key, Range { from, ..range })?;
            if flags & BUCKET != 0 {
                self.bucket(id, value, depth + 1)?;
            }
            from = Some(key);
        }
        Ok(())
    }

    fn bucket(&mut self, id: u64, value: &[u8], depth: usize) -> Result<(), Damage> {
        match u64_at(value, 0) {
            Some(0) => match value.get(HEADER..) {
                // the page of a small bucket is in the value, and its number is 0
                Some(inline) if u16_at(inline, 8) == Some(LEAF) && depth <= DEPTH_MAX => {
                    self.leaf(id, inline, Range::default(), depth)
                }
                _ => damage(id, "has a bucket without a page"),
            },
            Some(root) if value.len() >= HEADER => self.tree(root, Range::default(), depth),
            _ => damage(id, "has a bucket without a header"),
        }
    }
}

/// The `n`th key of a page is in the page's range, and greater than the one before it.
fn ordered(id: u64, n: usize, key: &[u8], range: Range<'_>) -> Result<(), Damage> {
    let after = range.from.is_none_or(|from| if n == 0 { key >= from } else { key > from });
    let before = range.to.is_none_or(|to| key < to);
    if after && before { Ok(()) } else { damage(id, "has a key out of order") }
}

#[cfg(test)]
#[path = "bolt_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
