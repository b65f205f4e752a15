//! Folders as data: blocks of `struct erofs_dirent`, twelve bytes each, with the names behind them.
//!
//! ```text
//! block │ inode u64, name offset u16, type u8, 0 │ … │ name │ name │ … │ zeros up to the block's end, but for the last
//! ```
//! The number of entries follows from the first name offset; names are sorted as bytes over the whole folder, `.` and `..`
//! among them, because the kernel searches by halves.

use crate::BLOCK;
use std::ops::Range;

pub(crate) const ENTRY: usize = 12;

/// A folder's entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item<'a> {
    pub(crate) name: &'a str,
    /// Position in the plan's list.
    pub(crate) inode: usize,
}

/// Which of the sorted items go into which block.
fn blocks(items: &[Item<'_>]) -> Vec<Range<usize>> {
    let mut blocks = Vec::new();
    let (mut start, mut used) = (0, 0);
    for (n, item) in items.iter().enumerate() {
        let len = ENTRY + item.name.len();
        if used + len > BLOCK as usize {
            blocks.push(start..n);
            (start, used) = (n, 0);
        }
        used += len;
    }
    blocks.push(start..items.len());
    blocks
}

fn used(items: &[Item<'_>]) -> usize {
    items.iter().map(|i| ENTRY + i.name.len()).sum()
}

/// Length of the folder's data: whole blocks, but for the last.
pub(crate) fn size(items: &[Item<'_>]) -> u64 {
    let blocks = blocks(items);
    let last = blocks.last().map_or(0, |b| used(&items[b.clone()]));
    (blocks.len() as u64 - 1) * BLOCK + last as u64
}

/// The folder's data. `describe` gives inode number and file type of a position in the plan's list.
pub(crate) fn encode(items: &[Item<'_>], describe: impl Fn(usize) -> (u64, u8)) -> Vec<u8> {
    let mut out = Vec::new();
    for block in blocks(items) {
        out.resize(out.len().next_multiple_of(BLOCK as usize), 0);
        let items = &items[block];
        let mut name_at = items.len() * ENTRY;
        for item in items {
            let (number, kind) = describe(item.inode);
            out.extend(number.to_le_bytes());
            out.extend((name_at as u16).to_le_bytes());
            out.extend([kind, 0]);
            name_at += item.name.len();
        }
        items.iter().for_each(|item| out.extend(item.name.as_bytes()));
    }
    out
}
