use crate::{
    Event, How, Sink, StepId, Unit,
    render::{LONG, about, human, line},
};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use types::count;

/// The live view: a bar for the whole, below it a line for each running step, with a bar where its progress is known.
pub struct Terminal {
    view: MultiProgress,
    state: Mutex<State>,
    verbose: bool,
}

struct State {
    whole: ProgressBar,
    steps: BTreeMap<StepId, ProgressBar>,
    cached: u64,
    left: Option<Duration>,
}

impl State {
    /// Puts the number of cached steps and the time that is left beside the bar of the whole.
    fn say(&self) {
        let left = self.left.map(|left| format!(", at most about {} left", about(left))).unwrap_or_default();
        self.whole.set_message(format!("({} cached{left})", self.cached));
    }
}

const WHOLE: &str = "{bar:24} {pos}/{len} steps {msg} {elapsed}";
const IDLE: &str = "  {spinner} {prefix} {elapsed} {wide_msg}";
const BYTES: &str = "  {spinner} {prefix} {elapsed} {bar:16} {bytes}/{total_bytes} {wide_msg}";
const ITEMS: &str = "  {spinner} {prefix} {elapsed} {bar:16} {pos}/{len} {wide_msg}";

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━━╌")
}

impl Terminal {
    /// Draws on standard error. `verbose` also tells cached steps and log lines, above the bars.
    #[must_use]
    pub fn new(verbose: bool) -> Self {
        Self::with_target(ProgressDrawTarget::stderr(), verbose)
    }

    /// Draws elsewhere.
    #[must_use]
    pub fn with_target(target: ProgressDrawTarget, verbose: bool) -> Self {
        let view = MultiProgress::with_draw_target(target);
        let whole = ProgressBar::hidden();
        Self { view, state: Mutex::new(State { whole, steps: BTreeMap::new(), cached: 0, left: None }), verbose }
    }

    /// The bars, for a caller that has bars of its own to add (downloads) or lines to print above them.
    #[must_use]
    pub fn view(&self) -> &MultiProgress {
        &self.view
    }
}

impl Sink for Terminal {
    fn event(&self, event: &Event) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Plan { total } => {
                state.whole = self.view.add(ProgressBar::new(*total as u64).with_style(style(WHOLE)));
            }
            Event::Started { id, usual } => {
                let of = if *usual >= LONG { format!(" (usually {})", about(*usual)) } else { String::new() };
                let bar = ProgressBar::new_spinner().with_style(style(IDLE)).with_prefix(format!("{id}{of}"));
                let bar = self.view.add(bar);
                bar.enable_steady_tick(Duration::from_millis(100));
                state.steps.insert(id.clone(), bar);
            }
            Event::Progress { id, done, total, unit } => {
                if let Some(bar) = state.steps.get(id).filter(|_| *total > 0) {
                    if bar.length() != Some(*total) {
                        bar.set_style(style(match unit {
                            Unit::Bytes => BYTES,
                            Unit::Items => ITEMS,
                        }));
                        bar.set_length(*total);
                    }
                    bar.set_position(*done);
                }
            }
            Event::Log { id, line } => {
                if let Some(bar) = state.steps.get(id) {
                    bar.set_message(line.clone());
                }
            }
            Event::Finished { id, how, .. } => {
                if let Some(bar) = state.steps.remove(id) {
                    bar.finish_and_clear();
                    self.view.remove(&bar);
                }
                if *how != How::Ran {
                    state.cached += 1;
                    state.say();
                }
                state.whole.inc(1);
            }
            Event::Pulse { left, .. } => {
                state.left = Some(*left);
                state.say();
            }
            Event::Failed { failure } => {
                if let Some(bar) = state.steps.remove(&failure.id) {
                    bar.finish_and_clear();
                    self.view.remove(&bar);
                }
            }
            Event::Summary { .. } => {
                for bar in std::mem::take(&mut state.steps).into_values() {
                    bar.finish_and_clear();
                }
                state.whole.finish_and_clear();
            }
        }
        let line = match event {
            // the line of the step says so already
            Event::Started { .. } => None,
            Event::Summary { ran: 0, cached, failed: 0, skipped: 0, duration, .. } => {
                Some(format!("nothing to do: {} cached, looked in {}", count(*cached, "step"), human(*duration)))
            }
            event => line(event, self.verbose),
        };
        if let Some(line) = line {
            // println draws above the bars; it fails only when the terminal is gone
            let _ = self.view.println(line);
        }
    }
}
