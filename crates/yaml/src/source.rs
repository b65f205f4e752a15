//! From a YAML file to a typed value, or to an error with the line.

use crate::{Error, Place, Problem, located};
use serde::de::DeserializeOwned;
use serde_saphyr::{Error as Yaml, Location, MessageFormatter as _};
use std::{fs, path::Path};

/// A file's text, kept so that errors found later can show its lines.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file, as errors name it.
    pub file: String,
    /// Its text.
    pub text: String,
}

impl Source {
    /// Reads the file that is called `file` below `root`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(root: &Path, file: &str) -> Result<Self, Error> {
        let text = fs::read_to_string(root.join(file)).map_err(|e| Error {
            at: Place::file(file),
            problem: Problem::Unreadable(e.to_string()),
            source: None,
        })?;
        Ok(Self { file: file.to_owned(), text })
    }

    /// Parses the text.
    ///
    /// # Errors
    /// The first text that is no YAML or not of the type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
        located::reading(&self.file, || serde_saphyr::from_str_with_options(&self.text, options))
            .map_err(|e| self.yaml_error(e.without_snippet()))
    }

    fn yaml_error(&self, error: &Yaml) -> Error {
        let names = |known: &[&str]| {
            let mut known: Vec<String> = known.iter().map(|&s| s.to_owned()).collect();
            known.sort_unstable();
            known
        };
        let problem = match error {
            Yaml::SerdeUnknownField { field, expected, .. } => {
                Problem::UnknownField { field: field.clone(), allowed: names(expected) }
            }
            Yaml::SerdeUnknownVariant { variant, expected, .. } => {
                Problem::UnknownChoice { found: variant.clone(), allowed: names(expected) }
            }
            Yaml::SerdeMissingField { field, .. } => Problem::MissingField((*field).to_owned()),
            Yaml::DuplicateMappingKey { key, .. } => {
                Problem::Rule(format!("the field `{}` is given twice", key.as_deref().unwrap_or_default()))
            }
            Yaml::Unexpected { expected: "sequence start", .. } => {
                Problem::Syntax("a list is expected here, such as `[one, two]`".to_owned())
            }
            Yaml::Unexpected { expected: "mapping start", .. } => {
                Problem::Syntax("fields are expected here, such as `{name: value}`".to_owned())
            }
            Yaml::Message { msg, .. } => Problem::Syntax(msg.clone()),
            other => Problem::Syntax(serde_saphyr::UserMessageFormatter.format_message(other).into_owned()),
        };
        self.error(self.place(error.location()), problem)
    }

    fn place(&self, location: Option<Location>) -> Place {
        let number = |n: u64| u32::try_from(n).unwrap_or(0);
        let (line, column) = location.map_or((0, 0), |l| (number(l.line()), number(l.column())));
        Place { file: self.file.as_str().into(), line, column }
    }

    /// An error in this file, with the text of its line.
    #[must_use]
    pub fn error(&self, at: Place, problem: Problem) -> Error {
        let line = (at.line as usize).checked_sub(1).and_then(|n| self.text.lines().nth(n));
        Error { at, problem, source: line.map(str::to_owned) }
    }

    /// The first place at or after line `from` where `word` is a whole word.
    #[must_use]
    pub fn find(&self, word: &str, from: &Place) -> Place {
        let inside_word = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
        for (n, line) in self.text.lines().enumerate().skip((from.line as usize).saturating_sub(1)) {
            let alone = |&(i, _): &(usize, &str)| {
                !line[..i].ends_with(inside_word) && !line[i + word.len()..].starts_with(inside_word)
            };
            if let Some((i, _)) = line.match_indices(word).find(alone) {
                let column = line[..i].chars().count() + 1;
                return Place { file: from.file.clone(), line: n as u32 + 1, column: column as u32 };
            }
        }
        from.clone()
    }
}
