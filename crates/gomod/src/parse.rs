//! The grammar of `go.mod` (Go Modules Reference, *go.mod files*): a line is words and perhaps a `//` comment; a verb may be
//! followed by a parenthesised block of lines.

use crate::file::{Exclude, GoMod, Module, Replace, Require, Target};

/// A line of a `go.mod` that is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("go.mod line {line}: {what}: `{text}`")]
pub struct ParseError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
    /// The line itself.
    pub text: String,
}

pub(crate) fn parse(text: &str) -> Result<GoMod, ParseError> {
    let mut file = GoMod::default();
    let mut block: Option<String> = None;
    for (number, line) in text.lines().enumerate() {
        let error = |what| ParseError { line: number + 1, what, text: line.trim().to_owned() };
        let (words, comment) = split(line).map_err(error)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match (words.as_slice(), &block) {
            ([], _) => {}
            ([")"], Some(_)) => block = None,
            ([verb, "("], None) => block = Some((*verb).to_owned()),
            ([verb, rest @ ..], None) => entry(&mut file, verb, rest, &comment).map_err(error)?,
            (rest, Some(verb)) => entry(&mut file, verb, rest, &comment).map_err(error)?,
        }
    }
    if file.module.is_empty() {
        return Err(ParseError { line: 1, what: "there is no `module` line", text: String::new() });
    }
    Ok(file)
}

/// Takes one line in, without its verb.
fn entry(file: &mut GoMod, verb: &str, words: &[&str], comment: &str) -> Result<(), &'static str> {
    match (verb, words) {
        ("module", [path]) => file.module = (*path).to_owned(),
        ("go", [version]) => file.go = Some((*version).to_owned()),
        ("godebug", [setting]) => file.godebug.push((*setting).to_owned()),
        ("tool", [package]) => file.tools.push((*package).to_owned()),
        ("require", [path, version]) => file.require.push(require(path, version, comment)),
        ("exclude", [path, version]) => file.exclude.push(Exclude(module(path, version))),
        ("replace", [path, "=>", with @ ..]) => file.replace.push(replace(path, None, with)?),
        ("replace", [path, version, "=>", with @ ..]) => file.replace.push(replace(path, Some(version), with)?),
        // They speak about the main module as a dependency, about the go client to be used and about folders to skip: nothing
        // of it changes what is built.
        ("toolchain" | "retract" | "ignore", _) => {}
        ("module" | "go" | "godebug" | "tool" | "require" | "exclude" | "replace", _) => {
            return Err("wrong number of words");
        }
        _ => return Err("unknown directive"),
    }
    Ok(())
}

fn module(path: &str, version: &str) -> Module {
    Module { path: path.to_owned(), version: version.to_owned() }
}

fn require(path: &str, version: &str, comment: &str) -> Require {
    let (indirect, rest) = match comment.strip_prefix("indirect") {
        Some("") => (true, ""),
        Some(rest) if rest.starts_with(';') => (true, rest.trim_start_matches(';').trim()),
        _ => (false, comment),
    };
    // Any other comment is upstream's talk; a single word that is a version is the tag we wrote.
    let tag = (crate::version::Version::parse(rest).is_some()).then(|| rest.to_owned());
    Require { module: module(path, version), indirect, tag }
}

fn replace(path: &str, version: Option<&str>, with: &[&str]) -> Result<Replace, &'static str> {
    let with = match with {
        [folder] if folder.starts_with("./") || folder.starts_with("../") || folder.starts_with('/') => {
            Target::Folder((*folder).to_owned())
        }
        [_] => return Err("a replacement without a version must be a folder that begins with ./ or ../ or /"),
        [path, version] => Target::Module(module(path, version)),
        _ => return Err("wrong number of words"),
    };
    Ok(Replace { path: path.to_owned(), version: version.map(str::to_owned), with })
}

/// The words of a line and its comment. Words may be quoted with `"` or `` ` ``.
fn split(line: &str) -> Result<(Vec<String>, String), &'static str> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        if let Some(comment) = rest.strip_prefix("//") {
            return Ok((words, comment.trim().to_owned()));
        }
        let quote = rest.chars().next().filter(|c| matches!(c, '"' | '`'));
        let (word, after) = match quote {
            Some(quote) => rest[1..].split_once(quote).ok_or("a quoted word has no end")?,
            // `(` and `)` are words of their own, so `require(` is two
            None if rest.starts_with(['(', ')']) => rest.split_at(1),
            None => {
                let white = rest.find(|c: char| c.is_whitespace() || matches!(c, '(' | ')')).unwrap_or(rest.len());
                rest.split_at(white.min(rest.find("//").unwrap_or(rest.len())))
            }
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Ok((words, String::new()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"// Deprecated: not really
module "example.com/a" // the main one

go 1.24.0

toolchain go1.26.0

godebug default=go1.22

require(
	example.com/b v1.0.0
	example.com/c v0.0.0-20240101000000-abcdefabcdef // indirect
	example.com/d v1.2.3 // indirect; only for tests
	example.com/e v1.2.4-0.20240101000000-abcdefabcdef // v1.2.3+k3s1
)

retract [v1.0.0, v1.1.0] // broken
exclude example.com/b v1.0.1
replace example.com/b => example.com/fork/b v1.0.2 // why
replace (
	example.com/c v1.0.0 => ./staging/c
)
tool example.com/b/cmd/b
"#;

    #[test]
    fn every_directive_of_the_reference_is_read() {
        let file = parse(SAMPLE).unwrap();
        assert_eq!(file.module, "example.com/a");
        assert_eq!(file.go.as_deref(), Some("1.24.0"));
        assert_eq!(file.godebug, ["default=go1.22"]);
        assert_eq!(file.tools, ["example.com/b/cmd/b"]);
        let indirect: Vec<_> = file.require.iter().map(|r| (r.indirect, r.tag.as_deref())).collect();
        assert_eq!(indirect, [(false, None), (true, None), (true, None), (false, Some("v1.2.3+k3s1"))]);
        assert_eq!(file.exclude, [Exclude(module("example.com/b", "v1.0.1"))]);
        assert_eq!(file.replaced("example.com/b", "v9"), Some(&Target::Module(module("example.com/fork/b", "v1.0.2"))));
        assert_eq!(file.replaced("example.com/c", "v1.0.0"), Some(&Target::Folder("./staging/c".to_owned())));
        assert_eq!(file.replaced("example.com/c", "v1.0.1"), None);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let file = parse(SAMPLE).unwrap();
        let text = file.to_string();
        assert_eq!(parse(&text).unwrap().to_string(), text);
        assert!(text.contains("\trequire") || text.contains("require (\n\texample.com/b v1.0.0\n"), "{text}");
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, line, what) in [
            ("module a\nrequire b\n", 2, "wrong number of words"),
            ("module a\n\nfrobnicate b\n", 3, "unknown directive"),
            (
                "module a\nreplace b => c\n",
                2,
                "a replacement without a version must be a folder that begins with ./ or ../ or /",
            ),
            ("module \"a\n", 1, "a quoted word has no end"),
            ("go 1.26\n", 1, "there is no `module` line"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!((error.line, error.what), (line, what), "{text}");
        }
    }
}
