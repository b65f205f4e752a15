use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt, str::FromStr};

/// A pattern for paths inside an image.
///
/// `*` and `?` stand for characters of one part of a path, `**` as a whole part for any number of parts, `{a,b}` for
/// one of several words. A leading `/` has no effect. Brackets and backslashes are errors, so that nobody relies on
/// them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathGlob {
    text: String,
    /// The pattern with braces multiplied out, in parts.
    choices: Vec<Vec<String>>,
}

/// Text that is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is not a path pattern: {reason}")]
pub struct BadGlob {
    /// The text.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl PathGlob {
    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the path itself matches. Paths have no leading slash.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let path: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        self.choices.iter().any(|pattern| parts_match(pattern, &path))
    }

    /// Whether the path or one of its folders matches: dropping a folder drops its content.
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        let path: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
        (1..=path.len()).any(|n| self.choices.iter().any(|pattern| parts_match(pattern, &path[..n])))
    }
}

fn parts_match(pattern: &[String], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        // at the end, `**` means everything inside, not the folder itself
        (Some((first, [])), _) if first == "**" => !path.is_empty(),
        (Some((first, rest)), _) if first == "**" => (0..=path.len()).any(|n| parts_match(rest, &path[n..])),
        (Some((first, rest)), Some((name, below))) => {
            part_matches(first.as_bytes(), name.as_bytes()) && parts_match(rest, below)
        }
        _ => false,
    }
}

/// Matches one part. A mismatch goes back to the last `*` only: this is sufficient and never exponential.
fn part_matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(b'?') => (p, n) = (p + 1, n + 1),
            Some(&c) if c == name[n] => (p, n) = (p + 1, n + 1),
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                (p, n) = (at + 1, from + 1);
            }
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

/// Multiplies out the first brace group and so on: `a{b,c}d` → `abd`, `acd`.
fn expand(pattern: &str) -> Result<Vec<String>, &'static str> {
    let Some(open) = pattern.find('{') else {
        return if pattern.contains('}') { Err("`}` without `{`") } else { Ok(vec![pattern.to_owned()]) };
    };
    let close = open + pattern[open..].find('}').ok_or("`{` without `}`")?;
    let (head, words, tail) = (&pattern[..open], &pattern[open + 1..close], &pattern[close + 1..]);
    if words.contains('{') {
        return Err("braces inside braces");
    }
    let tails = expand(tail)?;
    Ok(words.split(',').flat_map(|word| tails.iter().map(move |tail| format!("{head}{word}{tail}"))).collect())
}

impl FromStr for PathGlob {
    type Err = BadGlob;

    fn from_str(text: &str) -> Result<Self, BadGlob> {
        let bad = |reason| BadGlob { pattern: text.to_owned(), reason };
        if text.contains(['[', ']', '\\']) {
            return Err(bad("only `*`, `**`, `?` and `{a,b}` are special"));
        }
        let mut choices = Vec::new();
        for choice in expand(text).map_err(bad)? {
            let parts: Vec<String> = choice.split('/').filter(|p| !p.is_empty()).map(str::to_owned).collect();
            match parts.iter().find(|p| p.contains("**") && *p != "**" || *p == "." || *p == "..") {
                Some(part) if part.contains("**") => return Err(bad("`**` must be a whole part of the path")),
                Some(_) => return Err(bad("`.` and `..` are not allowed")),
                None if parts.is_empty() => return Err(bad("it is empty")),
                None => choices.push(parts),
            }
        }
        Ok(Self { text: text.to_owned(), choices })
    }
}

impl fmt::Display for PathGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl Serialize for PathGlob {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for PathGlob {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for PathGlob {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "PathGlob".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "string", "description": "path pattern with `*`, `**`, `?`, `{a,b}`" })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_paths() {
        for (pattern, path, matches) in [
            ("usr/share/doc/**", "usr/share/doc/bash/copyright", true),
            ("/usr/share/doc/**", "usr/share/doc/bash", true),
            ("usr/share/doc/**", "usr/share/doc", false),
            ("usr/share/doc", "usr/share/doc", true),
            ("usr/*/doc", "usr/share/x/doc", false),
            ("**/*.pyc", "a.pyc", true),
            ("**/*.pyc", "usr/lib/python3/x.pyc", true),
            ("**/test/**", "usr/test", false),
            ("**/test/**", "usr/test/x/y", true),
            ("usr/share/{man,info}/**", "usr/share/info/dir", true),
            ("usr/share/{man,info}/**", "usr/share/doc/dir", false),
            ("*a*b*c", "xxaxxbxbxxc", true),
            ("*a*b*c", "xxaxxbxbxxcd", false),
            ("lib?.so", "libx.so", true),
            ("lib?.so", "lib.so", false),
        ] {
            assert_eq!(pattern.parse::<PathGlob>().unwrap().matches(path), matches, "{pattern} on {path}");
        }
    }

    #[test]
    fn a_dropped_folder_takes_its_content_along() {
        let glob: PathGlob = "usr/share/doc".parse().unwrap();
        assert!(glob.covers("usr/share/doc/bash/copyright"));
        assert!(!glob.covers("usr/share/documents"));
    }

    #[test]
    fn what_does_not_work_is_refused() {
        for (pattern, reason) in [
            ("a[b]", "only `*`, `**`, `?` and `{a,b}` are special"),
            ("a**/b", "`**` must be a whole part of the path"),
            ("a/../b", "`.` and `..` are not allowed"),
            ("a{b", "`{` without `}`"),
            ("a}b", "`}` without `{`"),
            ("/", "it is empty"),
        ] {
            assert_eq!(pattern.parse::<PathGlob>().unwrap_err().reason, reason, "{pattern}");
        }
    }
}
