//! How events are shown: one stream, three renderings.

use crate::cli::{Common, LogFormat};
use graph::{Event, Sink, render};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::{self, IsTerminal as _},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};
use types::{Bytes, count};

enum View {
    Terminal(render::Terminal),
    Plain(render::Plain<io::Stderr>),
    Json(render::Json<io::Stdout>),
}

/// The listener of a session.
pub(crate) struct Events {
    view: View,
    /// The bar of a download.
    bar: Mutex<Option<ProgressBar>>,
    /// The download, where there is no bar.
    log: Mutex<Downloads>,
}

/// How far the downloads are, for a log: a line for each tenth.
#[derive(Default)]
struct Downloads {
    total: u64,
    received: u64,
    start: Option<Instant>,
}

impl Downloads {
    /// Adds bytes; the line to write when they complete a tenth of all.
    fn received(&mut self, bytes: u64) -> Option<String> {
        let tenth = |bytes: u64| (bytes * 10).checked_div(self.total).unwrap_or(10);
        let before = tenth(self.received);
        self.received += bytes;
        let seconds = self.start?.elapsed().as_secs_f64();
        let per_second = Bytes((self.received as f64 / seconds.max(0.1)) as u64);
        (tenth(self.received) > before)
            .then(|| format!("fetched {} of {}, {per_second} a second", Bytes(self.received), Bytes(self.total)))
    }
}

impl Events {
    pub(crate) fn new(common: &Common) -> Self {
        let view = match common.log_format {
            LogFormat::Auto if io::stderr().is_terminal() => View::Terminal(render::Terminal::new(common.verbose)),
            LogFormat::Auto | LogFormat::Plain => View::Plain(render::Plain::new(io::stderr(), common.verbose)),
            LogFormat::Json => View::Json(render::Json::new(io::stdout())),
        };
        Self { view, bar: Mutex::new(None), log: Mutex::default() }
    }

    /// Says a line on stderr, not disturbing bars.
    pub(crate) fn say(&self, line: &str) {
        match &self.view {
            // a terminal that is gone is no reason to fail
            View::Terminal(terminal) => drop(terminal.view().println(line)),
            View::Plain(_) | View::Json(_) => eprintln!("{line}"),
        }
    }

    /// Shows a download.
    pub(crate) fn fetch(&self, event: fetch::Event<'_>) {
        let mut bar = locked(&self.bar);
        match event {
            fetch::Event::Plan { files, bytes } => {
                let text = format!("fetching {}, {bytes}", count(files, "input"));
                if let View::Terminal(terminal) = &self.view {
                    let style =
                        ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
                    let new = terminal.view().add(ProgressBar::new(bytes.0));
                    new.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                    new.set_message(text);
                    *bar = Some(new);
                } else {
                    let start = Some(Instant::now());
                    *locked(&self.log) = Downloads { total: bytes.0, received: 0, start };
                    self.say(&text);
                }
            }
            fetch::Event::Received { bytes } => {
                if let Some(bar) = bar.as_ref() {
                    bar.inc(bytes.0);
                    if bar.position() >= bar.length().unwrap_or(u64::MAX) {
                        bar.finish_and_clear();
                    }
                } else if let Some(line) = locked(&self.log).received(bytes.0) {
                    self.say(&line);
                }
            }
            fetch::Event::Trouble { name, place, said } => self.say(&format!("{name}: {place}: {said}; trying on")),
            fetch::Event::Done { .. } => {}
        }
    }
}

fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink for Events {
    fn event(&self, event: &Event) {
        match &self.view {
            View::Terminal(view) => view.event(event),
            View::Plain(view) => view.event(event),
            View::Json(view) => view.event(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_a_line_for_each_tenth_of_a_download() {
        let mut downloads = Downloads { total: 1000, received: 0, start: Some(Instant::now()) };
        let lines: Vec<_> = [99, 1, 50, 350, 500].into_iter().filter_map(|bytes| downloads.received(bytes)).collect();
        let starts: Vec<_> = lines.iter().map(|line| line.split(',').next().unwrap_or_default()).collect();
        assert_eq!(starts, ["fetched 100 B of 1.0 kB", "fetched 500 B of 1.0 kB", "fetched 1.0 kB of 1.0 kB"]);
    }
}
