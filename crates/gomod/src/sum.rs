//! `go.sum`: the hashes of module zips and of `go.mod` files (Go Modules Reference, *go.sum files*).

use crate::version::compare;
use std::{cmp::Ordering, collections::BTreeMap, fmt};

/// A `go.sum` that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SumError {
    /// A line is not `<path> <version>[/go.mod] h1:<base64>`.
    #[error("go.sum line {line} is not `<path> <version> h1:<hash>`: `{text}`")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// The line itself.
        text: String,
    },
    /// Two hashes for one thing: one of them is forged or the version was published twice.
    #[error("go.sum has two hashes for {path} {version}: {first} and {second}")]
    Conflict {
        /// The module's path.
        path: String,
        /// Its version, with `/go.mod` where the hash is that of the file.
        version: String,
        /// The hash that stood there.
        first: String,
        /// The other one.
        second: String,
    },
}

/// Hashes by module path and version; the version ends in `/go.mod` where the hash is that of the file alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GoSum {
    lines: BTreeMap<Key, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    path: String,
    version: String,
}

/// As the go client writes the file (golang.org/x/mod/module, `Sort`), so that it never needs to be rewritten.
impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        let split = |version: &'_ str| version.find('/').unwrap_or(version.len());
        let (a, b) = (self.version.split_at(split(&self.version)), other.version.split_at(split(&other.version)));
        self.path.cmp(&other.path).then_with(|| compare(a.0, b.0)).then_with(|| a.1.cmp(b.1))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl GoSum {
    /// Reads the text of a `go.sum`.
    ///
    /// # Errors
    /// A malformed line, or two different hashes for one thing.
    pub fn parse(text: &str) -> Result<Self, SumError> {
        let mut sum = Self::default();
        for (number, line) in text.lines().enumerate() {
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                [] => {}
                [path, version, hash] if hash.starts_with("h1:") => sum.add(path, version, hash)?,
                _ => return Err(SumError::Line { line: number + 1, text: line.to_owned() }),
            }
        }
        Ok(sum)
    }

    /// Adds one hash. `version` ends in `/go.mod` where it is that of the file.
    ///
    /// # Errors
    /// There is another hash for the same thing.
    pub fn add(&mut self, path: &str, version: &str, hash: &str) -> Result<(), SumError> {
        let key = Key { path: path.to_owned(), version: version.to_owned() };
        match self.lines.get(&key) {
            Some(first) if first != hash => Err(SumError::Conflict {
                path: path.to_owned(),
                version: version.to_owned(),
                first: first.clone(),
                second: hash.to_owned(),
            }),
            _ => {
                self.lines.insert(key, hash.to_owned());
                Ok(())
            }
        }
    }

    /// The hash of a module's zip, or of its `go.mod` where `version` ends in `/go.mod`.
    #[must_use]
    pub fn get(&self, path: &str, version: &str) -> Option<&str> {
        self.lines.get(&Key { path: path.to_owned(), version: version.to_owned() }).map(String::as_str)
    }
}

/// The text, sorted as the go client sorts it.
impl fmt::Display for GoSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|(key, hash)| writeln!(f, "{} {} {hash}", key.path, key.version))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_in_the_go_clients_order() {
        let sorted = "a.b/c v0.9.0 h1:1\na.b/c v0.9.0/go.mod h1:2\na.b/c v0.10.0 h1:3\na.b/c v0.10.0/go.mod h1:4\n";
        let mut lines: Vec<_> = sorted.lines().collect();
        lines.reverse();
        assert_eq!(GoSum::parse(&lines.join("\n")).unwrap().to_string(), sorted);
    }

    #[test]
    fn two_hashes_for_one_thing_are_refused() {
        let error = GoSum::parse("a v1.0.0 h1:1\na v1.0.0 h1:2\n").unwrap_err();
        assert_eq!(error.to_string(), "go.sum has two hashes for a v1.0.0: h1:1 and h1:2");
        assert!(matches!(GoSum::parse("a v1.0.0\n").unwrap_err(), SumError::Line { line: 1, .. }));
    }
}
