//! Lines in the kernel's log, which reaches the consoles and, later, the journal.

use std::{fs, io::Write as _};

/// Progress.
pub(crate) fn info(text: &str) {
    line(6, text);
}

/// Something is wrong, and the start goes on.
pub(crate) fn warning(text: &str) {
    line(4, text);
}

/// The start has failed; shown on the consoles even with `quiet`.
pub(crate) fn failure(text: &str) {
    line(2, text);
}

fn line(level: u8, text: &str) {
    // one record takes about 1000 bytes (kernel, `LOG_LINE_MAX`)
    let mut end = text.len().min(900);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let line = format!("<{level}>evek-init: {}\n", &text[..end]);
    let written = fs::OpenOptions::new().write(true).open("/dev/kmsg").and_then(|mut f| f.write_all(line.as_bytes()));
    if written.is_err() {
        // before /dev is there, or where the log is full
        eprintln!("evek-init: {text}");
    }
}
