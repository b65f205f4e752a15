//! Stanzas of `Field: value` lines (deb822(5)), read in place.

/// One stanza: a run of lines up to an empty one.
#[derive(Debug, Clone, Copy)]
pub struct Stanza<'a> {
    text: &'a str,
    /// Line of the file on which the stanza starts, counted from 1.
    pub line: u32,
}

impl<'a> Stanza<'a> {
    /// The value of a field as written, continuation lines included; names are compared without case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.fields().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v)
    }

    /// Every field in order. A line that is neither a field nor a continuation is left out, as are comments.
    pub fn fields(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut rest = self.text;
        std::iter::from_fn(move || {
            while !rest.is_empty() {
                let end = end_of_field(rest);
                let (field, more) = rest.split_at(end);
                rest = more;
                if field.starts_with('#') {
                    continue;
                }
                if let Some((name, value)) = field.split_once(':') {
                    return Some((name, value.trim()));
                }
            }
            None
        })
    }
}

/// Where the first field of `text` ends: before the first line that does not start with a blank.
fn end_of_field(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(n) = bytes[at..].iter().position(|b| *b == b'\n') {
        at += n + 1;
        if !matches!(bytes.get(at), Some(b' ' | b'\t')) {
            return at;
        }
    }
    text.len()
}

/// The stanzas of a file.
pub fn stanzas(text: &str) -> impl Iterator<Item = Stanza<'_>> {
    let (mut rest, mut line) = (text, 1);
    std::iter::from_fn(move || {
        let blank = rest.len() - rest.trim_start_matches('\n').len();
        rest = &rest[blank..];
        line += u32::try_from(blank).unwrap_or(u32::MAX);
        if rest.is_empty() {
            return None;
        }
        let end = rest.find("\n\n").map_or(rest.len(), |n| n + 1);
        let stanza = Stanza { text: &rest[..end], line };
        line += u32::try_from(stanza.text.bytes().filter(|b| *b == b'\n').count()).unwrap_or(u32::MAX);
        rest = &rest[end..];
        Some(stanza)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn fields_continue_on_indented_lines_and_stanzas_end_at_empty_ones() {
        let text = "\nPackage: a\n# comment\nDescription: one\n two\n .\n\n\n\nPackage:b\n";
        let all: Vec<_> = stanzas(text).collect();
        assert_eq!(all.iter().map(|s| s.line).collect::<Vec<_>>(), [2, 10]);
        assert_eq!(all[0].get("description"), Some("one\n two\n ."));
        assert_eq!(all[0].fields().count(), 2);
        assert_eq!(all[1].get("Package"), Some("b"));
        assert_eq!(all[1].get("Version"), None);
    }
}
