use crate::{Event, Sink, render::line};
use std::{
    io::Write,
    sync::{Mutex, PoisonError},
};

/// One line for each thing worth telling, for logs and for terminals that cannot do more.
pub struct Plain<W> {
    out: Mutex<W>,
    verbose: bool,
}

impl<W: Write> Plain<W> {
    /// Writes to `out`, which is standard error outside tests; `verbose` also tells cached steps and log lines.
    pub fn new(out: W, verbose: bool) -> Self {
        Self { out: Mutex::new(out), verbose }
    }

    /// The writer.
    pub fn into_inner(self) -> W {
        self.out.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write + Send> Sink for Plain<W> {
    fn event(&self, event: &Event) {
        if let Some(line) = line(event, self.verbose) {
            // nobody is left to tell when standard error is closed
            let _ = writeln!(self.out.lock().unwrap_or_else(PoisonError::into_inner), "{line}");
        }
    }
}
