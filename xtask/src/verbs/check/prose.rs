//! Where the prose of a file is: its lines with their numbers, without markup of comments and without code.

use std::path::Path;

/// A line of prose.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'t> {
    /// From 1.
    pub(super) number: usize,
    /// What is prose in it.
    pub(super) text: &'t str,
    /// Columns of the whole line, markup and code included.
    pub(super) columns: usize,
    /// Whether an author can break it: no table row, no link.
    pub(super) breakable: bool,
}

impl<'t> Line<'t> {
    fn new(number: usize, text: &'t str, line: &str) -> Self {
        let breakable = !text.trim_start().starts_with('|') && !line.contains("](") && !line.contains("://");
        Self { number, text, columns: line.chars().count(), breakable }
    }
}

type Reader = for<'t> fn(&'t str) -> Vec<Line<'t>>;

/// What finds the prose of a file of this name; `None` for files without prose.
pub(super) fn reader(file: &Path) -> Option<Reader> {
    Some(match file.extension()?.to_str()? {
        "md" => markdown,
        "rs" => rust,
        "yml" | "yaml" | "toml" | "config" | "conf" | "service" | "socket" | "mount" | "target" | "timer"
        | "network" | "rules" => hashes,
        _ => return None,
    })
}

/// Everything but code blocks.
fn markdown(text: &str) -> Vec<Line<'_>> {
    outside_fences(text.lines().enumerate().map(|(i, line)| Line::new(i + 1, line, line)).collect())
}

/// Comments that begin with `#`, at the start of a line or after a blank.
fn hashes(text: &str) -> Vec<Line<'_>> {
    let comment = |line: &str| {
        let at = line.find('#').filter(|at| line[..*at].trim().is_empty());
        at.or_else(|| line.find(" # ").map(|at| at + 1)).map(|at| at + 1)
    };
    let found = text.lines().enumerate().filter_map(|(i, line)| Some(Line::new(i + 1, &line[comment(line)?..], line)));
    found.collect()
}

/// Without the lines of code blocks.
fn outside_fences(lines: Vec<Line<'_>>) -> Vec<Line<'_>> {
    let mut inside = false;
    let mut kept = Vec::new();
    for line in lines {
        if line.text.trim_start().starts_with("```") {
            inside = !inside;
        } else if !inside {
            kept.push(line);
        }
    }
    kept
}

/// What a Rust source is made of, as far as comments need it.
enum Piece<'t> {
    /// A comment, from `//` to the end of its line, or from `/*` to `*/`.
    Comment(&'t str),
    /// The inside of a string literal.
    Text(&'t str),
    Code(&'t str),
}

/// Comments, and the help texts: literals of constants whose name ends in `USAGE` or `HELP`.
fn rust(text: &str) -> Vec<Line<'_>> {
    let all: Vec<&str> = text.lines().collect();
    let mut lines = Vec::new();
    let mut code = "";
    let mut at = 1;
    let (mut rest, mut fenced) = (text, Vec::new());
    while !rest.is_empty() {
        let (piece, len) = piece(rest);
        let add = |part: &'_ str| part.matches('\n').count();
        match piece {
            Piece::Comment(comment) => {
                for (i, line) in comment.lines().enumerate() {
                    let prose = line.trim_start().trim_start_matches(['/', '!', '*']);
                    fenced.push(Line::new(at + i, prose, all.get(at + i - 1).unwrap_or(&"")));
                }
            }
            Piece::Text(literal) if is_help(code) => {
                let of = |(i, line)| Line { breakable: false, ..Line::new(at + i, line, "") };
                lines.extend(literal.lines().enumerate().map(of));
            }
            Piece::Text(_) => {}
            Piece::Code(found) => code = found,
        }
        at += add(&rest[..len]);
        rest = &rest[len..];
    }
    lines.extend(outside_fences(fenced));
    lines.sort_by_key(|l| l.number);
    lines
}

/// Whether the code before a literal declares a help text.
fn is_help(code: &str) -> bool {
    let declared = code.rsplit("const ").next().and_then(|rest| rest.split(':').next());
    code.contains("const ") && declared.is_some_and(|name| name.ends_with("USAGE") || name.ends_with("HELP"))
}

/// The first piece of a source, and its length in bytes with all that delimits it. A source that ends within a literal is
/// left to the compiler.
fn piece(text: &str) -> (Piece<'_>, usize) {
    if text.starts_with("//") {
        let end = text.find('\n').unwrap_or(text.len());
        return (Piece::Comment(&text[..end]), end);
    }
    if text.starts_with("/*") {
        let end = text.find("*/").map_or(text.len(), |end| end + 2);
        return (Piece::Comment(&text[..end]), end);
    }
    if let Some(rest) = text.strip_prefix('"') {
        let end = closing(rest);
        return (Piece::Text(&rest[..end]), (end + 2).min(text.len()));
    }
    if let Some(hashes) = raw(text) {
        let start = hashes + 2;
        let close = format!("\"{}", "#".repeat(hashes));
        let end = text[start..].find(&close).map_or(text.len(), |end| start + end);
        return (Piece::Text(&text[start..end]), (end + close.len()).min(text.len()));
    }
    // everything up to what may begin another piece; at least one character, so that it goes on
    let skip = character(text).unwrap_or_else(|| text.chars().next().map_or(0, char::len_utf8));
    let mut end = skip;
    while let Some(c) = text[end..].chars().next() {
        let rest = &text[end..];
        if c == '"' || rest.starts_with("//") || rest.starts_with("/*") || (c == 'r' && raw(rest).is_some()) {
            break;
        }
        end += character(rest).unwrap_or(c.len_utf8());
    }
    (Piece::Code(&text[..end]), end)
}

/// Where a string literal ends, whose opening quote is not here.
fn closing(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at,
            _ => {}
        }
    }
    text.len()
}

/// The number of `#` of a raw string literal that begins here.
fn raw(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('r')?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].starts_with('"').then_some(hashes)
}

/// The length of a character literal that begins here; `None` for a lifetime, and for anything else.
fn character(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('\'')?;
    let mut chars = rest.char_indices();
    match chars.next()?.1 {
        '\\' => {
            chars.next();
            rest[2..].find('\'').map(|end| end + 4)
        }
        _ => chars.next().filter(|(_, c)| *c == '\'').map(|(at, _)| at + 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(usize, &str)> {
        rust(text).iter().map(|l| (l.number, l.text.trim())).collect()
    }

    #[test]
    fn comments_are_told_from_what_looks_like_them() {
        let text = "let a = \"// no\"; // 1\nlet b = r#\"\n\" // no\"#; // 3\nlet c = '\"'; // 4\nlet d = '\\''; // 5\nfn e<'a>() {} // 6\n";
        assert_eq!(found(text), [(1, "1"), (3, "3"), (4, "4"), (5, "5"), (6, "6")]);
        assert_eq!(found("/* one\n   two */ let a = 1;"), [(1, "one"), (2, "two */")]);
        assert_eq!(found("let a = \"\\\\\"; // 1"), [(1, "1")]);
        assert_eq!(found("let a = \"never ends // no"), []);
    }

    #[test]
    fn code_in_documentation_is_no_prose() {
        assert_eq!(found("//! a\n//! ```text\n//! b\n//! ```\n//! c\n"), [(1, "a"), (5, "c")]);
    }

    #[test]
    fn the_texts_of_help_are_prose() {
        assert_eq!(
            found("pub const USAGE: &str = \"one\ntwo\";\nconst OTHER: &str = \"three\";"),
            [(1, "one"), (2, "two")]
        );
    }
}
