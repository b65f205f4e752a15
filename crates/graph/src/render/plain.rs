use crate::{
    Event, Sink,
    render::{line, pulse},
};
use std::{
    io::Write,
    sync::{Mutex, PoisonError},
};

/// One line for each thing worth telling, for logs and for terminals that cannot do more.
pub struct Plain<W> {
    out: Mutex<Out<W>>,
    verbose: bool,
}

struct Out<W> {
    to: W,
    /// Pulses since the last line.
    silent: u32,
}

/// After this many pulses without a line, the log says how far the run is: half a minute with the usual pulse.
const SILENT: u32 = 3;

impl<W: Write> Plain<W> {
    /// Writes to `out`, which is standard error outside tests; `verbose` also tells cached steps and log lines.
    pub fn new(out: W, verbose: bool) -> Self {
        Self { out: Mutex::new(Out { to: out, silent: 0 }), verbose }
    }

    /// The writer.
    pub fn into_inner(self) -> W {
        self.out.into_inner().unwrap_or_else(PoisonError::into_inner).to
    }
}

impl<W: Write + Send> Sink for Plain<W> {
    fn event(&self, event: &Event) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let line = match event {
            Event::Pulse { running, done, total, left } => {
                out.silent += 1;
                (out.silent >= SILENT).then(|| pulse(running, *done, *total, *left))
            }
            event => line(event, self.verbose),
        };
        if let Some(line) = line {
            out.silent = 0;
            // a closed standard error has no reader, and is no reason to stop the build
            let _ = writeln!(out.to, "{line}");
        }
    }
}
