//! Renderings of the event stream: for a terminal, for a log, for programs.
//!
//! They know nothing of the engine but its [`Event`]s. How the errors of a run are shown is the caller's affair:
//! failures appear here as one line each.

mod json;
mod plain;
mod terminal;

pub use json::Json;
pub use plain::Plain;
pub use terminal::Terminal;

use crate::{Event, Running};
use std::time::Duration;
use types::count;

/// A step that usually runs as long as this is announced with its time.
const LONG: Duration = Duration::from_secs(10);

/// `0.3s`, `12.0s`, `2m05s`.
fn human(duration: Duration) -> String {
    match duration.as_secs() {
        s @ 0..60 => format!("{s}.{}s", duration.subsec_millis() / 100),
        s => format!("{}m{:02}s", s / 60, s % 60),
    }
}

/// `30s`, `7m`: as exact as an estimate is.
fn about(duration: Duration) -> String {
    match duration.as_secs() {
        s @ 0..90 => format!("{}s", s.next_multiple_of(10)),
        s => format!("{}m", s.div_ceil(60)),
    }
}

/// How far a run is, in one line.
fn pulse(running: &[Running], done: usize, total: usize, left: Duration) -> String {
    let names: Vec<_> =
        running.iter().map(|r| format!("{} {} of about {}", r.id, human(r.elapsed), about(r.usual))).collect();
    format!("still  {}; {done} of {} done, at most about {} left", names.join(", "), count(total, "step"), about(left))
}

/// The one line that stands for an event in a log; `None` for what is not worth one.
fn line(event: &Event, verbose: bool) -> Option<String> {
    use crate::How;
    Some(match event {
        Event::Plan { .. } | Event::Progress { .. } | Event::Pulse { .. } => return None,
        Event::Log { .. } if !verbose => return None,
        Event::Finished { how: How::Cached | How::Shared, .. } if !verbose => return None,
        Event::Started { id, usual } if *usual >= LONG => format!("start  {id}, usually {}", about(*usual)),
        Event::Started { id, .. } => format!("start  {id}"),
        Event::Log { id, line } => format!("  {id}: {line}"),
        Event::Finished { id, how: How::Ran, duration, .. } => format!("done   {id} {}", human(*duration)),
        Event::Finished { id, how: How::Cached, .. } => format!("cached {id}"),
        Event::Finished { id, how: How::Shared, .. } => format!("shared {id}"),
        Event::Failed { failure } => {
            let first = failure.error.lines().next().unwrap_or_default();
            format!("FAILED {}: {first}", failure.id)
        }
        Event::Summary { ran, cached, failed, skipped, cancelled, duration } => {
            let mut text = format!("{} ran, {cached} cached", count(*ran, "step"));
            for (n, what) in [(failed, "failed"), (skipped, "not reached")] {
                if *n > 0 {
                    text += &format!(", {n} {what}");
                }
            }
            if *cancelled {
                text += ", cancelled";
            }
            format!("{text} in {}", human(*duration))
        }
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::{How, Sink as _, Unit};
    use std::collections::BTreeMap;

    fn events() -> Vec<Event> {
        let outputs = BTreeMap::new();
        vec![
            Event::Plan { total: 3 },
            Event::Finished { id: "a".into(), how: How::Cached, duration: Duration::ZERO, outputs: outputs.clone() },
            Event::Started { id: "b".into(), usual: Duration::from_secs(100) },
            Event::Progress { id: "b".into(), done: 1, total: 2, unit: Unit::Bytes },
            Event::Log { id: "b".into(), line: "working".into() },
            Event::Finished { id: "b".into(), how: How::Ran, duration: Duration::from_millis(1234), outputs },
            Event::Summary {
                ran: 1,
                cached: 1,
                failed: 0,
                skipped: 1,
                cancelled: true,
                duration: Duration::from_secs(125),
            },
        ]
    }

    #[test]
    fn plain_tells_what_ran_and_counts_the_rest() {
        let plain = Plain::new(Vec::new(), false);
        events().iter().for_each(|e| plain.event(e));
        let text = String::from_utf8(plain.into_inner()).unwrap();
        assert_eq!(
            text,
            "start  b, usually 2m\ndone   b 1.2s\n1 step ran, 1 cached, 1 not reached, cancelled in 2m05s\n"
        );
        let plain = Plain::new(Vec::new(), true);
        events().iter().for_each(|e| plain.event(e));
        let text = String::from_utf8(plain.into_inner()).unwrap();
        assert!(text.starts_with("cached a\nstart  b, usually 2m\n  b: working\n"), "{text}");
    }

    #[test]
    fn a_plain_log_is_never_silent_for_long() {
        let plain = Plain::new(Vec::new(), false);
        let seconds = Duration::from_secs;
        let beat = |elapsed| Event::Pulse {
            running: vec![Running { id: "go/k3s".into(), elapsed: seconds(elapsed), usual: seconds(360) }],
            done: 7,
            total: 9,
            left: seconds(420),
        };
        plain.event(&beat(10));
        plain.event(&beat(20));
        plain.event(&Event::Started { id: "other".into(), usual: seconds(1) });
        for elapsed in [30, 40, 50, 60] {
            plain.event(&beat(elapsed));
        }
        let text = String::from_utf8(plain.into_inner()).unwrap();
        let still = "still  go/k3s 50.0s of about 6m; 7 of 9 steps done, at most about 7m left";
        assert_eq!(text, format!("start  other\n{still}\n"));
    }

    #[test]
    fn json_has_one_object_a_line_and_every_event() {
        let json = Json::new(Vec::new());
        events().iter().for_each(|e| json.event(e));
        let text = String::from_utf8(json.into_inner()).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        let names: Vec<_> = lines.iter().map(|l| l["event"].as_str().unwrap()).collect();
        assert_eq!(names, ["plan", "finished", "started", "progress", "log", "finished", "summary"]);
        assert_eq!(lines[5]["ms"], 1234);
        assert_eq!(lines[5]["how"], "ran");
        assert_eq!(lines[3]["unit"], "bytes");
    }

    #[test]
    fn the_terminal_view_shows_the_whole_and_each_running_step() {
        let screen = indicatif::InMemoryTerm::new(10, 100);
        let target = indicatif::ProgressDrawTarget::term_like_with_hz(Box::new(screen.clone()), 255);
        let terminal = Terminal::with_target(target, false);
        let events = events();
        events[..4].iter().for_each(|e| terminal.event(e));
        // drawn by a ticker of its own
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while !screen.contents().contains("1 B/2 B") {
            assert!(std::time::Instant::now() < deadline, "{}", screen.contents());
            std::thread::sleep(Duration::from_millis(20));
        }
        let text = screen.contents();
        assert!(text.contains("1/3") && text.contains("1 cached"), "{text}");
        assert!(text.lines().any(|l| l.contains(" b ") && l.contains("1 B/2 B")), "{text}");
        events[4..].iter().for_each(|e| terminal.event(e));
        let text = screen.contents();
        assert_eq!(text.trim(), "done   b 1.2s\n1 step ran, 1 cached, 1 not reached, cancelled in 2m05s");
    }
}
