//! The `ar` archives that Debian packages are (deb(5)): no symbol table, no long names.

use std::io::{self, Read, Take};

const MAGIC: &[u8; 8] = b"!<arch>\n";

/// Reads the members of an archive one after the other.
pub(super) struct Reader<R> {
    inner: R,
}

/// The header of a member.
pub(super) struct Member {
    /// Its name, without padding or trailing slash.
    pub(super) name: String,
    size: u64,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(mut inner: R) -> io::Result<Self> {
        let mut magic = [0; 8];
        inner.read_exact(&mut magic)?;
        if &magic != MAGIC {
            return Err(bad("it does not start as an ar archive"));
        }
        Ok(Self { inner })
    }

    /// The next header; the caller then takes its contents or skips them.
    pub(super) fn next_member(&mut self) -> io::Result<Option<Member>> {
        let mut header = [0; 60];
        let mut filled = 0;
        while filled < header.len() {
            match self.inner.read(&mut header[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(bad("it ends within the header of a member")),
                n => filled += n,
            }
        }
        if &header[58..] != b"`\n" {
            return Err(bad("the header of a member is damaged"));
        }
        let text =
            |range| std::str::from_utf8(&header[range]).map(str::trim_end).map_err(|_| bad("a name is not ASCII"));
        let size = text(48..58)?.parse().map_err(|_| bad("the size of a member is not a number"))?;
        Ok(Some(Member { name: text(0..16)?.trim_end_matches('/').to_owned(), size }))
    }

    pub(super) fn skip(&mut self, member: &Member) -> io::Result<()> {
        // Members start at even offsets.
        let len = member.size + member.size % 2;
        let skipped = io::copy(&mut self.inner.by_ref().take(len), &mut io::sink())?;
        if skipped < member.size { Err(bad("it ends within a member")) } else { Ok(()) }
    }

    pub(super) fn into_contents(self, member: &Member) -> Take<R> {
        self.inner.take(member.size)
    }
}

fn bad(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
