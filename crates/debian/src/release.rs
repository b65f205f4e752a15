//! The signed index of a suite, `InRelease`: who signed it, until when it holds, and the digests of the package indexes.
//!
//! ```text
//! InRelease ──signature──► text ──SHA256:──► main/binary-amd64/Packages.xz by digest
//! ```

use crate::deb822;
use sequoia_openpgp::{
    Cert, KeyHandle,
    cert::CertParser,
    parse::{
        Parse as _,
        stream::{MessageLayer, MessageStructure, VerificationHelper, VerifierBuilder},
    },
    policy::StandardPolicy,
};
use std::{collections::BTreeMap, io::Read as _, time::Duration, time::SystemTime};
use types::Digest;

/// Debian's keys for trixie: archive, security archive, stable release (package debian-archive-keyring 2025.1).
const KEYRING: [&[u8]; 3] = [
    include_bytes!("../keyring/debian-archive-trixie-automatic.asc"),
    include_bytes!("../keyring/debian-archive-trixie-security-automatic.asc"),
    include_bytes!("../keyring/debian-archive-trixie-stable.asc"),
];

/// Why an `InRelease` file is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// No key of the keyring signed these bytes.
    #[error("{suite}: the signature of InRelease is not good: {reason}; a proxy or a mirror may have changed the file")]
    Signature {
        /// The suite asked for.
        suite: String,
        /// What the verifier said of each signature.
        reason: String,
    },
    /// The signature is good and the file is older than it says it may be.
    #[error(
        "{suite}: InRelease was valid until {valid_until}; the mirror is stale or this machine's clock is wrong \
         (--allow-expired takes it all the same)"
    )]
    Expired {
        /// The suite asked for.
        suite: String,
        /// The field `Valid-Until` as written.
        valid_until: String,
    },
    /// The file is signed by Debian but is of another suite.
    #[error("{suite}: the mirror sent InRelease of {found}")]
    OtherSuite {
        /// The suite asked for.
        suite: String,
        /// Codename in the file.
        found: String,
    },
    /// A field is missing or unreadable.
    #[error("{suite}: InRelease has no readable field {field}")]
    Field {
        /// The suite asked for.
        suite: String,
        /// Its name.
        field: &'static str,
    },
}

/// What an `InRelease` says, its signature having been found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// `stable-security`
    pub suite: String,
    /// `trixie-security`
    pub codename: String,
    /// When it was made, as written.
    pub date: String,
    /// Until when it holds, as written.
    pub valid_until: Option<String>,
    /// Whether files can be had by digest: `…/by-hash/SHA256/<hex>`.
    pub by_hash: bool,
    /// Digest and size of each file, by path below the suite's folder.
    pub files: BTreeMap<String, (Digest, u64)>,
}

/// Whether a `Valid-Until` in the past is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// It is, seen from this moment.
    At(SystemTime),
    /// The user takes the file at any age.
    Ignored,
}

impl Release {
    /// Verifies and reads the `InRelease` file of `suite` (a codename such as `trixie-updates`).
    ///
    /// # Errors
    /// As [`ReleaseError`] lists.
    pub fn verify(suite: &str, in_release: &[u8], expiry: Expiry) -> Result<Self, ReleaseError> {
        let now = if let Expiry::At(now) = expiry { Some(now) } else { None };
        let text = signed_text(in_release, now)
            .map_err(|reason| ReleaseError::Signature { suite: suite.to_owned(), reason: format!("{reason:#}") })?;
        let release = Self::parse(suite, &String::from_utf8_lossy(&text))?;
        if release.codename != suite && release.suite != suite {
            return Err(ReleaseError::OtherSuite { suite: suite.to_owned(), found: release.codename });
        }
        if let (Expiry::At(now), Some(valid_until)) = (expiry, &release.valid_until) {
            let until = rfc2822(valid_until)
                .ok_or_else(|| ReleaseError::Field { suite: suite.to_owned(), field: "Valid-Until" })?;
            if now > until {
                return Err(ReleaseError::Expired { suite: suite.to_owned(), valid_until: valid_until.clone() });
            }
        }
        Ok(release)
    }

    fn parse(suite: &str, text: &str) -> Result<Self, ReleaseError> {
        let missing = |field| ReleaseError::Field { suite: suite.to_owned(), field };
        let stanza = deb822::stanzas(text).next().ok_or_else(|| missing("Codename"))?;
        let field = |name| stanza.get(name).map(str::to_owned).ok_or_else(|| missing(name));
        let mut files = BTreeMap::new();
        for line in field("SHA256")?.lines().filter(|l| !l.trim().is_empty()) {
            let mut parts = line.split_whitespace();
            let (digest, size) = (parts.next().and_then(|d| d.parse().ok()), parts.next().and_then(|s| s.parse().ok()));
            let (Some(digest), Some(size), Some(path)) = (digest, size, parts.next()) else {
                return Err(missing("SHA256"));
            };
            files.insert(path.to_owned(), (digest, size));
        }
        Ok(Self {
            suite: field("Suite")?,
            codename: field("Codename")?,
            date: field("Date")?,
            valid_until: stanza.get("Valid-Until").map(str::to_owned),
            by_hash: stanza.get("Acquire-By-Hash") == Some("yes"),
            files,
        })
    }
}

struct Keyring(Vec<Cert>);

impl VerificationHelper for Keyring {
    fn get_certs(&mut self, ids: &[KeyHandle]) -> sequoia_openpgp::Result<Vec<Cert>> {
        let wanted = |c: &&Cert| c.keys().any(|k| ids.iter().any(|id| id.aliases(k.key().key_handle())));
        Ok(self.0.iter().filter(wanted).cloned().collect())
    }

    /// One good signature suffices, as for apt: a suite is also signed with keys of the releases before and after it.
    fn check(&mut self, structure: MessageStructure<'_>) -> sequoia_openpgp::Result<()> {
        let mut problems = Vec::new();
        for layer in structure {
            let MessageLayer::SignatureGroup { results } = layer else { continue };
            for result in results {
                match result {
                    Ok(_) => return Ok(()),
                    Err(error) => problems.push(error.to_string()),
                }
            }
        }
        let problems = if problems.is_empty() { "nothing is signed".to_owned() } else { problems.join("; ") };
        Err(std::io::Error::other(problems).into())
    }
}

fn signed_text(in_release: &[u8], now: Option<SystemTime>) -> sequoia_openpgp::Result<Vec<u8>> {
    let mut certs = Vec::new();
    for file in KEYRING {
        for cert in CertParser::from_bytes(file)? {
            certs.push(cert?);
        }
    }
    let policy = StandardPolicy::new();
    let mut verifier = VerifierBuilder::from_bytes(in_release)?.with_policy(&policy, now, Keyring(certs))?;
    let mut text = Vec::with_capacity(in_release.len());
    verifier.read_to_end(&mut text)?;
    Ok(text)
}

/// `Thu, 26 Nov 2026 02:12:54 UTC`, the one form that Debian's archive software writes.
fn rfc2822(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [_, day, month, year, time, "UTC" | "GMT" | "+0000"] = parts[..] else { return None };
    let month = MONTHS.iter().position(|m| *m == month)? as i64 + 1;
    let (day, year): (i64, i64) = (day.parse().ok()?, year.parse().ok()?);
    let clock: Vec<i64> = time.split(':').map(|n| n.parse().ok()).collect::<Option<_>>()?;
    let [hour, minute, second] = clock[..] else { return None };
    // Days since 1970 of a Gregorian date: count years from March, so that the leap day is the last of its year.
    let year_from_march = if month > 2 { year } else { year - 1 };
    let (era, month_from_march) = (year_from_march.div_euclid(400), (month + 9) % 12);
    let year_of_era = year_from_march.rem_euclid(400);
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let seconds = u64::try_from(days * 86_400 + hour * 3_600 + minute * 60 + second).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// trixie-updates as served on 2026-11-19.
    const IN_RELEASE: &[u8] = include_bytes!("../testdata/trixie-updates_InRelease");

    const IN_TIME: &str = "Thu, 26 Nov 2026 02:12:54 UTC";

    fn at(text: &str) -> Expiry {
        Expiry::At(rfc2822(text).unwrap())
    }

    #[test]
    fn a_signed_index_is_accepted_until_it_expires() {
        let release = Release::verify("trixie-updates", IN_RELEASE, at(IN_TIME)).unwrap();
        assert_eq!((release.codename.as_str(), release.by_hash), ("trixie-updates", true));
        assert_eq!(release.date, "Thu, 19 Nov 2026 02:12:54 UTC");
        assert!(release.files.contains_key("main/binary-arm64/Packages.xz"));

        let late = at("Thu, 26 Nov 2026 02:12:55 UTC");
        let error = Release::verify("trixie-updates", IN_RELEASE, late).unwrap_err();
        assert!(matches!(error, ReleaseError::Expired { .. }), "{error}");
        Release::verify("trixie-updates", IN_RELEASE, Expiry::Ignored).unwrap();
    }

    #[test]
    fn one_changed_byte_makes_the_signature_bad() {
        let mut changed = IN_RELEASE.to_vec();
        let place = changed.windows(12).position(|w| w == b"Packages.xz\n").unwrap() - 40;
        changed[place] ^= 1;
        let error = Release::verify("trixie-updates", &changed, at(IN_TIME)).unwrap_err();
        assert!(matches!(error, ReleaseError::Signature { .. }), "{error}");
    }

    #[test]
    fn an_unsigned_index_is_refused() {
        let error = Release::verify("trixie", b"Suite: stable\nCodename: trixie\n", Expiry::Ignored).unwrap_err();
        assert!(matches!(error, ReleaseError::Signature { .. }), "{error}");
    }

    #[test]
    fn the_index_of_another_suite_is_refused() {
        let error = Release::verify("trixie", IN_RELEASE, at(IN_TIME)).unwrap_err();
        assert_eq!(error.to_string(), "trixie: the mirror sent InRelease of trixie-updates");
    }

    #[test]
    fn dates_are_seconds_since_1970() {
        let seconds = |s| rfc2822(s).map(|t| t.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
        assert_eq!(seconds("Thu, 01 Jan 2026 00:00:00 UTC"), Some(1_767_225_600));
        assert_eq!(seconds("Tue, 29 Feb 2000 12:00:01 UTC"), Some(951_825_601));
        assert_eq!(seconds("yesterday"), None);
    }
}
