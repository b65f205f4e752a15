//! The life of one app: started, watched, started again, stopped.
//!
//! ```text
//!            start                     ends by itself, to be started again
//! stopped ─────────► starting ─► running ──────────────────────────────► waiting ─► starting …
//!    ▲                              │ stop          └─ not again ─► ended
//!    └────────── stopping ◄─────────┘
//! ```

use crate::{
    console::Console,
    error::Error,
    hypervisor::{End, Guest, Hypervisor, Order, Running},
    status::{AppStatus, State},
};
use app::Restart;
use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::mpsc::Receiver,
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

/// What an operator wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Start,
    Stop,
}

/// What an app has to be run: its files, and how its last run ended.
pub(crate) trait Stage {
    /// Makes everything ready.
    fn prepare(&self) -> Result<Guest, Error>;
    /// What is known of an end beside what the hypervisor says.
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

/// Whether an app that has ended by itself is started again.
fn again(restart: Restart, end: &End) -> bool {
    match restart {
        Restart::Always => true,
        Restart::OnFailure => *end != End::Off,
        Restart::Never => false,
    }
}

/// How a run is over.
enum Over {
    /// By itself.
    Ended(End),
    /// By an operator's wish.
    Stopped,
}

impl<S: Stage> Life<'_, S> {
    /// Lives until nobody can wish anything any more; then it is stopped.
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
        let Running { output, input, orders, mut end, facts } = running;
        self.console.connect(output, input);
        self.note(|status| (status.state, status.run) = (State::Running, Some(facts)));
        loop {
            tokio::select! {
                end = &mut end => return self.over(self.stage.judge(end.unwrap_or_else(lost))),
                wish = self.wishes.recv() => match wish {
                    Some(Wish::Start) => {}
                    Some(Wish::Stop) | None => break,
                },
            }
        }
        self.note(|status| status.state = State::Stopping);
        // it may be ending by itself just now: its end comes in any case
        let _ = orders.send(Order::PowerButton).await;
        let end = match timeout(POWER_OFF_WITHIN, &mut end).await {
            Ok(end) => self.stage.judge(end.unwrap_or_else(lost)),
            Err(_) => {
                let _ = orders.send(Order::Kill).await;
                let _ = end.await;
                End::Failed(format!("was ended {} s after it was told to stop", POWER_OFF_WITHIN.as_secs()))
            }
        };
        self.over(end);
        Over::Stopped
    }

    /// Notes an end.
    fn over(&self, end: End) -> Over {
        let said = format!("\r\n[vmm: {end}]\r\n");
        self.console.said(said.as_bytes());
        self.note(|status| {
            eprintln!("{}: {end}", status.name);
            (status.run, status.last_end) = (None, Some(end.to_string()));
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

fn lost<E>(_: E) -> End {
    End::Failed("the hypervisor has lost it".to_owned())
}

/// Waits for something, but no longer than a stop may take.
pub(crate) async fn stopped(stop: impl Future) {
    // whoever is left is ended with this service
    let _ = timeout(POWER_OFF_WITHIN + Duration::from_secs(2), stop).await;
}

#[cfg(test)]
#[path = "life_tests.rs"]
#[allow(clippy::unwrap_used)]
mod tests;
