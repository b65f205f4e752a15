//! How long a source is waited for. No server can hold up an update for ever:
//!
//! ```text
//!  no answer     connect, answer    a connection, the headers of an answer
//!  silence       silence            between two reads
//!  a slow drip   least in window    too few bytes in a time that is spent on reading
//!  short bodies  tries, progress    a connection that ends early is one try of a few, until enough bytes have come
//! ```
//! Time that the owner's own limit takes is not counted (`limit`).

use std::{
    io::{self, Read},
    time::{Duration, Instant},
};
use types::Bytes;

/// The limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    /// For a name to be resolved, and for a connection.
    pub(crate) connect: Duration,
    /// For all headers of an answer.
    pub(crate) answer: Duration,
    /// Between two reads.
    pub(crate) silence: Duration,
    /// In this time …
    pub(crate) window: Duration,
    /// … so much must come.
    pub(crate) least: Bytes,
    /// For a whole document.
    pub(crate) document: Duration,
    /// Connections that bring too little before a source is given up.
    pub(crate) tries: u32,
    /// The pause before the second; each is twice the one before.
    pub(crate) pause: Duration,
    /// Bytes after which the tries start anew.
    pub(crate) progress: Bytes,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            answer: Duration::from_secs(60),
            silence: Duration::from_secs(60),
            window: Duration::from_secs(60),
            least: Bytes(16 << 10),
            document: Duration::from_secs(300),
            tries: 6,
            pause: Duration::from_secs(1),
            progress: Bytes(256 << 10),
        }
    }
}

impl Patience {
    /// A reader that fails when too little comes in a window.
    pub(crate) const fn steady<R>(&self, inner: R) -> Steady<R> {
        Steady { inner, window: self.window, least: self.least, spent: Duration::ZERO, came: 0, left: None }
    }

    /// The same for a document, with a time for the whole.
    pub(crate) fn document<R>(&self, inner: R) -> Steady<R> {
        Steady { left: Some(self.document), ..self.steady(inner) }
    }
}

/// See [`Patience::steady`].
#[derive(Debug)]
pub(crate) struct Steady<R> {
    inner: R,
    window: Duration,
    least: Bytes,
    /// Time spent in this window, and bytes that came in it.
    spent: Duration,
    came: u64,
    /// Time that is left for the whole.
    left: Option<Duration>,
}

impl<R: Read> Read for Steady<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let begin = Instant::now();
        let len = self.inner.read(buf)?;
        let time = begin.elapsed();
        self.spent += time;
        self.came += len as u64;
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(time);
            if left.is_zero() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it takes too long"));
            }
        }
        if self.spent < self.window {
            return Ok(len);
        }
        if self.came < self.least.0 && len > 0 {
            let text = format!("only {} came in {} s", Bytes(self.came), self.spent.as_secs_f32().round());
            return Err(io::Error::new(io::ErrorKind::TimedOut, text));
        }
        (self.spent, self.came) = (Duration::ZERO, 0);
        Ok(len)
    }
}
