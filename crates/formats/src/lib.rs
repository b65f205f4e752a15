//! Disks in the formats of hypervisors and clouds, made from the raw disk.
//!
//! ```text
//! raw, sparse ─► blocks: those that are not zero ─┬─► vmdk   VMware, VirtualBox
//!                                                 ├─► vhdx   Hyper-V, Azure's tools
//!                                                 ├─► vdi    VirtualBox
//!                                                 ├─► gcp    Google Compute Engine: disk.raw in a tar.gz
//!                                                 └─► zstd   a raw disk, compressed for download
//! ```
//! A file depends on the disk's bytes and a GUID only: not on holes, times or random numbers. So two builds of an image give
//! equal files. qcow2 is in `disk`, because tests need it to boot.
//!
//! Deliberately absent: reading these formats, snapshots, parents, and disks of more than 2 TB.

mod blocks;
mod gcp;
mod packed;
mod vdi;
mod vhdx;
mod vmdk;

pub use gcp::gcp;
pub use packed::zstd;
pub use vdi::vdi;
pub use vhdx::vhdx;
pub use vmdk::vmdk;

/// Bytes of a header under construction.
#[derive(Default)]
struct Header(Vec<u8>);

impl Header {
    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn u32(self, n: u32) -> Self {
        self.bytes(&n.to_le_bytes())
    }

    fn u64(self, n: u64) -> Self {
        self.bytes(&n.to_le_bytes())
    }

    /// Zeros up to an offset.
    fn to(mut self, offset: usize) -> Self {
        debug_assert!(self.0.len() <= offset, "a field is behind its place");
        self.0.resize(offset, 0);
        self
    }
}

#[cfg(test)]
mod tests;
