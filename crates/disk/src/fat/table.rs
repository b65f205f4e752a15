//! The first FAT of a volume in memory, and its changes.
//!
//! ```text
//! entry:   0     1     2     3     4     5     6     …
//!        media  end    3     6   free  free   end          chain 2 → 3 → 6
//! ```
//! All readers use the first FAT. This module writes the second along; only `reclaim` reads it.

use super::geometry::{Geometry, Width};
use crate::{Blocks, Error, SECTOR};
use std::{collections::BTreeSet, io};

const LEN: usize = SECTOR as usize;

/// The FAT's entry of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Free,
    Next(u32),
    End,
    /// Damaged medium: neither free nor of any file.
    Bad,
    /// An impossible number.
    Broken,
}

pub(super) struct Table {
    bytes: Vec<u8>,
    width: Width,
    /// One past the last cluster.
    end: u32,
    /// Changed sectors that are not yet on the volume.
    dirty: BTreeSet<usize>,
}

impl Table {
    pub(super) fn load(blocks: &impl Blocks, g: &Geometry) -> Result<Self, Error> {
        let mut bytes = vec![0; g.fat_sectors as usize * LEN];
        let at = u64::from(g.reserved) * SECTOR;
        blocks.read_at(&mut bytes, at).map_err(Error::io("read the FAT"))?;
        Ok(Self { bytes, width: g.width, end: g.clusters + 2, dirty: BTreeSet::new() })
    }

    pub(super) fn clusters(&self) -> std::ops::Range<u32> {
        2..self.end
    }

    fn raw(&self, cluster: u32) -> u32 {
        let at = cluster as usize * self.width.entry_len();
        match self.width {
            Width::Fat16 => u32::from(u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])),
            Width::Fat32 => {
                let b = &self.bytes[at..at + 4];
                // the upper four bits are reserved
                u32::from_le_bytes([b[0], b[1], b[2], b[3]]) & 0x0fff_ffff
            }
        }
    }

    pub(super) fn link(&self, cluster: u32) -> Link {
        if !self.clusters().contains(&cluster) {
            return Link::Broken;
        }
        let (bad, value) = match self.width {
            Width::Fat16 => (0xfff7, self.raw(cluster)),
            Width::Fat32 => (0x0fff_fff7, self.raw(cluster)),
        };
        match value {
            0 => Link::Free,
            next if self.clusters().contains(&next) => Link::Next(next),
            value if value == bad => Link::Bad,
            value if value > bad => Link::End,
            _ => Link::Broken,
        }
    }

    pub(super) fn set(&mut self, cluster: u32, link: Link) {
        let value: u32 = match link {
            Link::Free => 0,
            Link::Next(next) => next,
            Link::End | Link::Bad | Link::Broken => 0x0fff_ffff,
        };
        let at = cluster as usize * self.width.entry_len();
        match self.width {
            Width::Fat16 => self.bytes[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes()),
            Width::Fat32 => {
                let kept = self.bytes[at + 3] & 0xf0;
                self.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
                self.bytes[at + 3] |= kept;
            }
        }
        self.dirty.insert(at / LEN);
    }

    /// The clusters of a chain, at most `limit`.
    ///
    /// # Errors
    /// [`Error::BadVolume`] naming `what`: the chain is broken, circular or longer than the limit.
    pub(super) fn chain(&self, first: u32, limit: u32, what: &str) -> Result<Vec<u32>, Error> {
        let bad = |problem: &str| Error::BadVolume { problem: format!("{what}: {problem}") };
        let (mut chain, mut at) = (Vec::new(), first);
        loop {
            // a chain without a circle has at most all clusters
            if chain.len() as u32 >= limit.min(self.end) {
                return Err(bad("its chain of clusters goes in a circle or is too long"));
            }
            chain.push(at);
            match self.link(at) {
                Link::Next(next) => at = next,
                Link::End => return Ok(chain),
                _ => return Err(bad("its chain of clusters is broken")),
            }
        }
    }

    /// Marks the clusters of a chain up to its end, its damage, or one that is marked already.
    pub(super) fn mark(&self, first: u32, marked: &mut [bool]) {
        let mut at = first;
        while let (Link::Next(_) | Link::End, Some(seen @ false)) = (self.link(at), marked.get_mut(at as usize)) {
            *seen = true;
            match self.link(at) {
                Link::Next(next) => at = next,
                _ => break,
            }
        }
    }

    /// A mark for every cluster, by number.
    pub(super) fn marks(&self) -> Vec<bool> {
        vec![false; self.end as usize]
    }

    pub(super) fn free(&self) -> u32 {
        self.clusters().filter(|c| self.link(*c) == Link::Free).count() as u32
    }

    pub(super) fn first_free(&self) -> Option<u32> {
        self.clusters().find(|c| self.link(*c) == Link::Free)
    }

    /// Makes a chain of free clusters: one piece if there is one, else any clusters. `None` if there are too few.
    pub(super) fn take(&mut self, n: u32) -> Option<Vec<u32>> {
        let n = n as usize;
        let (mut run, mut any) = (Vec::new(), Vec::new());
        for cluster in self.clusters() {
            if run.len() == n {
                break;
            }
            if self.link(cluster) != Link::Free {
                run.clear();
                continue;
            }
            run.push(cluster);
            if any.len() < n {
                any.push(cluster);
            }
        }
        let chain = if run.len() == n { run } else { any };
        if chain.len() < n {
            return None;
        }
        for (at, cluster) in chain.iter().enumerate() {
            self.set(*cluster, chain.get(at + 1).map_or(Link::End, |next| Link::Next(*next)));
        }
        Some(chain)
    }

    /// Writes the changes to all FATs.
    pub(super) fn store(&mut self, blocks: &impl Blocks, g: &Geometry) -> io::Result<()> {
        for at in g.fats() {
            let mut sectors = self.dirty.iter().copied().peekable();
            while let Some(first) = sectors.next() {
                let mut end = first + 1;
                while sectors.next_if_eq(&end).is_some() {
                    end += 1;
                }
                blocks.write_at(&self.bytes[first * LEN..end * LEN], at + (first * LEN) as u64)?;
            }
        }
        self.dirty.clear();
        Ok(())
    }

    /// Makes the other FATs equal to the first.
    pub(super) fn mirror(&self, blocks: &impl Blocks, g: &Geometry) -> io::Result<()> {
        let mut found = vec![0; self.bytes.len()];
        for at in g.fats().skip(1) {
            blocks.read_at(&mut found, at)?;
            for (n, (right, found)) in self.bytes.chunks(LEN).zip(found.chunks(LEN)).enumerate() {
                if right != found {
                    blocks.write_at(right, at + (n * LEN) as u64)?;
                }
            }
        }
        Ok(())
    }
}
