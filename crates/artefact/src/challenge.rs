//! The challenge of a server with status 401 (RFC 9110 §11.6.1): `Bearer realm="…",service="…",scope="…", Basic
//! realm="…"`.

use std::collections::BTreeMap;

/// One scheme of authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// In lower case: `bearer`, `basic`.
    pub scheme: String,
    fields: BTreeMap<String, String>,
}

impl Challenge {
    /// A field, such as `realm`.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }
}

/// Reads a header up to the first text that is no challenge.
#[must_use]
pub fn read(header: &str) -> Vec<Challenge> {
    let (mut all, mut rest) = (Vec::<Challenge>::new(), header);
    loop {
        // `=`: the padding of a token68, which no scheme here uses
        rest = rest.trim_start_matches([' ', '\t', ',', '=']);
        let (word, after) = token(rest);
        if word.is_empty() {
            return all;
        }
        let field = after.trim_start().strip_prefix('=').map(str::trim_start);
        rest = match (field, all.last_mut()) {
            (Some(text), Some(challenge)) => {
                let (value, after) = value(text);
                challenge.fields.insert(word.to_ascii_lowercase(), value);
                after
            }
            _ => {
                all.push(Challenge { scheme: word.to_ascii_lowercase(), fields: BTreeMap::new() });
                after
            }
        };
    }
}

/// RFC 9110 §5.6.2
fn token(text: &str) -> (&str, &str) {
    let ends = |c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c));
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

/// A token, or a string in quotes (RFC 9110 §5.6.4).
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, after) = token(text);
        return (word.to_owned(), after);
    };
    let (mut value, mut chars) = (String::new(), quoted.chars());
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => value.extend(chars.next()),
            c => value.push(c),
        }
    }
    (value, chars.as_str())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn strings_may_have_commas_and_quotes() {
        let all = read(
            r#"Bearer realm="https://a.example/token?x=1",scope="repository:x:pull,push", BASIC realm = "a \"b\"" "#,
        );
        assert_eq!(all.iter().map(|c| c.scheme.as_str()).collect::<Vec<_>>(), ["bearer", "basic"]);
        assert_eq!(all[0].field("realm"), Some("https://a.example/token?x=1"));
        assert_eq!(all[0].field("scope"), Some("repository:x:pull,push"));
        assert_eq!((all[0].field("service"), all[1].field("realm")), (None, Some("a \"b\"")));
    }

    #[test]
    fn other_schemes_do_not_disturb() {
        let schemes = |header: &str| read(header).into_iter().map(|c| c.scheme).collect::<Vec<_>>();
        assert_eq!(schemes("Negotiate, Basic realm=x"), ["negotiate", "basic"]);
        assert_eq!(schemes("Negotiate YWI==, Basic realm=x"), ["negotiate", "basic"]);
        for none in ["", "  ", "\"", "=", ",,"] {
            assert_eq!(schemes(none), Vec::<String>::new());
        }
        assert_eq!(read(r#"Bearer realm="cut"#)[0].field("realm"), Some("cut"));
    }
}
