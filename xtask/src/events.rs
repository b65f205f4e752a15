//! How events are shown: one stream, three renderings.

use crate::cli::{Common, LogFormat};
use graph::{Event, Sink, render};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::{self, IsTerminal as _},
    sync::Mutex,
};

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
}

impl Events {
    pub(crate) fn new(common: &Common) -> Self {
        let view = match common.log_format {
            LogFormat::Auto if io::stderr().is_terminal() => View::Terminal(render::Terminal::new(common.verbose)),
            LogFormat::Auto | LogFormat::Plain => View::Plain(render::Plain::new(io::stderr(), common.verbose)),
            LogFormat::Json => View::Json(render::Json::new(io::stdout())),
        };
        Self { view, bar: Mutex::new(None) }
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
        let mut bar = self.bar.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match event {
            fetch::Event::Plan { files, bytes } => {
                let text = format!("fetching {files} inputs, {bytes}");
                if let View::Terminal(terminal) = &self.view {
                    let style =
                        ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
                    let new = terminal.view().add(ProgressBar::new(bytes.0));
                    new.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                    new.set_message(text);
                    *bar = Some(new);
                } else {
                    self.say(&text);
                }
            }
            fetch::Event::Received { bytes } => {
                if let Some(bar) = bar.as_ref() {
                    bar.inc(bytes.0);
                    if bar.position() >= bar.length().unwrap_or(u64::MAX) {
                        bar.finish_and_clear();
                    }
                }
            }
            fetch::Event::Trouble { name, place, said } => self.say(&format!("{name}: {place}: {said}; trying on")),
            fetch::Event::Done { .. } => {}
        }
    }
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
