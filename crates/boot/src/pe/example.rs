//! Small EFI programs for tests.

/// A section: name in the header, address, place in the file, bytes, characteristics.
pub type Part<'a> = (&'a str, usize, usize, &'a [u8], u32);

/// A program of these sections, with headers of the given length.
#[must_use]
pub fn of_sections(headers_len: usize, alignments: (usize, usize), sections: &[Part<'_>]) -> Vec<u8> {
    let end = sections.iter().map(|s| s.2 + s.3.len().next_multiple_of(alignments.1)).max().unwrap_or(0);
    let mut b = vec![0; end.max(headers_len)];
    let mut put = |at: usize, bytes: &[u8]| b[at..at + bytes.len()].copy_from_slice(bytes);
    let n = |v: usize| (v as u32).to_le_bytes();
    put(0, b"MZ");
    put(0x3c, &n(0x40));
    put(0x40, b"PE\0\0\x64\x86");
    put(0x40 + 6, &(sections.len() as u16).to_le_bytes());
    put(0x40 + 20, &240u16.to_le_bytes());
    let optional = 0x40 + 24;
    put(optional, &0x20bu16.to_le_bytes());
    put(optional + 32, &n(alignments.0));
    put(optional + 36, &n(alignments.1));
    let size = sections.iter().map(|s| s.1 + s.3.len()).max().unwrap_or(0);
    put(optional + 56, &n(size.next_multiple_of(alignments.0)));
    put(optional + 60, &n(headers_len));
    for (i, (name, address, at, data, characteristics)) in sections.iter().enumerate() {
        let header = optional + 240 + i * 40;
        put(header, name.as_bytes());
        put(header + 8, &n(data.len()));
        put(header + 12, &n(*address));
        put(header + 16, &n(data.len().next_multiple_of(alignments.1)));
        put(header + 20, &n(*at));
        put(header + 36, &characteristics.to_le_bytes());
        put(*at, data);
    }
    b
}

/// The smallest EFI program with one section, `.sbat`, and headers of the given length.
#[must_use]
pub fn program(headers_len: usize, sbat: &str) -> Vec<u8> {
    of_sections(headers_len, (4096, 512), &[(".sbat", 4096, headers_len, sbat.as_bytes(), 0)])
}

/// The same with a data directory that has an entry for a signature.
#[must_use]
pub fn signable(mut program: Vec<u8>) -> Vec<u8> {
    program[0x40 + 24 + 108] = 16;
    program
}
