//! What a running guest has said so far, and waiting for more of it.
//!
//! Two threads feed a [`Watch`]: one reads the serial console, one QEMU's control socket. A waiting thread sleeps on a
//! condition variable, so it wakes with the line that carries the answer and polls no clock.
//!
//! The two sources have no common order. A reset has a place in the console all the same: QEMU reports it while its guest
//! stands still, so the bytes in the console's pipe at that moment are those of the guest before the reset.

use crate::qmp::Event;
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, ioctl_fionread},
};
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read, Write as _},
    os::fd::{AsFd, OwnedFd},
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
    /// Events of QEMU's control socket, oldest first.
    pub(crate) events: Vec<Event>,
    /// The serial console has ended: QEMU is gone or going.
    pub(crate) closed: bool,
    /// Cuts the console into lines.
    decoder: Lines,
    /// Bytes of the console so far.
    bytes: u64,
    /// Where in the console the resets are whose text before is not read yet.
    resets: VecDeque<u64>,
    /// For each reset, the first line after it.
    starts: Vec<usize>,
    /// The console's pipe.
    pipe: Option<OwnedFd>,
}

impl Seen {
    /// How often the machine was reset.
    pub(crate) fn restarts(&self) -> usize {
        self.starts.len()
    }

    /// As [`restarts`](Self::restarts), with those whose text before is not read yet.
    pub(crate) fn resets(&self) -> usize {
        self.starts.len() + self.resets.len()
    }

    /// Finished lines of the guest between one reset, or power-on, and the next.
    pub(crate) fn lines_of(&self, restart: usize) -> &[String] {
        let start = |n: usize| if n == 0 { Some(0) } else { self.starts.get(n - 1).copied() };
        let end = start(restart + 1).unwrap_or(self.lines.len());
        start(restart).map_or(&[], |start| &self.lines[start..end])
    }

    /// Finished lines since the last reset.
    pub(crate) fn now(&self) -> &[String] {
        self.lines_of(self.restarts())
    }

    /// The line being written, such as a login prompt.
    pub(crate) fn partial(&self) -> &str {
        self.decoder.unfinished()
    }

    /// The console has said this since the last reset.
    pub(crate) fn says(&self, text: &str) -> bool {
        self.now().iter().any(|l| l.contains(text)) || self.partial().contains(text)
    }

    /// Adds an event that QEMU has reported.
    pub(crate) fn event(&mut self, event: Event) {
        if event.name == RESET {
            // Where the pipe cannot say how much it holds, the console's text up to now must do.
            let unread = self.pipe.as_ref().map_or(0, |pipe| ioctl_fionread(pipe).unwrap_or(0));
            self.resets.push_back(self.bytes + unread);
            self.settle();
        }
        self.events.push(event);
    }

    /// The console has gone on.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let left = self.resets.front().map_or(u64::MAX, |reset| reset - self.bytes);
            let n = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let (before, after) = bytes.split_at(n);
            let finished = self.decoder.push(before);
            self.lines.extend(finished);
            self.bytes += n as u64;
            bytes = after;
            self.settle();
        }
    }

    /// Notes the resets that the console has come to.
    fn settle(&mut self) {
        while self.resets.front().is_some_and(|&reset| reset <= self.bytes) {
            self.resets.pop_front();
            self.lines.extend(self.decoder.cut());
            self.starts.push(self.lines.len());
        }
    }
}

/// QEMU's event of a machine that starts anew. There is none for its first start.
pub(crate) const RESET: &str = "RESET";

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
    pub(crate) fn feed_serial(&self, mut serial: impl Read + AsFd, mut log: File, mut on_line: Option<OnLine>) {
        self.look().pipe = serial.as_fd().try_clone_to_owned().ok();
        let mut told = 0;
        let mut buffer = [0; 4096];
        loop {
            match poll(&mut [PollFd::new(&serial, PollFlags::IN)], None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(_) => break,
            }
            // Read with the state in hand, so that every byte is either in the pipe or in the state. It does not block.
            let mut seen = self.look();
            let n = match serial.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            seen.take(&buffer[..n]);
            let news = seen.lines[told..].to_vec();
            told += news.len();
            drop(seen);
            self.0.1.notify_all();
            // A full disk must not stop the guest's console; the lines in memory still tell the story.
            let _ = log.write_all(&buffer[..n]);
            if let Some(on_line) = &mut on_line {
                news.iter().for_each(|l| on_line(l));
            }
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

    /// Ends the line that is not finished, where there is one: nothing of the next text belongs to it.
    fn cut(&mut self) -> Option<String> {
        self.bytes.clear();
        self.escape = Escape::Text;
        let line = std::mem::take(&mut self.line).trim_end().to_owned();
        (!line.is_empty()).then_some(line)
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
        let says = |text: &'static str| move |s: &Seen| s.says(text).then_some(s.lines.len());
        assert_eq!(watch.until(deadline, says("login:")), Some(1));
        assert_eq!(watch.until(Instant::now(), says("three")), None);
        drop(writer);
        thread.join().unwrap();
        assert!(watch.look().closed);
    }

    fn reset() -> Event {
        Event { name: RESET.to_owned(), data: serde_json::Value::Null }
    }

    #[test]
    fn what_is_in_the_pipe_at_a_reset_is_of_the_guest_before_it() {
        let watch = Watch::default();
        let (mut reader, mut writer) = io::pipe().unwrap();
        watch.look().pipe = reader.as_fd().try_clone_to_owned().ok();
        writer.write_all(b"old\nReset").unwrap();
        watch.change(|seen| seen.event(reset()));
        assert_eq!(watch.look().restarts(), 0, "its text is not read yet");
        writer.write_all(b"\x1b[2Jnew\nlogin: ").unwrap();
        let mut buffer = [0; 64];
        let n = reader.read(&mut buffer).unwrap();
        watch.change(|seen| seen.take(&buffer[..n]));
        let seen = watch.look();
        assert_eq!(
            (seen.restarts(), seen.lines_of(0), seen.now()),
            (1, &["old".into(), "Reset".into()][..], &["new".into()][..])
        );
        assert!(seen.says("login:") && seen.says("new") && !seen.says("old"));
        assert!(seen.lines_of(2).is_empty());
    }

    #[test]
    fn a_reset_of_a_quiet_guest_counts_at_once() {
        let watch = Watch::default();
        let (reader, mut writer) = io::pipe().unwrap();
        let log = tempfile::tempfile().unwrap();
        let (feeder, (tell, told)) = (watch.clone(), std::sync::mpsc::channel());
        let on_line: OnLine = Box::new(move |line| tell.send(line.to_owned()).unwrap());
        let thread = thread::spawn(move || feeder.feed_serial(reader, log, Some(on_line)));
        writer.write_all(b"one\n").unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        watch.until(deadline, |s| s.says("one").then_some(())).unwrap();
        for n in 1..=2 {
            watch.change(|seen| seen.event(reset()));
            assert_eq!(watch.look().restarts(), n);
        }
        assert!(watch.look().now().is_empty());
        drop(writer);
        thread.join().unwrap();
        assert_eq!(told.iter().collect::<Vec<_>>(), ["one"]);
    }
}
