//! The life of one app: started, watched, started again, stopped.
//!
//! ```text
//!                             paused
//!                               ▲│ P3 is full, has space again
//!            start              │▼        ends, and may start again
//! stopped ─────────► starting ─► running ──────────────────────────────► waiting ─► starting …
//!    ▲                              │ stop          └─ may not ─► ended
//!    └────────── stopping ◄─────────┘
//! ```

use crate::{
    console::Console,
    error::Error,
    hypervisor::{End, Guest, Hypervisor, Order, Pause, Running},
    status::{AppStatus, State},
    terminal,
};
use app::Restart;
use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc::Receiver, watch},
    time::{Instant, sleep, timeout},
};

/// How long a guest may take to switch itself off; shorter than what `svc` gives this service.
const POWER_OFF_WITHIN: Duration = Duration::from_secs(25);
/// The first pause before a restart; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A run of this length was a good one: pauses begin anew.
const GOOD_RUN: Duration = Duration::from_secs(120);

/// A wish of an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Start,
    Stop,
}

/// The parts of a run that depend on the declaration.
pub(crate) trait Stage {
    /// Makes everything ready.
    fn prepare(&self) -> Result<Guest, Error>;
    /// The end of a run, from the hypervisor's word and other sources.
    fn judge(&self, end: End) -> End;
}

/// One app, living.
pub(crate) struct Life<'a, S> {
    pub(crate) stage: S,
    pub(crate) restart: Restart,
    pub(crate) hypervisor: &'a dyn Hypervisor,
    pub(crate) console: Console,
    pub(crate) status: Arc<Mutex<AppStatus>>,
    pub(crate) wishes: Receiver<Wish>,
}

/// Pauses that grow with every bad run.
#[derive(Debug, Default)]
struct Pauses {
    last: Option<Duration>,
}

impl Pauses {
    /// The pause after a run of this length.
    fn next(&mut self, ran: Duration) -> Duration {
        let pause = match self.last {
            Some(last) if ran < GOOD_RUN => (last * 2).min(LONGEST_PAUSE),
            _ => FIRST_PAUSE,
        };
        self.last = Some(pause);
        pause
    }
}

/// Whether an app that has ended starts again.
fn again(restart: Restart, end: &End) -> bool {
    match restart {
        Restart::Always => true,
        Restart::OnFailure => *end != End::Off,
        Restart::Never => false,
    }
}

/// How a run is over.
enum Over {
    /// Without a wish of an operator.
    Ended(End),
    /// By an operator's wish.
    Stopped,
}

impl<S: Stage> Life<'_, S> {
    /// Lives until the channel of wishes closes; then it stops.
    pub(crate) async fn live(mut self, mut wanted: bool) {
        let mut pauses = Pauses::default();
        loop {
            if !wanted {
                match self.wishes.recv().await {
                    Some(Wish::Start) => pauses = Pauses::default(),
                    Some(Wish::Stop) => {
                        self.note(|status| status.state = State::Stopped);
                        continue;
                    }
                    None => return,
                }
            }
            let began = Instant::now();
            let over = self.run().await;
            wanted = match over {
                Over::Stopped => {
                    self.note(|status| status.state = State::Stopped);
                    false
                }
                Over::Ended(end) if again(self.restart, &end) => self.pause(pauses.next(began.elapsed())).await,
                Over::Ended(_) => {
                    self.note(|status| status.state = State::Ended);
                    false
                }
            };
        }
    }

    /// One run, from its preparation to its end.
    async fn run(&mut self) -> Over {
        self.note(|status| status.state = State::Starting);
        let started = match self.stage.prepare() {
            Ok(guest) => self.hypervisor.start(&guest).await,
            Err(e) => Err(e),
        };
        let running = match started {
            Ok(running) => running,
            Err(e) => return self.over(End::Failed(e.to_string())),
        };
        let Running { output, input, orders, mut end, mut pauses, facts } = running;
        self.console.connect(output, input);
        self.note(|status| (status.state, status.run) = (State::Running, Some(facts)));
        loop {
            tokio::select! {
                end = &mut end => return self.over(self.stage.judge(end.unwrap_or_else(lost))),
                wish = self.wishes.recv() => match wish {
                    Some(Wish::Start) => {}
                    Some(Wish::Stop) | None => break,
                },
                pause = next_pause(&mut pauses) => self.paused(pause),
            }
        }
        self.note(|status| status.state = State::Stopping);
        // it may be ending just now: its end comes in any case
        let _ = orders.send(Order::PowerButton).await;
        let end = match timeout(POWER_OFF_WITHIN, &mut end).await {
            Ok(end) => self.stage.judge(end.unwrap_or_else(lost)),
            Err(_) => {
                let _ = orders.send(Order::Kill).await;
                let _ = end.await;
                End::Failed(format!(
                    "was ended, because it had not switched itself off within {} s",
                    POWER_OFF_WITHIN.as_secs()
                ))
            }
        };
        self.over(end);
        Over::Stopped
    }

    /// Notes that the hypervisor has paused the guest, or lets it go on.
    fn paused(&self, pause: Option<Pause>) {
        let text = pause.map_or_else(|| "goes on".to_owned(), |why| format!("paused: {why}"));
        self.console.write(format!("\r\n[vmm: {text}]\r\n").as_bytes());
        self.note(|status| {
            eprintln!("{}: {text}", status.name);
            status.state = if pause.is_some() { State::Paused } else { State::Running };
            status.paused = pause.map(|why| why.to_string());
        });
    }

    /// Notes an end. A guest may have chosen some of the words.
    fn over(&self, end: End) -> Over {
        let text = terminal::escape(&end.to_string());
        self.console.write(format!("\r\n[vmm: {text}]\r\n").as_bytes());
        self.note(|status| {
            eprintln!("{}: {text}", status.name);
            (status.run, status.paused, status.last_end) = (None, None, Some(text));
        });
        Over::Ended(end)
    }

    /// Waits before a restart; false when it is stopped meanwhile.
    async fn pause(&mut self, pause: Duration) -> bool {
        self.note(|status| status.state = State::Waiting);
        tokio::select! {
            () = sleep(pause) => {
                self.note(|status| status.restarts += 1);
                true
            }
            wish = self.wishes.recv() => {
                let again = wish == Some(Wish::Start);
                if !again {
                    self.note(|status| status.state = State::Stopped);
                }
                again
            }
        }
    }

    fn note(&self, change: impl FnOnce(&mut AppStatus)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The next change; none comes from a hypervisor that pauses no guests.
async fn next_pause(pauses: &mut watch::Receiver<Option<Pause>>) -> Option<Pause> {
    match pauses.changed().await {
        Ok(()) => *pauses.borrow_and_update(),
        Err(_) => std::future::pending().await,
    }
}

fn lost<E>(_: E) -> End {
    End::Failed("the hypervisor has lost it".to_owned())
}

/// Waits for something, but no longer than a stop may take.
pub(crate) async fn stopped(stop: impl Future) {
    // the end of this service ends guests that are left
    let _ = timeout(POWER_OFF_WITHIN + Duration::from_secs(2), stop).await;
}

#[cfg(test)]
#[path = "life_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
