//! Lives under a hypervisor that ends its guests as a test wants, on a clock that does not make anyone wait.

use super::*;
use crate::hypervisor::{Boot, Card, Facts, NatNetwork, Starting};
use std::{cell::RefCell, collections::VecDeque};
use tokio::sync::{mpsc, oneshot};
use types::Bytes;

/// How a run goes.
#[derive(Debug, Clone)]
enum Run {
    Ends(Duration, End),
    UntilPowerButton,
    /// Paused after a second, and going on after another.
    Pauses,
    /// Paused for ever.
    PausedAt(Duration),
    Deaf,
    DoesNotStart,
}

struct Fake(RefCell<VecDeque<Run>>);

impl Hypervisor for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }
    fn console(&self) -> &'static str {
        "ttyS0"
    }
    fn uefi(&self) -> Option<&'static str> {
        None
    }
    fn nat(&self, _: &Card) -> NatNetwork {
        unreachable!("nothing is prepared here")
    }
    fn start<'a>(&'a self, _: &'a Guest) -> Starting<'a> {
        let run = self.0.borrow_mut().pop_front().unwrap_or(Run::UntilPowerButton);
        Box::pin(async move {
            if matches!(run, Run::DoesNotStart) {
                return Err(Error::Refused("no such bridge".into()));
            }
            let (orders, mut inbox) = mpsc::channel(4);
            let (tell, end) = oneshot::channel();
            let (pause, pauses) = watch::channel(None);
            tokio::spawn(async move {
                let end = match run {
                    Run::Ends(after, end) => {
                        sleep(after).await;
                        end
                    }
                    Run::Pauses => {
                        for why in [Some(Pause::NoSpace), None] {
                            sleep(Duration::from_secs(1)).await;
                            pause.send(why).unwrap();
                        }
                        inbox.recv().await;
                        End::Off
                    }
                    Run::PausedAt(after) => {
                        sleep(after).await;
                        pause.send(Some(Pause::NoSpace)).unwrap();
                        inbox.recv().await;
                        End::Failed("was paused".into())
                    }
                    Run::Deaf => {
                        while !matches!(inbox.recv().await, Some(Order::Kill) | None) {}
                        End::Failed("killed".into())
                    }
                    _ => {
                        assert_eq!(inbox.recv().await, Some(Order::PowerButton));
                        End::Off
                    }
                };
                let _ = tell.send(end);
            });
            let facts = Facts { acceleration: "tcg".into(), ..Facts::default() };
            let (output, input) = (Box::new(tokio::io::empty()), Box::new(tokio::io::sink()));
            Ok(Running { output, input, orders, end, pauses, facts })
        })
    }
}

struct Nothing;
impl Stage for Nothing {
    fn prepare(&self) -> Result<Guest, Error> {
        Ok(Guest {
            name: "web".into(),
            uuid: String::new(),
            uid: 0,
            cpus: 1,
            memory: Bytes::mib(64),
            boot: Boot::Linux { kernel: "/k".into(), initrd: None, cmdline: String::new() },
            disks: vec![],
            cards: vec![],
            tpm: None,
            run: "/run".into(),
        })
    }
    fn judge(&self, end: End) -> End {
        end
    }
}

/// Lives an app through these runs for some time, with wishes at their times; then how it is.
async fn lived(restart: Restart, runs: &[Run], wishes: &[(u64, Wish)], seconds: u64) -> AppStatus {
    let fake = Fake(RefCell::new(runs.iter().cloned().collect()));
    let status = Arc::new(Mutex::new(AppStatus { name: "web".into(), ..AppStatus::default() }));
    let (wish, inbox) = mpsc::channel(4);
    let life = Life {
        stage: Nothing,
        restart,
        hypervisor: &fake,
        console: Console::new(),
        status: Arc::clone(&status),
        wishes: inbox,
    };
    let begin = Instant::now();
    let operator = async {
        for (at, what) in wishes {
            tokio::time::sleep_until(begin + Duration::from_secs(*at)).await;
            wish.send(*what).await.unwrap();
        }
        // between what happens at whole seconds
        tokio::time::sleep_until(begin + Duration::from_millis(seconds * 1000 + 500)).await;
    };
    tokio::select! {
        () = life.live(true) => panic!("it lives as long as there is an operator"),
        () = operator => {}
    }
    status.lock().unwrap().clone()
}

fn off(seconds: u64) -> Run {
    Run::Ends(Duration::from_secs(seconds), End::Off)
}

fn fails(seconds: u64) -> Run {
    Run::Ends(Duration::from_secs(seconds), End::Failed("signal 9".into()))
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_killed_guest_runs_again_after_a_pause() {
    let status = lived(Restart::Always, &[fails(10)], &[], 10).await;
    assert_eq!((status.state, status.last_end.as_deref()), (State::Waiting, Some("signal 9")));
    let status = lived(Restart::Always, &[fails(10)], &[], 12).await;
    assert_eq!((status.state, status.restarts), (State::Running, 1));
    assert_eq!(status.run.unwrap().acceleration, "tcg");
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn pauses_grow_with_bad_runs_and_begin_anew_after_a_good_one() {
    let mut pauses = Pauses::default();
    let seconds: Vec<u64> = (0..8).map(|_| pauses.next(Duration::ZERO).as_secs()).collect();
    assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(pauses.next(GOOD_RUN), FIRST_PAUSE);
    // four runs of no length, with pauses of 1, 2, 4 and 8 seconds
    let bad = [fails(0), fails(0), Run::DoesNotStart, fails(0)];
    assert_eq!(lived(Restart::Always, &bad, &[], 14).await.state, State::Waiting);
    assert_eq!(lived(Restart::Always, &bad, &[], 16).await.restarts, 4);
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn the_declaration_says_whether_an_end_is_the_end() {
    for (restart, run, expected) in [
        (Restart::Always, off(1), State::Running),
        (Restart::OnFailure, off(1), State::Ended),
        (Restart::OnFailure, fails(1), State::Running),
        (Restart::OnFailure, Run::DoesNotStart, State::Running),
        (Restart::Never, fails(1), State::Ended),
    ] {
        let status = lived(restart, std::slice::from_ref(&run), &[], 10).await;
        assert_eq!(status.state, expected, "{restart:?} {run:?}");
    }
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_stopped_app_stays_stopped_until_it_is_started() {
    let status = lived(Restart::Always, &[], &[(5, Wish::Stop)], 100).await;
    assert_eq!((status.state, status.last_end.as_deref()), (State::Stopped, Some("switched itself off")));
    let status = lived(Restart::Always, &[], &[(5, Wish::Stop), (9, Wish::Start)], 10).await;
    assert_eq!((status.state, status.restarts), (State::Running, 0));
    let status = lived(Restart::Always, &[fails(5)], &[(5, Wish::Stop)], 100).await;
    assert_eq!(status.state, State::Stopped, "during the pause, too");
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_guest_that_hears_no_power_button_is_ended() {
    let status = lived(Restart::Always, &[Run::Deaf], &[(5, Wish::Stop)], 29).await;
    assert_eq!(status.state, State::Stopping);
    let status = lived(Restart::Always, &[Run::Deaf], &[(5, Wish::Stop)], 31).await;
    assert_eq!(status.state, State::Stopped);
    assert_eq!(status.last_end.unwrap(), "was ended, because it had not switched itself off within 25 s");
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn status_says_why_a_guest_is_paused_and_that_it_goes_on() {
    let status = lived(Restart::Always, &[Run::Pauses], &[], 1).await;
    assert_eq!((status.state, status.paused.as_deref()), (State::Paused, Some("no space on P3")));
    assert!(status.run.is_some(), "it still has its memory");
    let status = lived(Restart::Always, &[Run::Pauses], &[], 2).await;
    assert_eq!((status.state, status.paused), (State::Running, None));
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn a_paused_guest_can_be_stopped() {
    let run = Run::PausedAt(Duration::from_secs(1));
    let status = lived(Restart::Always, &[run], &[(5, Wish::Stop)], 6).await;
    assert_eq!((status.state, status.paused), (State::Stopped, None));
    assert_eq!(status.last_end.as_deref(), Some("was paused"));
}

#[tokio::test(flavor = "current_thread", start_paused = true)]
async fn the_words_of_an_end_cannot_write_to_a_terminal() {
    let run = Run::Ends(Duration::ZERO, End::Failed("\x1b]0;title\x07".into()));
    let status = lived(Restart::Never, &[run], &[], 1).await;
    assert_eq!(status.last_end.as_deref(), Some("\\x1b]0;title\\x07"));
}
