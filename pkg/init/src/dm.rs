//! The device mapper's commands (kernel, `include/uapi/linux/dm-ioctl.h`), as far as one verity device takes.
//!
//! ```text
//!   0 version[3] u32   12 data size   16 data start   20 targets   24 opens   28 flags   32 event   36 –
//!  40 device u64       48 name[128]  176 uuid[129]   305 –[7]
//! 312 target: first sector u64, sectors u64, status i32, next u32, type[16]; then its parameters, ending in 0
//! ```

use crate::error::Error;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};
use types::Digest;
use verity::Superblock;

/// Name of the device: `/dev/mapper/evek-store`.
const NAME: &str = "evek-store";
const HEADER: usize = 312;
const TARGET: usize = 40;
const LEN: usize = 4096;
const READ_ONLY: u32 = 1;
/// Interface version asked for; every kernel since 2.6.0 takes it.
const VERSION: [u32; 3] = [4, 0, 0];

const fn command(number: u8) -> Opcode {
    opcode::read_write::<[u8; HEADER]>(0xfd, number)
}
const DEV_CREATE: Opcode = command(3);
const DEV_SUSPEND: Opcode = command(6);
const TABLE_LOAD: Opcode = command(9);

/// What goes into the kernel and comes back, aligned as its `u64`s want.
#[repr(C, align(8))]
struct Buffer([u8; LEN]);

impl Buffer {
    fn new(flags: u32, uuid: &str) -> Self {
        let mut buffer = Self([0; LEN]);
        for (at, word) in (0..).step_by(4).zip(VERSION) {
            buffer.put(at, &word.to_ne_bytes());
        }
        buffer.put(12, &(LEN as u32).to_ne_bytes());
        buffer.put(16, &(HEADER as u32).to_ne_bytes());
        buffer.put(28, &flags.to_ne_bytes());
        buffer.put(48, NAME.as_bytes());
        buffer.put(176, uuid.as_bytes());
        buffer
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn with_target(mut self, sectors: u64, kind: &str, parameters: &str) -> io::Result<Self> {
        let room = LEN - HEADER - TARGET;
        if parameters.len() >= room {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("parameters exceed {room} bytes")));
        }
        self.put(20, &1u32.to_ne_bytes());
        self.put(HEADER + 8, &sectors.to_ne_bytes());
        self.put(HEADER + 24, kind.as_bytes());
        self.put(HEADER + TARGET, parameters.as_bytes());
        Ok(self)
    }

    /// The minor number of the device, from the kernel's `huge_encode_dev`.
    fn minor(&self) -> u64 {
        let mut device = [0; 8];
        device.copy_from_slice(&self.0[40..48]);
        let device = u64::from_ne_bytes(device);
        device & 0xff | device >> 12 & !0xff
    }
}

/// Makes `/dev/mapper/evek-store`: reads of it return data that has been checked against the root hash, or an error.
/// Returns its device node.
pub(crate) fn create_verity(superblock: &Superblock, device: &str, root_hash: Digest) -> Result<PathBuf, Error> {
    let table = superblock.target(device, root_hash);
    let failed = |command| {
        let table = table.clone();
        move |source: io::Error| Error::DeviceMapper { command, table, source }
    };
    let path = Path::new("/dev/mapper/control");
    let control = fs::OpenOptions::new().read(true).write(true).open(path).map_err(|source| Error::Io {
        action: "open",
        path: path.to_owned(),
        source,
    })?;
    let uuid: String = superblock.uuid().iter().map(|b| format!("{b:02x}")).collect();
    // as libcryptsetup names its devices, so that its tools know this one
    let uuid = format!("CRYPT-VERITY-{uuid}-{NAME}");

    let mut created = Buffer::new(0, &uuid);
    run::<DEV_CREATE>(&control, &mut created).map_err(failed("DM_DEV_CREATE"))?;
    let sectors = superblock.data_blocks() * (verity::BLOCK / 512);
    let mut load = Buffer::new(READ_ONLY, "").with_target(sectors, "verity", &table).map_err(failed("the table"))?;
    run::<TABLE_LOAD>(&control, &mut load).map_err(failed("DM_TABLE_LOAD"))?;
    // "suspend" without the flag that says so means: resume with the loaded table
    run::<DEV_SUSPEND>(&control, &mut Buffer::new(READ_ONLY, "")).map_err(failed("DM_DEV_SUSPEND"))?;

    let name = format!("dm-{}", created.minor());
    let link = Path::new("/dev/mapper").join(NAME);
    symlink(Path::new("..").join(&name), &link).map_err(|source| Error::Io { action: "create", path: link, source })?;
    Ok(Path::new("/dev").join(name))
}

#[allow(unsafe_code)]
fn run<const COMMAND: Opcode>(control: &fs::File, buffer: &mut Buffer) -> io::Result<()> {
    // SAFETY: the commands read and write a `dm_ioctl` and what follows it, at most the "data size" that the header gives;
    // `Buffer::new` gives the buffer's own length. No command keeps the pointer.
    unsafe { ioctl(control, Updater::<COMMAND, Buffer>::new(buffer)) }.map_err(Into::into)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_the_numbers_of_the_header() {
        // DM_DEV_CREATE and DM_TABLE_LOAD as strace prints them: _IOC(_IOC_READ|_IOC_WRITE, 0xfd, 0x3, 0x138)
        assert_eq!([DEV_CREATE, DEV_SUSPEND, TABLE_LOAD], [0xc138_fd03, 0xc138_fd06, 0xc138_fd09]);
    }

    #[test]
    fn a_table_lies_where_the_kernel_reads_it() {
        let buffer = Buffer::new(READ_ONLY, "U").with_target(800, "verity", "1 254:2").unwrap();
        let b = &buffer.0;
        let word = |at: usize| u32::from_ne_bytes(b[at..at + 4].try_into().unwrap());
        assert_eq!([word(0), word(4), word(8), word(12), word(16), word(20), word(28)], [4, 0, 0, 4096, 312, 1, 1]);
        assert_eq!(&b[48..59], b"evek-store\0");
        assert_eq!(&b[176..178], b"U\0");
        assert_eq!(&b[312..320], &0u64.to_ne_bytes());
        assert_eq!(&b[320..328], &800u64.to_ne_bytes());
        assert_eq!(&b[336..343], b"verity\0");
        assert_eq!(&b[352..360], b"1 254:2\0");
        assert!(Buffer::new(0, "").with_target(1, "verity", &"x".repeat(LEN)).is_err());
    }

    #[test]
    fn large_minor_numbers_are_put_together() {
        let mut buffer = Buffer::new(0, "");
        // 253:300 as huge_encode_dev: low byte, major << 8, the rest << 12
        buffer.put(40, &(0x2cu64 | 253 << 8 | 0x100 << 12).to_ne_bytes());
        assert_eq!(buffer.minor(), 300);
    }
}
