use crate::{Event, Sink};
use std::{
    io::Write,
    sync::{Mutex, PoisonError},
};

/// Every event as one line of JSON, for programs.
pub struct Json<W> {
    out: Mutex<W>,
}

impl<W: Write> Json<W> {
    /// Writes to `out`, which is standard output outside tests.
    pub fn new(out: W) -> Self {
        Self { out: Mutex::new(out) }
    }

    /// The writer.
    pub fn into_inner(self) -> W {
        self.out.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write + Send> Sink for Json<W> {
    fn event(&self, event: &Event) {
        let Ok(mut line) = serde_json::to_vec(event) else { return };
        line.push(b'\n');
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // one write for each line, so that lines stay whole; a closed pipe is no reason to stop the build
        let _ = out.write_all(&line).and_then(|()| out.flush());
    }
}
