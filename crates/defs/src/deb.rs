use crate::Located;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, collections::BTreeSet, fmt, str::FromStr};
use types::Arch;

/// A Debian package that a definition asks for: its name, and optionally the architectures, as in a `Build-Depends`
/// field (Debian Policy §7.1): `qemu-system-x86 [amd64]`, `grub-common [!arm64]`.
///
/// The architectures are those of the device; in the toolbox those of the host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Deb {
    /// The package: `name`, or `name:arm64` for the package of another architecture.
    pub name: String,
    archs: BTreeSet<Arch>,
}

/// Text that is not a Debian package with an optional restriction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadDeb {
    /// Debian Policy §5.6.1 forbids such a name.
    #[error("`{0}` is not the name of a Debian package")]
    Name(String),
    /// The text after the name is no list of architectures.
    #[error("`{0}` is not a list of architectures such as `[amd64]` or `[!amd64]`")]
    Restriction(String),
    /// An unknown architecture.
    #[error(transparent)]
    Arch(#[from] types::UnknownChoice),
}

impl Deb {
    /// Whether it is asked for on this architecture.
    #[must_use]
    pub fn is_for(&self, arch: Arch) -> bool {
        self.archs.contains(&arch)
    }

    /// Whether a list asks for anything on this architecture.
    #[must_use]
    pub fn any_for(list: &[Located<Self>], arch: Arch) -> bool {
        list.iter().any(|deb| deb.is_for(arch))
    }
}

impl FromStr for Deb {
    type Err = BadDeb;

    fn from_str(text: &str) -> Result<Self, BadDeb> {
        let (name, list) = match text.split_once('[') {
            Some((name, list)) => (name.trim_end(), Some(list)),
            None => (text, None),
        };
        if !is_name(name) {
            return Err(BadDeb::Name(name.to_owned()));
        }
        let archs = match list {
            None => Arch::ALL.into(),
            Some(list) => restriction(list).ok_or_else(|| BadDeb::Restriction(format!("[{list}")))??,
        };
        Ok(Self { name: name.to_owned(), archs })
    }
}

/// The architectures of `amd64 arm64]`, or all others when each is negated; `None` when the text is no such list.
fn restriction(list: &str) -> Option<Result<BTreeSet<Arch>, types::UnknownChoice>> {
    let words: Vec<&str> = list.strip_suffix(']')?.split_whitespace().collect();
    let negated = words.iter().filter(|w| w.starts_with('!')).count();
    if words.is_empty() || (negated != 0 && negated != words.len()) {
        return None;
    }
    let named: Result<BTreeSet<Arch>, _> = words.iter().map(|w| w.trim_start_matches('!').parse()).collect();
    let meant = |named: &BTreeSet<Arch>| -> BTreeSet<Arch> {
        Arch::ALL.into_iter().filter(|a| named.contains(a) == (negated == 0)).collect()
    };
    match named.map(|named| meant(&named)) {
        // a package for nobody is a mistake
        Ok(archs) if archs.is_empty() => None,
        other => Some(other),
    }
}

/// Debian Policy §5.6.1, with an optional `:arch`.
pub(crate) fn is_name(name: &str) -> bool {
    let (package, arch) = name.split_once(':').unwrap_or((name, "all"));
    let lower_or_digit = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    package.len() >= 2
        && package.starts_with(lower_or_digit)
        && package.chars().all(|c| lower_or_digit(c) || "+-.".contains(c))
        && (arch == "all" || Arch::ALL.iter().any(|a| a.as_str() == arch))
}

impl fmt::Display for Deb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.archs.len() < Arch::ALL.len() {
            let archs: Vec<&str> = self.archs.iter().map(|a| a.as_str()).collect();
            write!(f, " [{}]", archs.join(" "))?;
        }
        Ok(())
    }
}

impl Serialize for Deb {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Deb {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

impl JsonSchema for Deb {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Deb".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_for_all_architectures_or_for_those_named() {
        for (text, amd64, arm64) in [
            ("curl", true, true),
            ("qemu-system-x86 [amd64]", true, false),
            ("qemu-system-arm[ arm64 ]", false, true),
            ("both [arm64 amd64]", true, true),
            ("not-there [!arm64]", true, false),
            ("libc6-dev:arm64 [amd64]", true, false),
        ] {
            let deb: Deb = text.parse().unwrap();
            assert_eq!((deb.is_for(Arch::Amd64), deb.is_for(Arch::Arm64)), (amd64, arm64), "{text}");
            assert_eq!(deb.to_string().parse::<Deb>().unwrap(), deb, "{text}");
        }
    }

    #[test]
    fn what_is_no_package_or_no_list_is_refused() {
        for (text, expected) in [
            ("Curl", "`Curl` is not the name of a Debian package"),
            ("curl:mips", "`curl:mips` is not the name of a Debian package"),
            ("curl (>= 8)", "`curl (>= 8)` is not the name of a Debian package"),
            ("curl [amd64", "`[amd64` is not a list of architectures such as `[amd64]` or `[!amd64]`"),
            ("curl []", "`[]` is not a list of architectures such as `[amd64]` or `[!amd64]`"),
            (
                "curl [!amd64 !arm64]",
                "`[!amd64 !arm64]` is not a list of architectures such as `[amd64]` or `[!amd64]`",
            ),
            ("curl [amd64 !arm64]", "`[amd64 !arm64]` is not a list of architectures such as `[amd64]` or `[!amd64]`"),
            ("curl [mips]", "unknown ARCH `mips`: choose one of amd64, arm64"),
        ] {
            assert_eq!(text.parse::<Deb>().unwrap_err().to_string(), expected);
        }
    }
}
