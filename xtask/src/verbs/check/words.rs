//! The words of docs and comments: which ones `check` refuses, and what to write in their place.
//!
//! ```text
//! file ─► prose: (line, text) of docs, comments, help texts ─► tokens ─► phrases of REFUSED, lines over WIDTH ─► file:line: …
//! ```
//! REVIEW.md gives the reasons. Code spans, code blocks and string literals are no prose. A word that is right in another sense,
//! such as the plural of `count`, must not match: a phrase therefore names its neighbours. Sentences are not parsed.

use super::prose::{self, Line};
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// Columns of a line of prose. Table rows and lines with a link may be longer: Markdown cannot break them.
const WIDTH: usize = 130;

/// Where prose is looked for, below the checkout.
const PLACES: [&str; 12] = [
    "README.md",
    "REVIEW.md",
    "docs",
    "crates",
    "hv",
    "images",
    "kernel",
    "layouts",
    "pkg",
    "rootfs",
    "tests",
    "xtask",
];

/// The file with the table of refused words.
const TABLE: &str = "REVIEW.md";

/// Made of doc comments, which are judged themselves.
const GENERATED: &str = "docs/reference.md";

/// One row of REVIEW.md's table of words.
struct Rule {
    /// The words, as the table shows them.
    words: &'static str,
    /// Words of a phrase are separated by blanks, alternatives by `|`; `.` is any break: punctuation, a code span, or the end
    /// of the text.
    phrases: &'static [&'static str],
    /// What to write in their place.
    instead: &'static str,
}

/// The refused words.
const REFUSED: [Rule; 7] = [
    Rule {
        words: "`whoever`",
        phrases: &["whoever|whomever"],
        instead: "the actor's name: the owner, the operator, the caller",
    },
    Rule { words: "`foretell`, `foretold`", phrases: &["foretell|foretells|foretold|foretelling"], instead: "predict" },
    Rule {
        words: "`is told`, `was told`",
        phrases: &["is|are|was|were|be|been|being told"],
        instead: "receives, reads; or name who tells it",
    },
    Rule {
        words: "`counts`, `does not count`, where nothing is added up",
        phrases: &[
            "counts .|for|as|against|once|more|from|by|when|while|only",
            "not count .|for|as|against|once|more|from|by|when|while",
            "counted|count as",
        ],
        instead: "is accepted, is valid, applies, wins; is ignored, is refused",
    },
    Rule {
        words: "`by itself`",
        phrases: &["by itself|themselves"],
        instead: "the name of what starts it; alone; or nothing",
    },
    Rule {
        words: "`takes back`, `taken back`",
        phrases: &["take|takes|took|taken back", "take|takes|took it|them|that|this back"],
        instead: "revoke, undo, return",
    },
    Rule {
        words: "`as yet`, `as good as none`",
        phrases: &["as yet", "good as none"],
        instead: "what is planned, or nothing; is treated as missing",
    },
];

/// One place that the rules refuse.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    file: PathBuf,
    line: usize,
    problem: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.problem)
    }
}

/// All findings of a checkout, by file and line.
///
/// # Errors
/// When a file or folder cannot be read.
pub(super) fn check(root: &Path) -> io::Result<Vec<Finding>> {
    let mut files = Vec::new();
    for place in PLACES {
        list(&root.join(place), &mut files)?;
    }
    files.sort();
    let mut findings = Vec::new();
    for path in files {
        let file = path.strip_prefix(root).unwrap_or(&path);
        let Some(read) = prose::reader(file).filter(|_| file != Path::new(GENERATED)) else { continue };
        let text =
            fs::read_to_string(&path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        findings.extend(judge(file, &read(&text)));
        if file == Path::new(TABLE) {
            findings.extend(missing_rows(&text));
        }
    }
    Ok(findings)
}

/// The refused words that REVIEW.md's table does not show as they are here.
fn missing_rows(review: &str) -> Vec<Finding> {
    let rows = REFUSED.iter().map(|Rule { words, instead, .. }| format!("| {words} | {instead} |"));
    let missing = rows.filter(|row| !review.lines().any(|line| line == row));
    missing.map(|row| Finding { file: TABLE.into(), line: 1, problem: format!("has no row `{row}`") }).collect()
}

/// Adds the files at and below a path. Hidden folders and those of cargo's output are no part of the sources.
fn list(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let context = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
    let kind = fs::symlink_metadata(path).map_err(context)?.file_type();
    if kind.is_file() {
        files.push(path.to_owned());
    } else if kind.is_dir() {
        for entry in fs::read_dir(path).map_err(context)? {
            let name = entry.map_err(context)?.file_name();
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                list(&path.join(name), files)?;
            }
        }
    }
    Ok(())
}

fn judge(file: &Path, lines: &[Line<'_>]) -> Vec<Finding> {
    let finding = |line, problem| Finding { file: file.to_owned(), line, problem };
    let mut findings: Vec<_> = lines
        .iter()
        .filter(|l| l.columns > WIDTH && l.breakable)
        .map(|l| finding(l.number, format!("{} columns; {WIDTH} at most", l.columns)))
        .collect();
    let tokens = tokens(lines);
    let phrases = REFUSED.iter().flat_map(|rule| rule.phrases.iter().map(|phrase| (*phrase, rule.instead)));
    for (phrase, instead) in phrases {
        let phrase: Vec<Vec<&str>> = phrase.split(' ').map(|word| word.split('|').collect()).collect();
        for found in tokens.windows(phrase.len()) {
            if found.iter().zip(&phrase).all(|(token, any)| any.contains(&token.word.as_str())) {
                let words: Vec<_> = found.iter().map(|t| t.word.as_str()).filter(|w| *w != BREAK).collect();
                findings.push(finding(found[0].line, format!("`{}`: write {instead}", words.join(" "))));
            }
        }
    }
    findings.sort_by_key(|f| f.line);
    findings
}

/// A word in lower case, or [`BREAK`].
struct Token {
    line: usize,
    word: String,
}

const BREAK: &str = ".";

/// The words of prose. A phrase may go on in the next line, not beyond an empty line, and not beyond a break.
fn tokens(lines: &[Line<'_>]) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut before = 0;
    for line in lines {
        let mut add = |word: &str| tokens.push(Token { line: line.number, word: word.to_lowercase() });
        if line.number > before + 1 || line.text.trim().is_empty() {
            add(BREAK);
        }
        before = line.number;
        let mut rest = line.text;
        while let Some(first) = rest.chars().next() {
            let len = match first {
                '`' => {
                    add(BREAK);
                    rest[1..].find('`').map_or(rest.len(), |end| end + 2)
                }
                c if c.is_alphanumeric() => {
                    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '\'' && c != '_').unwrap_or(rest.len());
                    add(&rest[..end]);
                    end
                }
                c => {
                    if !c.is_whitespace() && c != '*' {
                        add(BREAK);
                    }
                    c.len_utf8()
                }
            };
            rest = &rest[len..];
        }
    }
    let line = before;
    tokens.push(Token { line, word: BREAK.to_owned() });
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The findings in a file, as lines of text.
    fn findings(file: &str, text: &str) -> Vec<String> {
        let file = Path::new(file);
        let read = prose::reader(file).unwrap_or_else(|| panic!("{} has prose", file.display()));
        judge(file, &read(text)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_refused_word_is_named_with_its_line_and_what_to_write() {
        let found = findings("docs/a.md", "# A\n\nGood.\nWhoever reads this\n");
        assert_eq!(found, ["docs/a.md:4: `whoever`: write the actor's name: the owner, the operator, the caller"]);
    }

    #[test]
    fn each_phrase_is_found() {
        for text in [
            "Whoever",
            "it foretells",
            "the kernel is told",
            "what was told",
            "they are\ntold",
            "nothing counts.",
            "it counts once",
            "it counts, if",
            "it counts",
            "addons do not count.",
            "it counts as none",
            "count as such",
            "started by itself",
            "by themselves",
            "it is taken back",
            "takes them back",
            "absent, as yet",
            "as good as none",
        ] {
            assert_eq!(findings("docs/a.md", text).len(), 1, "{text}");
        }
    }

    #[test]
    fn the_same_words_in_another_sense_pass() {
        for text in [
            "counts bytes",
            "reference counts grow",
            "systemd-boot counts the starts",
            "it tells the kernel",
            "told by",
            "is. Told",
            "`counts`",
            "it is `foretold`",
            "not counted",
            "itself by hand",
            "as. Yet",
            "```\nit counts\n```",
            "is\n\ntold",
            "back to the owner",
        ] {
            assert_eq!(findings("docs/a.md", text), [""; 0], "{text}");
        }
    }

    #[test]
    fn comments_and_help_texts_of_programs_are_prose_and_literals_are_not() {
        let text = "//! It counts.\nlet a = \"it counts.\"; // whoever\n/// is\n/// told\nconst USAGE: &str = \"\\\nwhoever\n\";\n";
        let found = findings("a.rs", text);
        let lines: Vec<_> = found.iter().map(|f| f.split('`').next().unwrap_or_default()).collect();
        assert_eq!(lines, ["a.rs:1: ", "a.rs:2: ", "a.rs:3: ", "a.rs:6: "]);
    }

    #[test]
    fn comments_of_definitions_are_prose_and_values_are_not() {
        let found = findings("hv/a.yml", "# whoever\na: whoever # is told\nb: 'x#whoever'\n");
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn long_lines_are_found_where_they_can_be_broken() {
        let long = "word ".repeat(30);
        let over = [format!("{long}\n"), format!("- {long}\n")];
        let fine =
            [format!("| {long} |\n"), format!("[a](b) {long}\n"), format!("```\n{long}\n```\n"), "word\n".into()];
        for text in over {
            assert_eq!(findings("docs/a.md", &text).len(), 1, "{text}");
        }
        for text in fine {
            assert_eq!(findings("docs/a.md", &text), [""; 0], "{text}");
        }
        assert_eq!(findings("a.rs", &format!("// {long}\n")).len(), 1);
        assert_eq!(findings("a.rs", &format!("let a = \"{long}\";\n")), [""; 0]);
    }

    #[test]
    fn the_table_in_review_md_is_what_is_refused() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(TABLE);
        let review = fs::read_to_string(path).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(missing_rows(&review), []);
        let other = review.replace("predict |", "guess |");
        let found: Vec<_> = missing_rows(&other).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["REVIEW.md:1: has no row `| `foretell`, `foretold` | predict |`"]);
    }

    #[test]
    fn other_files_are_not_read() {
        for file in ["a.png", "dist/a.json", "pkg/kube/k3s/go.sum"] {
            assert!(prose::reader(Path::new(file)).is_none(), "{file}");
        }
    }
}
