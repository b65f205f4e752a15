//! `oci://<host>[:<port>]/<name>`, and tags.

use crate::Error;
use std::fmt;

/// A repository of a registry: `oci://<host>[:<port>]/<name>`, or `oci+http://…` without TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    tls: bool,
    host: String,
    name: String,
}

impl Address {
    /// Reads one; `None` for what is meant as something else, such as a path.
    ///
    /// # Errors
    /// [`Error::Address`].
    pub fn read(text: &str) -> Result<Option<Self>, Error> {
        let (tls, rest) = match (text.strip_prefix("oci://"), text.strip_prefix("oci+http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Ok(None),
        };
        let bad = |problem: &str| Err(Error::Address { found: text.to_owned(), problem: problem.to_owned() });
        let Some((host, name)) = rest.split_once('/') else {
            return bad("it names a registry and nothing in it");
        };
        if host.contains('@') {
            return bad("user and password do not belong there, but into the file that `docker login` writes");
        }
        if !is_host(host) {
            return bad("the registry is no host with a port");
        }
        if name.contains([':', '@']) {
            return bad("tags are not chosen there: they are named after the image");
        }
        if !is_name(name) {
            return bad(
                "names in registries have lower-case letters and digits, between which `.`, `_`, `-` and `/` may be",
            );
        }
        Ok(Some(Self { tls, host: host.to_owned(), name: name.to_owned() }))
    }

    /// `<host>[:<port>]`
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What it is called in the registry.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn tls(&self) -> bool {
        self.tls
    }

    /// `https://<host>`
    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.host)
    }

    /// `https://<host>/v2/<name>/<rest>`
    pub(crate) fn url(&self, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.origin(), self.name)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/{}", if self.tls { "oci" } else { "oci+http" }, self.host, self.name)
    }
}

fn is_host(host: &str) -> bool {
    let port = |port: &str| port.parse::<u16>().is_ok();
    let (host, port_is_good) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((ip, rest)) => {
            return ip.parse::<std::net::Ipv6Addr>().is_ok()
                && (rest.is_empty() || rest.strip_prefix(':').is_some_and(port));
        }
        None => host.split_once(':').map_or((host, true), |(host, number)| (host, port(number))),
    };
    port_is_good && !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
}

/// distribution-spec 1.1, "Pulling manifests":
/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*`
fn is_name(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let between = |text: &str| matches!(text, "." | "_" | "__") || text.bytes().all(|b| b == b'-');
    name.split('/').all(|part| {
        part.starts_with(is_word)
            && part.ends_with(is_word)
            && part.split(is_word).filter(|t| !t.is_empty()).all(between)
    })
}

/// What a manifest is called in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(String);

impl Tag {
    /// The tag of a version. No tag has a `+` or a `~`, so `+` becomes `_`, and `~` becomes `-`.
    ///
    /// # Errors
    /// [`Error::Tag`], where it has what no tag may have.
    pub fn of(version: &str) -> Result<Self, Error> {
        let tag = version.replace('+', "_").replace('~', "-");
        // distribution-spec 1.1, "Pulling manifests": [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}
        let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if tag.is_empty() || tag.len() > 128 || tag.starts_with(['.', '-']) || !tag.chars().all(is_good) {
            return Err(Error::Tag { found: version.to_owned() });
        }
        Ok(Self(tag))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_a_registry_and_something_in_it() {
        for (text, origin, name) in [
            ("oci://registry.example/evek", "https://registry.example", "evek"),
            ("oci+http://127.0.0.1:5000/a/b-c__d.e", "http://127.0.0.1:5000", "a/b-c__d.e"),
            ("oci://[::1]:5000/x--y", "https://[::1]:5000", "x--y"),
        ] {
            let address = Address::read(text).unwrap().unwrap();
            assert_eq!((address.origin().as_str(), address.name(), address.to_string().as_str()), (origin, name, text));
        }
        for path in ["/srv/updates", "updates.tar", "oci", "http://registry.example/x"] {
            assert_eq!(Address::read(path).unwrap(), None, "{path}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_address_is_said() {
        for (text, says) in [
            ("oci://registry.example", "nothing in it"),
            ("oci://registry.example/", "lower-case"),
            ("oci:///evek", "no host"),
            ("oci://a b/evek", "no host"),
            ("oci://registry.example:99999/evek", "no host"),
            ("oci://me:secret@registry.example/evek", "docker login"),
            ("oci://registry.example/evek:1.0", "tags are not chosen there"),
            ("oci://registry.example/Evek", "lower-case"),
            ("oci://registry.example/a//b", "lower-case"),
            ("oci://registry.example/a/../b", "lower-case"),
            ("oci://registry.example/a-", "lower-case"),
            ("oci://registry.example/a._b", "lower-case"),
        ] {
            let said = Address::read(text).unwrap_err().to_string();
            assert!(said.contains(says), "{said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn a_tag_has_no_plus_and_no_tilde() {
        assert_eq!(Tag::of("0.2.0~rc1-kvm-amd64").unwrap().to_string(), "0.2.0-rc1-kvm-amd64");
        assert_eq!(Tag::of("0.2.0+g1234-kvm-amd64").unwrap().to_string(), "0.2.0_g1234-kvm-amd64");
        for bad in ["", "-x", ".x", "a b", "a/b", "ä", &"x".repeat(129)] {
            assert!(Tag::of(bad).is_err(), "{bad}");
        }
    }
}
