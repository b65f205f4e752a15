//! Versions of images: which are accepted, and which of two is newer.
//!
//! The one rule is the UAPI group's *Version Format Specification* (UAPI.10), because systemd-boot sorts images by it:
//!
//! ```text
//!  0.2.0~rc1  <  0.2.0  <  0.2.0-1  <  0.2.0.1        `~` sorts before the end of a version, `-` and `.` behind it
//! ```
//! systemd-boot compares `<version>-<flavour>-<arch>`, this device's programs compare `<version>`. [`check_version`] accepts only
//! versions for which both orders are the same. Builder and device call it, so that a device accepts what a builder makes.
//!
//! Deliberately absent: SemVer. Its `0.2.0-rc1` is newer than `0.2.0` by the rule above; [`check_version`] refuses it and proposes
//! `0.2.0~rc1`.

use std::cmp::Ordering;

/// A version that no image may have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{version}` is no version of an image: {problem}")]
pub struct BadVersion {
    /// The version as given.
    pub version: String,
    /// The rule that it breaks.
    pub problem: String,
    /// A version that is accepted and probably meant.
    pub instead: Option<String>,
}

/// Refuses a version that the boot loader, the device's programs and registries would not all sort or name alike.
///
/// Accepted are letters, digits and the marks `.`, `_`, `+`, `-`, `~`; a letter or digit at both ends and between two marks; a digit
/// behind `-`; a letter behind `~`.
///
/// # Errors
/// [`BadVersion`], with a proposal where there is one.
pub fn check_version(version: &str) -> Result<(), BadVersion> {
    let bad = |problem: &str, instead: Option<String>| {
        let instead = instead.filter(|other| other != version && check_version(other).is_ok());
        Err(BadVersion { version: version.to_owned(), problem: problem.to_owned(), instead })
    };
    let is_word = |c: char| c.is_ascii_alphanumeric();
    if let Some(other) = version.chars().find(|c| !is_word(*c) && !"._+-~".contains(*c)) {
        return bad(&format!("`{other}` is not a letter, a digit, `.`, `_`, `+`, `-` or `~`"), None);
    }
    if version.split(|c| !is_word(c)).any(str::is_empty) {
        return bad("a letter or digit must be at both ends and between two marks", None);
    }
    let behind = |mark: char, is_good: fn(&char) -> bool| {
        version.split(mark).skip(1).all(|part| part.chars().next().is_some_and(|c| is_good(&c)))
    };
    if !behind('-', char::is_ascii_digit) {
        let problem = "`-` and a letter are neither before nor behind the version without them for every program";
        return bad(problem, pre_release(version));
    }
    if !behind('~', char::is_ascii_alphabetic) {
        return bad("a letter must be behind `~`, as in `1.0~rc1`", None);
    }
    Ok(())
}

/// The version with `~` before each word that stands behind `-`.
fn pre_release(version: &str) -> Option<String> {
    let mut parts = version.split('-');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        text.push(if part.starts_with(|c: char| c.is_ascii_alphabetic()) { '~' } else { '-' });
        text.push_str(part);
    }
    Some(text)
}

/// The version as a tag of a container image, which has no `~` and no `+` (OCI distribution-spec 1.1, "Pulling manifests"). Two
/// versions that are accepted get two tags, unless they differ in `+` and `_` only.
#[must_use]
pub fn tag(version: &str) -> String {
    version.replace('~', "-").replace('+', "_")
}

/// Compares two versions; greater is newer. No version is refused here: the specification skips all other characters. Where its
/// text and systemd differ (`^`), this is systemd's order, by which systemd-boot 257 chooses.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        (a, b) = (skip(a, |c| !known(c)), skip(b, |c| !known(c)));
        // `1.0~rc1` comes before `1.0`
        if let Some(order) = separator(&mut a, &mut b, b'~') {
            return order;
        }
        if a.is_empty() || b.is_empty() {
            return b.is_empty().cmp(&a.is_empty());
        }
        for mark in [b'-', b'^', b'.'] {
            if let Some(order) = separator(&mut a, &mut b, mark) {
                return order;
            }
        }
        let digits = [a, b].iter().any(|side| side.first().is_some_and(u8::is_ascii_digit));
        let part = |side: &[u8]| {
            let other = |c: &u8| if digits { !c.is_ascii_digit() } else { !c.is_ascii_alphabetic() };
            side.iter().position(other).unwrap_or(side.len())
        };
        let (in_a, in_b) = (part(a), part(b));
        let order = if digits { number(&a[..in_a], &b[..in_b]) } else { a[..in_a].cmp(&b[..in_b]) };
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (&a[in_a..], &b[in_b..]);
    }
}

fn known(c: u8) -> bool {
    c.is_ascii_alphanumeric() || b"~-^.".contains(&c)
}

fn skip(text: &[u8], unwanted: impl Fn(u8) -> bool) -> &[u8] {
    let start = text.iter().position(|c| !unwanted(*c)).unwrap_or(text.len());
    &text[start..]
}

/// Decides where one side alone begins with the mark; where both do, skips it.
fn separator(a: &mut &[u8], b: &mut &[u8], mark: u8) -> Option<Ordering> {
    match (a.first() == Some(&mark), b.first() == Some(&mark)) {
        (true, false) => Some(Ordering::Less),
        (false, true) => Some(Ordering::Greater),
        (true, true) => {
            (*a, *b) = (&a[1..], &b[1..]);
            None
        }
        (false, false) => None,
    }
}

/// Numbers of any length; no number at all is less than any.
fn number(a: &[u8], b: &[u8]) -> Ordering {
    let order = (!a.is_empty()).cmp(&!b.is_empty());
    let (a, b) = (skip(a, |c| c == b'0'), skip(b, |c| c == b'0'));
    order.then(a.len().cmp(&b.len())).then(a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Oldest first: examples of systemd's own test (`test-string-util.c`), and versions of ours.
    #[test]
    fn the_order_is_that_of_the_specification() {
        let sorted = [
            "~rc1",
            "",
            "0.1",
            "0.1.0-kvm-amd64",
            "0.2.0~rc1",
            "0.2.0",
            "0.2.0-1",
            "0.2.0.1",
            "122.1",
            "123~rc1-1",
            "123",
            "123-a",
            "123-a.1",
            "123-1",
            "123-1.1",
            "123^post1",
            "123.a-1",
            "123.1-1",
            "123a-1",
            "124-1",
            "1000",
        ];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "`{a}` and `{b}`");
            }
        }
        assert_eq!(compare("1.002", "1.2"), Ordering::Equal);
        assert_eq!(compare("1.2", "1.10"), Ordering::Less);
        assert_eq!(compare("1_2", "1!2"), Ordering::Equal);
    }

    /// *Version Format Specification*, "Examples". Two of its rows, `` < `~` and `0` < `~`, contradict its text and systemd: `~`
    /// sorts before the end.
    #[test]
    fn the_examples_of_the_specification_hold() {
        use Ordering::{Equal, Greater, Less};
        for (a, order, b) in [
            ("11", Equal, "11"),
            ("systemd-123", Equal, "systemd-123"),
            ("bar-123", Less, "foo-123"),
            ("123a", Greater, "123"),
            ("123.a", Greater, "123"),
            ("123.a", Less, "123.b"),
            ("123a", Greater, "123.a"),
            ("11\u{3b1}", Equal, "11\u{3b2}"),
            ("A", Less, "a"),
            ("", Less, "0"),
            ("0.", Greater, "0"),
            ("0.0", Greater, "0"),
            ("0", Greater, "~"),
            ("", Greater, "~"),
            ("1_", Equal, "1"),
            ("_1", Equal, "1"),
            ("1_", Less, "1.2"),
            ("1_2_3", Greater, "1.3.3"),
            ("1+", Equal, "1"),
            ("+1", Equal, "1"),
            ("1+", Less, "1.2"),
            ("1+2+3", Greater, "1.3.3"),
        ] {
            assert_eq!(compare(a, b), order, "`{a}` and `{b}`");
            assert_eq!(compare(b, a), order.reverse(), "`{b}` and `{a}`");
        }
    }

    #[test]
    fn a_release_follows_its_candidates() {
        let sorted = [
            "0.1.9",
            "0.2.0~alpha",
            "0.2.0~beta2",
            "0.2.0~rc1",
            "0.2.0~rc2",
            "0.2.0~rc10",
            "0.2.0",
            "0.2.0-1",
            "0.2.1",
        ];
        for pair in sorted.windows(2) {
            let image = |version: &str| format!("{version}-kvm-amd64");
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(&image(pair[0]), &image(pair[1])), Ordering::Less, "{pair:?}");
            assert!(pair.iter().all(|version| check_version(version).is_ok()), "{pair:?}");
        }
    }

    #[test]
    fn a_version_that_programs_would_sort_differently_is_refused_with_a_proposal() {
        for good in ["0.1.0", "14.1.0", "0.2.0~rc1", "0.2.0~rc.1", "0.2.0-1", "0.2.0+a.1", "2026_11"] {
            assert_eq!(check_version(good), Ok(()), "{good}");
        }
        for (bad, problem, instead) in [
            ("0.2.0-rc1", "`-` and a letter", Some("0.2.0~rc1")),
            ("0.2.0-beta-2", "`-` and a letter", Some("0.2.0~beta-2")),
            ("0.2.0~1", "a letter must be behind `~`", None),
            ("0.2.0^1", "`^` is not a letter", None),
            ("0.2.0 1", "` ` is not a letter", None),
            ("../0.2.0", "`/` is not a letter", None),
            ("", "both ends", None),
            ("0.2.0~", "both ends", None),
            ("0.2.~rc1", "both ends", None),
        ] {
            let error = check_version(bad).err().unwrap_or_else(|| panic!("`{bad}` is accepted"));
            assert!(error.problem.contains(problem), "{error}");
            assert_eq!(error.instead.as_deref(), instead, "{bad}");
        }
        assert_eq!(tag("0.2.0~rc1"), "0.2.0-rc1");
    }

    proptest! {
        /// systemd-boot compares the first, `update` the second.
        #[test]
        fn images_sort_as_their_versions_do(a in "[0-9ab]([0-9ab.~+_-]{0,6}[0-9ab])?", b in "[0-9ab]([0-9ab.~+_-]{0,6}[0-9ab])?") {
            prop_assume!(check_version(&a).is_ok() && check_version(&b).is_ok());
            let image = |version: &str| format!("{version}-kvm-amd64");
            prop_assert_eq!(compare(&image(&a), &image(&b)), compare(&a, &b));
        }

        #[test]
        fn it_is_an_order(a in "[0-9a-c.~^+-]{0,8}", b in "[0-9a-c.~^+-]{0,8}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
        }
    }
}
