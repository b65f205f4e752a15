//! Memory from and to which a device can read and write without the caches.

use std::ops::Range;

/// The alignment that every device accepts (open(2), *`O_DIRECT`*).
const ALIGN: usize = 4096;

/// Bytes in memory that start at a multiple of 4096.
pub(crate) struct Buffer {
    memory: Vec<u8>,
    range: Range<usize>,
}

impl Buffer {
    /// Zeros.
    pub(crate) fn new(len: usize) -> Self {
        let memory = vec![0; len + ALIGN];
        let start = memory.as_ptr().align_offset(ALIGN).min(ALIGN);
        Self { memory, range: start..start + len }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.memory[self.range.clone()]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.range.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_at_a_multiple_of_what_devices_want() {
        for len in [0, 1, 512, 1 << 20] {
            let buffer = Buffer::new(len);
            assert_eq!((buffer.bytes().len(), buffer.bytes().as_ptr().align_offset(ALIGN)), (len, 0));
        }
    }
}
