//! Versions of Go modules: Semantic Versioning 2.0 with a leading `v` (Go Modules Reference, *Versions*).

use std::cmp::Ordering;

/// A version taken apart. Build metadata (`+incompatible`, `+k3s1`) takes no part in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version<'a> {
    numbers: [&'a str; 3],
    pre: &'a str,
    build: &'a str,
}

impl<'a> Version<'a> {
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (rest, build) = match text.strip_prefix('v')?.split_once('+') {
            Some((rest, build)) => (rest, build),
            None => (text.strip_prefix('v')?, ""),
        };
        let (core, pre) = rest.split_once('-').unwrap_or((rest, ""));
        let mut parts = core.split('.');
        let numbers = [parts.next()?, parts.next()?, parts.next()?];
        let digits = |s: &&str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        let word = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'));
        (parts.next().is_none() && numbers.iter().all(digits) && word(pre) && word(build)).then_some(Self {
            numbers,
            pre,
            build,
        })
    }

    pub(crate) const fn major(&self) -> &'a str {
        self.numbers[0]
    }

    pub(crate) const fn minor(&self) -> &'a str {
        self.numbers[1]
    }

    /// The 12 digits of the commit, where this is a pseudo-version: it ends in `<14 digits of time>-<12 hex digits>`.
    pub(crate) fn commit(&self) -> Option<&'a str> {
        let (time, commit) = self.pre.rsplit_once('-')?;
        let time = time.rsplit('.').next()?;
        let is_time = time.len() == 14 && time.bytes().all(|b| b.is_ascii_digit());
        let is_commit = commit.len() == 12 && commit.bytes().all(|b| b.is_ascii_hexdigit());
        (is_time && is_commit).then_some(commit)
    }

    /// SemVer §11, with the build metadata left out.
    pub(crate) fn order(&self, other: &Version<'_>) -> Ordering {
        let numbers = self.numbers.iter().zip(other.numbers).map(|(a, b)| number(a, b));
        let core = numbers.fold(Ordering::Equal, Ordering::then);
        core.then_with(|| match (self.pre, other.pre) {
            ("", "") => Ordering::Equal,
            ("", _) => Ordering::Greater,
            (_, "") => Ordering::Less,
            (a, b) => prerelease(a, b),
        })
    }
}

/// Numbers of any length without a sign or leading zeros.
fn number(a: &str, b: &str) -> Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn prerelease(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let (a, b) = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => (a, b),
        };
        let numeric = |s: &str| s.bytes().all(|c| c.is_ascii_digit());
        let order = match (numeric(a), numeric(b)) {
            (true, true) => number(a, b),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => a.cmp(b),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// The order in which the go client sorts versions of one module in `go.sum`: by precedence, a bad version before all,
/// equal precedence by text (golang.org/x/mod/semver, `ByVersion`).
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    match (Version::parse(a), Version::parse(b)) {
        (Some(x), Some(y)) => x.order(&y).then_with(|| a.cmp(b)),
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_semver_standard_is_in_order() {
        let order = [
            "v1.0.0-alpha",
            "v1.0.0-alpha.1",
            "v1.0.0-alpha.beta",
            "v1.0.0-beta",
            "v1.0.0-beta.2",
            "v1.0.0-beta.11",
            "v1.0.0-rc.1",
            "v1.0.0",
            "v1.2.0",
            "v1.10.0",
        ];
        for pair in order.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
    }

    #[test]
    fn a_pseudo_version_gives_its_commit() {
        let commit = |text| Version::parse(text).unwrap().commit();
        assert_eq!(commit("v1.32.1-0.20250107171309-cca8facaa33a"), Some("cca8facaa33a"));
        assert_eq!(commit("v0.0.0-20240829224721-34be6d96d17d"), Some("34be6d96d17d"));
        assert_eq!(commit("v2.0.0-rc.1"), None);
        assert_eq!(commit("v1.12.4"), None);
    }
}
