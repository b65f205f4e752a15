//! Many questions to one guest: a boot is too dear to stop at the first wrong answer.

use std::fmt::Display;

/// The answers so far. Dropping them without [`Checks::finish`] judges nothing.
#[derive(Debug, Default)]
#[must_use]
pub struct Checks {
    made: usize,
    failed: Vec<String>,
}

impl Checks {
    /// Notes whether something holds; `found` is shown when it does not.
    pub fn that(&mut self, what: &str, holds: bool, found: impl Display) {
        self.made += 1;
        if !holds {
            self.failed.push(format!("{what}\n    found: {}", found.to_string().trim().replace('\n', "\n    ")));
        }
    }

    /// Notes that two things are equal.
    pub fn equal<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: T, expected: T) {
        let holds = found == expected;
        self.that(what, holds, format!("{found:?}, expected {expected:?}"));
    }

    /// The answer, where there is one; a failed check where not.
    pub fn answer<T, E: Display>(&mut self, what: &str, answer: Result<T, E>) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            Err(e) => {
                self.that(what, false, e);
                None
            }
        }
    }

    /// Judges.
    ///
    /// # Panics
    /// When something did not hold, with all of it; and when nothing was checked.
    pub fn finish(self) {
        assert!(self.made > 0, "nothing was checked");
        let text: Vec<_> = self.failed.iter().map(|f| format!("✗ {f}")).collect();
        assert!(self.failed.is_empty(), "{} of {} checks failed:\n{}", self.failed.len(), self.made, text.join("\n"));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn one_wrong_answer_among_right_ones_is_enough() {
        let mut checks = Checks::default();
        checks.equal("sum", 1 + 1, 2);
        checks.finish();
        let judged = catch_unwind(|| {
            let mut checks = Checks::default();
            checks.equal("sum", 1 + 1, 2);
            checks.that("sky", false, "green");
            checks.equal("sum", 1 + 1, 2);
            checks.finish();
        });
        let text = judged.unwrap_err().downcast::<String>().unwrap();
        assert_eq!(*text, "1 of 3 checks failed:\n✗ sky\n    found: green");
        assert!(catch_unwind(|| Checks::default().finish()).is_err(), "no check is no success");
    }
}
