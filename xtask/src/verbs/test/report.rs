//! What ran, how it ended and how long it took: a table, and a last line for pipelines.

use super::{programs::Group, proofs::Proof};
use crate::{exit::Exit, failure::Failure};
use std::{
    fmt::Write as _,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    Failed,
    /// A success from before.
    Reused,
    /// Something that is no test.
    Done,
}

impl Verdict {
    const fn text(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Reused => "reused",
            Self::Done => "",
        }
    }
}

#[derive(Debug)]
struct Row {
    what: String,
    seconds: f64,
    verdict: Verdict,
}

/// The rows so far.
#[derive(Debug)]
pub(super) struct Report {
    start: Instant,
    rows: Vec<Row>,
    passed: usize,
    failed: usize,
    reused: usize,
}

/// Seconds since 1970 at which the caller began, where it wants the time before this program's start in the table.
const SINCE: &str = "EVEK_SINCE";

impl Report {
    pub(super) fn new() -> Self {
        let mut report = Self { start: Instant::now(), rows: Vec::new(), passed: 0, failed: 0, reused: 0 };
        let since = std::env::var(SINCE).ok().and_then(|text| text.trim().parse().ok());
        let before = since.and_then(|since| now().checked_sub(since)).map(Duration::from_secs);
        if let Some(before) = before {
            report.phase("compile xtask", before);
            report.start = report.start.checked_sub(before).unwrap_or(report.start);
        }
        report
    }

    fn row(&mut self, what: &str, seconds: f64, verdict: Verdict) {
        self.rows.push(Row { what: what.to_owned(), seconds, verdict });
    }

    /// Something that is no test.
    pub(super) fn phase(&mut self, what: &str, took: Duration) {
        self.row(what, took.as_secs_f64(), Verdict::Done);
    }

    /// Something that is one test to us.
    pub(super) fn group(&mut self, what: &str, took: Duration, result: &Result<(), Failure>) {
        if let Err(failure) = result {
            eprintln!("{what}: {}", failure.text);
        }
        self.test(what, took, if result.is_ok() { Verdict::Passed } else { Verdict::Failed });
    }

    /// The tests of a crate.
    pub(super) fn unit(&mut self, name: &str, group: &Group) {
        self.passed += group.passed;
        self.failed += group.failed;
        if group.failed > 0 {
            eprintln!("{}", group.said);
        }
        if group.passed + group.failed > 0 {
            let verdict = if group.failed > 0 { Verdict::Failed } else { Verdict::Passed };
            let count = group.passed + group.failed;
            let tests = if count == 1 { "test" } else { "tests" };
            self.row(&format!("{name}: {count} {tests}"), group.took.as_secs_f64(), verdict);
        }
    }

    /// A test of images.
    pub(super) fn test(&mut self, name: &str, took: Duration, verdict: Verdict) {
        match verdict {
            Verdict::Passed => self.passed += 1,
            Verdict::Failed => self.failed += 1,
            Verdict::Reused | Verdict::Done => {}
        }
        self.row(name, took.as_secs_f64(), verdict);
    }

    /// A test that is not run, because its success is known.
    pub(super) fn reused(&mut self, name: &str, proof: &Proof) {
        self.reused += 1;
        let age = age(now().saturating_sub(proof.date));
        self.row(&format!("{name} (took {:.0} s, {age} ago)", proof.seconds), 0.0, Verdict::Reused);
    }

    /// Prints all and gives the verdict. A failure that has ended everything early is one, too.
    pub(super) fn finish(mut self, ended_by: Option<Failure>) -> Result<(), Failure> {
        if ended_by.as_ref().is_some_and(|failure| failure.exit != Exit::Interrupted) {
            self.failed += 1;
        }
        print!("{}", self.text(self.start.elapsed()));
        match ended_by {
            Some(failure) => Err(failure),
            None if self.failed > 0 => Err(Failure::new(Exit::Check, "a test or a check failed")),
            None => Ok(()),
        }
    }

    fn text(&self, all: Duration) -> String {
        let mut text = "\n seconds  result  what\n".to_owned();
        for Row { what, seconds, verdict } in &self.rows {
            // a text in memory takes every write
            let _ = writeln!(text, "{seconds:8.1}  {:<6}  {what}", verdict.text());
        }
        let _ =
            writeln!(text, "{:8.1}          all, which is {:.1} minutes", all.as_secs_f64(), all.as_secs_f64() / 60.0);
        if self.reused > 0 {
            let were = if self.reused == 1 { "1 test was" } else { &format!("{} tests were", self.reused) };
            let _ =
                writeln!(text, "{were} skipped: each passed before with the same program and inputs; --again repeats");
        }
        let _ = write!(text, "{} passed, {} failed", self.passed, self.failed);
        if self.reused > 0 {
            let _ = write!(text, ", {} skipped", self.reused);
        }
        text + "\n"
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

/// A duration for people.
fn age(seconds: u64) -> String {
    let (n, unit) = match seconds {
        0..=119 => (seconds, "second"),
        120..=7199 => (seconds / 60, "minute"),
        7200..=172_799 => (seconds / 3600, "hour"),
        _ => (seconds / 86400, "day"),
    };
    if n == 1 { format!("1 {unit}") } else { format!("{n} {unit}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts_and_skipped_tests_are_no_passed_ones() {
        let mut report = Report { start: Instant::now(), rows: Vec::new(), passed: 0, failed: 0, reused: 0 };
        report.phase("compile", Duration::from_millis(1500));
        let group = |passed, failed| Group { passed, failed, took: Duration::from_secs(2), said: String::new() };
        report.unit("crates/vm", &group(36, 0));
        report.unit("crates/empty", &group(0, 0));
        report.test("kvm::boots", Duration::from_secs(90), Verdict::Passed);
        let text = report.text(Duration::from_secs(120));
        let expected = "\n seconds  result  what\n     1.5          compile\n     2.0  passed  crates/vm: 36 tests\n    \
                        90.0  passed  kvm::boots\n   120.0          all, which is 2.0 minutes\n37 passed, 0 failed\n";
        assert_eq!(text, expected);
        report.unit("crates/one", &group(0, 1));
        report.reused += 2;
        let text = report.text(Duration::from_secs(120));
        assert!(text.contains("FAILED  crates/one: 1 test\n"), "{text}");
        assert!(
            text.ends_with(
                "2 tests were skipped: each passed before with the same program and inputs; --again \
                                repeats\n37 passed, 1 failed, 2 skipped\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn ages_are_round() {
        let cases = [(1, "1 second"), (119, "119 seconds"), (120, "2 minutes"), (7200, "2 hours"), (400_000, "4 days")];
        for (seconds, text) in cases {
            assert_eq!(age(seconds), text);
        }
    }
}
