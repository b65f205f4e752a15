use crate::Place;
use std::fmt;

/// An error in a definition: its place, the problem, and the accepted values.
///
/// ```text
/// hv/kvm.yml:3:1: unknown field `package`
///   |
/// 3 | package: [ssh]
///   | ^^^^^^^
/// allowed here: budgets, kernel, packages, payload, rootfs, summary, sysctl
///
/// hint: did you mean `packages`?
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Where.
    pub at: Place,
    /// What.
    pub problem: Problem,
    /// The text of the line, to be shown with a caret.
    pub source: Option<String>,
}

/// The problem in a definition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("cannot read: {0}")]
    Unreadable(String),
    /// The text is not YAML, or not of the right types.
    #[error("{0}")]
    Syntax(String),
    /// A field that does not exist here.
    #[error("unknown field `{field}`")]
    UnknownField {
        /// The field as written.
        field: String,
        /// The fields that exist here.
        allowed: Vec<String>,
    },
    /// A word that is none of the choices.
    #[error("unknown choice `{found}`")]
    UnknownChoice {
        /// The word as written.
        found: String,
        /// The words that are allowed.
        allowed: Vec<String>,
    },
    /// A required field is missing.
    #[error("the field `{0}` is missing")]
    MissingField(String),
    /// A name that does not exist.
    #[error("there is no {what} `{name}`")]
    UnknownName {
        /// The kind of name: `package`, …
        what: &'static str,
        /// The name as written.
        name: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// Any other broken rule.
    #[error("{0}")]
    Rule(String),
}

impl Error {
    /// The existing name that the author probably meant.
    #[must_use]
    pub fn nearest(&self) -> Option<&str> {
        match &self.problem {
            Problem::UnknownField { field: name, allowed: known }
            | Problem::UnknownChoice { found: name, allowed: known }
            | Problem::UnknownName { name, known, .. } => nearest(name, known),
            _ => None,
        }
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.problem)?;
        if let Some(source) = &self.source {
            let number = self.at.line.to_string();
            let (pad, column) = (" ".repeat(number.len()), self.at.column.max(1) as usize - 1);
            let carets = "^".repeat(word_len(source, column));
            write!(f, "\n{pad} |\n{number} | {source}\n{pad} | {}{carets}", " ".repeat(column))?;
        }
        match &self.problem {
            Problem::UnknownField { allowed, .. } | Problem::UnknownChoice { allowed, .. } => {
                write!(f, "\nallowed here: {}", allowed.join(", "))?;
            }
            Problem::UnknownName { known, .. } if self.nearest().is_none() && !known.is_empty() => {
                write!(f, "\nthere is: {}", known.join(", "))?;
            }
            _ => {}
        }
        match self.nearest() {
            Some(name) => write!(f, "\n\nhint: did you mean `{name}`?"),
            None => Ok(()),
        }
    }
}

/// The number of characters to underline: the word that starts at `column`.
fn word_len(line: &str, column: usize) -> usize {
    let of_word = |c: &char| c.is_alphanumeric() || "_-./*+=".contains(*c);
    line.chars().skip(column).take_while(of_word).count().max(1)
}

/// The known name with the fewest edits, if they are few for its length.
fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a str> {
    let close = |known: &&String| edits(name, known) <= (name.chars().count().max(known.chars().count()) / 3).max(1);
    known.iter().filter(close).min_by_key(|known| edits(name, known)).map(String::as_str)
}

/// The optimal string alignment distance: letters changed, added, left out, or swapped with their neighbour.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_only_when_it_is_near() {
        let known = ["packages", "payload", "summary"].map(str::to_owned);
        assert_eq!(nearest("package", &known), Some("packages"));
        assert_eq!(nearest("sumary", &known), Some("summary"));
        assert_eq!(nearest("budget", &known), None);
        assert_eq!((edits("kitten", "sitting"), edits("tiem", "time"), edits("", "abc")), (3, 1, 3));
    }
}
