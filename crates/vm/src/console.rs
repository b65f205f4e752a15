//! What a running guest has said so far, and waiting for more of it.
//!
//! Two threads feed a [`Watch`]: one reads the serial console, one QEMU's control socket. Whoever waits sleeps on a
//! condition variable, so that an answer comes with the line that carries it and no clock is polled.

use crate::qmp::Event;
use std::{
    fs::File,
    io::{self, Read, Write as _},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Called with each finished line of the serial console, as it comes.
pub type OnLine = Box<dyn FnMut(&str) + Send>;

/// The state that the reading threads fill.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Finished lines of the serial console, without terminal control sequences.
    pub(crate) lines: Vec<String>,
    /// The line being written, such as a login prompt.
    pub(crate) partial: String,
    /// Events of QEMU's control socket, oldest first.
    pub(crate) events: Vec<Event>,
    /// The serial console has ended: QEMU is gone or going.
    pub(crate) closed: bool,
}

impl Seen {
    /// The index of the first line at or after `from` that contains `text`.
    pub(crate) fn find(&self, text: &str, from: usize) -> Option<usize> {
        let from = from.min(self.lines.len());
        let hit = self.lines[from..].iter().position(|l| l.contains(text)).map(|i| from + i);
        hit.or_else(|| self.partial.contains(text).then_some(self.lines.len()))
    }
}

/// [`Seen`], shared, with a bell that rings at every change.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watch(Arc<(Mutex<Seen>, Condvar)>);

impl Watch {
    /// A look at what was seen so far.
    pub(crate) fn look(&self) -> MutexGuard<'_, Seen> {
        // A reader that panicked leaves whole lines behind; they stay worth reading.
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes everybody.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.look());
        self.0.1.notify_all();
    }

    /// Waits until `answer` finds something; `None` when `deadline` passed first.
    pub(crate) fn until<T>(&self, deadline: Instant, mut answer: impl FnMut(&Seen) -> Option<T>) -> Option<T> {
        let mut seen = self.look();
        loop {
            if let Some(found) = answer(&seen) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return None;
            }
            seen = self.0.1.wait_timeout(seen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Reads the serial console to its end: every byte goes to `log`, every line to the watch and to `on_line`.
    pub(crate) fn feed_serial(&self, mut serial: impl Read, mut log: File, mut on_line: Option<OnLine>) {
        let mut decoder = Lines::default();
        let mut buffer = [0; 4096];
        loop {
            let n = match serial.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            // A full disk must not stop the guest's console; the lines in memory still tell the story.
            let _ = log.write_all(&buffer[..n]);
            let finished = decoder.push(&buffer[..n]);
            if let Some(on_line) = &mut on_line {
                finished.iter().for_each(|l| on_line(l));
            }
            self.change(|seen| {
                seen.lines.extend(finished);
                seen.partial.replace_range(.., decoder.unfinished());
            });
        }
        self.change(|seen| seen.closed = true);
    }
}

/// Cuts a terminal's bytes into lines of plain text.
///
/// Firmware positions the cursor with ECMA-48 control sequences (`ESC [ … letter`) and colours its text; a reader who
/// looks for words wants neither.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    line: String,
    bytes: Vec<u8>,
    escape: Escape,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Escape {
    #[default]
    Text,
    /// After ESC.
    Start,
    /// Within `ESC [ …`, up to a byte 0x40–0x7e.
    Sequence,
    /// Within `ESC ] …`, up to BEL.
    Command,
}

impl Lines {
    /// Takes more bytes; gives the lines that they finished.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut finished = Vec::new();
        for &b in bytes {
            self.escape = match (self.escape, b) {
                (Escape::Text, 0x1b) => Escape::Start,
                (Escape::Text, b'\n') => {
                    self.flush();
                    finished.push(std::mem::take(&mut self.line).trim_end().to_owned());
                    Escape::Text
                }
                (Escape::Text, b'\t' | b' '..) if b != 0x7f => {
                    self.bytes.push(b);
                    Escape::Text
                }
                (Escape::Start, b'[') => Escape::Sequence,
                (Escape::Start, b']') => Escape::Command,
                (Escape::Sequence, 0x40..=0x7e) | (Escape::Command, 0x07) | (Escape::Start | Escape::Text, _) => {
                    Escape::Text
                }
                (state, _) => state,
            };
        }
        self.flush();
        finished
    }

    /// The line that is not finished yet.
    pub(crate) fn unfinished(&self) -> &str {
        &self.line
    }

    /// Moves what is whole UTF-8 into the line; keeps the beginning of a cut character.
    fn flush(&mut self) {
        while !self.bytes.is_empty() {
            match std::str::from_utf8(&self.bytes) {
                Ok(text) => {
                    self.line.push_str(text);
                    self.bytes.clear();
                }
                Err(e) => {
                    let good = e.valid_up_to();
                    self.line.push_str(&String::from_utf8_lossy(&self.bytes[..good]));
                    let Some(bad) = e.error_len() else {
                        self.bytes.drain(..good);
                        return;
                    };
                    self.line.push(char::REPLACEMENT_CHARACTER);
                    self.bytes.drain(..good + bad);
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn control_sequences_and_carriage_returns_are_no_text() {
        let mut lines = Lines::default();
        assert_eq!(
            lines.push(b"\x1b[2J\x1b[01;01HBdsDxe: loading\r\n[\x1b[0;32m  OK  \x1b[0m] Star"),
            ["BdsDxe: loading"]
        );
        assert_eq!(lines.push("ted caf\u{e9}\n\x1b]0;title\x07log".as_bytes()), ["[  OK  ] Started caf\u{e9}"]);
        assert_eq!(lines.line, "log");
    }

    #[test]
    fn a_character_cut_between_two_reads_is_whole_and_bad_bytes_are_marked() {
        let mut lines = Lines::default();
        assert!(lines.push(b"caf\xc3").is_empty());
        assert_eq!(lines.push(b"\xa9 \xff!\n"), ["caf\u{e9} \u{fffd}!"]);
    }

    #[test]
    fn waiting_ends_with_the_line_and_not_with_the_clock() {
        let watch = Watch::default();
        let (reader, mut writer) = io::pipe().unwrap();
        let log = tempfile::tempfile().unwrap();
        let feeder = watch.clone();
        let thread = thread::spawn(move || feeder.feed_serial(reader, log, None));
        writer.write_all(b"one\ntwo login: ").unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        assert_eq!(watch.until(deadline, |s| s.find("login:", 0)), Some(1));
        assert_eq!(watch.until(Instant::now(), |s| s.find("three", 0)), None);
        drop(writer);
        thread.join().unwrap();
        assert!(watch.look().closed);
    }
}
