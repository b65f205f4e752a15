//! Answers of servers: the text of an error, and redirections.

use serde::Deserialize;
use std::{io::Read as _, time::Duration};
use ureq::{Body, http::Response};

/// The limit of an error's text.
const WORDS: u64 = 16 << 10;
/// The limit of text that is no JSON, such as a proxy's page, in characters.
const SHOWN: usize = 200;
/// The longest pause that a server can demand.
const LONGEST: Duration = Duration::from_secs(60);

/// A header, if it exists and is text.
pub(crate) fn header<'r>(answer: &'r Response<Body>, name: &str) -> Option<&'r str> {
    answer.headers().get(name).and_then(|value| value.to_str().ok())
}

/// `Retry-After` (RFC 9110 §10.2.3), if it is in seconds.
pub(crate) fn retry_after(answer: &Response<Body>) -> Option<Duration> {
    let seconds = header(answer, "Retry-After")?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST))
}

/// The server's text of an error (distribution-spec 1.1, "Error Codes"); other answers are shortened.
pub(crate) fn error_text(answer: Response<Body>) -> String {
    let mut bytes = Vec::new();
    // a truncated text is better than none
    drop(answer.into_body().into_reader().take(WORDS).read_to_end(&mut bytes));
    plain(&words(&bytes).unwrap_or_else(|| String::from_utf8_lossy(&bytes).into_owned()))
}

fn words(json: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        code: String,
        #[serde(default)]
        message: Option<String>,
    }
    let Errors { errors } = serde_json::from_slice(json).ok()?;
    let texts: Vec<_> = errors
        .into_iter()
        .map(|One { code, message }| match message.filter(|text| !text.is_empty()) {
            Some(message) => format!("{code}: {message}"),
            None => code,
        })
        .collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// One line without control characters for terminals.
fn plain(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut shown: String = line.chars().filter(|c| !c.is_control()).take(SHOWN + 1).collect();
    if let Some((end, _)) = shown.char_indices().nth(SHOWN) {
        shown.truncate(end);
        shown.push('…');
    }
    shown
}

/// A reference of a `Location` (RFC 9110 §10.2.2) made absolute (RFC 3986 §5.2, as far as servers use it).
pub(crate) fn resolve(base: &str, reference: &str) -> String {
    let reference = reference.split('#').next().unwrap_or_default();
    let is_absolute = |text: &str| text.starts_with("http://") || text.starts_with("https://");
    if is_absolute(reference) {
        return reference.to_owned();
    }
    let scheme = base.split("//").next().unwrap_or_default();
    if reference.starts_with("//") {
        return format!("{scheme}{reference}");
    }
    let path = base.split('?').next().unwrap_or_default();
    if let Some(query) = reference.strip_prefix('?') {
        return format!("{path}?{query}");
    }
    if reference.starts_with('/') {
        return format!("{}{reference}", origin(base));
    }
    format!("{}/{reference}", path.rsplit_once('/').map_or(path, |(folder, _)| folder))
}

/// Scheme, host and port of a URL.
pub(crate) fn origin(url: &str) -> &str {
    let start = url.find("//").map_or(0, |at| at + 2);
    let end = url[start..].find(['/', '?']).map_or(url.len(), |at| start + at);
    &url[..end]
}

/// A URL with one more field in its query.
pub(crate) fn with_field(url: &str, name: &str, value: &str) -> String {
    let (between, value) = (if url.contains('?') { '&' } else { '?' }, encoded(value));
    format!("{url}{between}{name}={value}")
}

/// RFC 3986 §2.1: escapes all characters that a field cannot have or that have a meaning there.
fn encoded(text: &str) -> String {
    let mut all = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b if b.is_ascii_alphanumeric() || b"-._~:/,@".contains(&b) => all.push(b as char),
            b => all.push_str(&format!("%{b:02X}")),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_absolute_or_not() {
        let base = "https://registry.example:5000/v2/evek/blobs/uploads/?x=1";
        for (reference, url) in [
            ("https://other.example/up/7?state=a", "https://other.example/up/7?state=a"),
            ("//other.example/up/7", "https://other.example/up/7"),
            ("/v2/evek/blobs/uploads/7?state=a%3D", "https://registry.example:5000/v2/evek/blobs/uploads/7?state=a%3D"),
            ("7", "https://registry.example:5000/v2/evek/blobs/uploads/7"),
            ("?at=7#part", "https://registry.example:5000/v2/evek/blobs/uploads/?at=7"),
        ] {
            assert_eq!(resolve(base, reference), url, "{reference}");
        }
        assert_eq!(origin(base), "https://registry.example:5000");
        assert_eq!(origin("http://x?y"), "http://x");
    }

    #[test]
    fn a_field_joins_those_that_are_there() {
        assert_eq!(with_field("http://x/up", "digest", "sha256:ab"), "http://x/up?digest=sha256:ab");
        assert_eq!(
            with_field("http://x/up?a=b", "service", "My Registry&1"),
            "http://x/up?a=b&service=My%20Registry%261"
        );
    }

    #[test]
    fn errors_are_the_registrys_words_and_no_commands_to_a_terminal() {
        let json =
            br#"{"errors": [{"code": "DENIED", "message": "not yours", "detail": [1]}, {"code": "UNSUPPORTED"}]}"#;
        assert_eq!(words(json).as_deref(), Some("DENIED: not yours; UNSUPPORTED"));
        for other in [&b"{}"[..], br#"{"errors": []}"#, b"<html>", b""] {
            assert_eq!(words(other), None);
        }
        assert_eq!(plain("<h1>\u{1b}[31mno</h1>\n\r  way "), "<h1>[31mno</h1> way");
        assert_eq!(plain(&"ä".repeat(300)).chars().count(), SHOWN + 1);
    }
}
