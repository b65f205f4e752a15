//! Relations between packages: `Depends: a (>= 1) | b:any, c` (Debian Policy §7.1).

use debversion::Version;
use std::{cmp::Ordering, fmt};

/// How a version must compare with the one named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// `<<`
    Less,
    /// `<=` and the obsolete `<`
    LessEqual,
    /// `=`
    Equal,
    /// `>=` and the obsolete `>`
    GreaterEqual,
    /// `>>`
    Greater,
}

impl Op {
    /// Whether a comparison of what is there with what is named satisfies it.
    #[must_use]
    pub fn accepts(self, order: Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::LessEqual => order.is_le(),
            Self::Equal => order.is_eq(),
            Self::GreaterEqual => order.is_ge(),
            Self::Greater => order.is_gt(),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Less => "<<",
            Self::LessEqual => "<=",
            Self::Equal => "=",
            Self::GreaterEqual => ">=",
            Self::Greater => ">>",
        }
    }
}

/// One package that satisfies, breaks or is provided by another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation<'a> {
    /// Package or virtual package.
    pub name: &'a str,
    /// What stands behind the colon: `any`, `native` or an architecture.
    pub arch: Option<&'a str>,
    /// The versions meant; all when there is none.
    pub version: Option<(Op, Version)>,
}

impl Relation<'_> {
    /// Whether the version of something (none for an unversioned `Provides`) is meant.
    #[must_use]
    pub fn accepts(&self, version: Option<&Version>) -> bool {
        match (&self.version, version) {
            (None, _) => true,
            (Some((op, wanted)), Some(version)) => op.accepts(version.cmp(wanted)),
            (Some(_), None) => false,
        }
    }
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(arch) = self.arch {
            write!(f, ":{arch}")?;
        }
        if let Some((op, version)) = &self.version {
            write!(f, " ({} {version})", op.as_str())?;
        }
        Ok(())
    }
}

/// Text that is not a relation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a relation between packages such as `a:any (>= 1)`")]
pub struct BadRelation(pub String);

/// Relations of which one suffices.
pub type Alternatives<'a> = Vec<Relation<'a>>;

/// Parses a field: groups separated by commas, alternatives by bars.
///
/// # Errors
/// [`BadRelation`], also for architecture and build profile restrictions, because binary indexes have none.
pub fn parse(field: &str) -> Result<Vec<Alternatives<'_>>, BadRelation> {
    let groups = field.split(',').map(str::trim).filter(|g| !g.is_empty());
    groups.map(|group| group.split('|').map(one).collect()).collect()
}

fn one(text: &str) -> Result<Relation<'_>, BadRelation> {
    let bad = || BadRelation(text.trim().to_owned());
    let (name, constraint) = match text.split_once('(') {
        Some((name, rest)) => (name.trim(), Some(rest.trim().strip_suffix(')').ok_or_else(bad)?)),
        None => (text.trim(), None),
    };
    let (name, arch) = match name.split_once(':') {
        Some((name, arch)) => (name, Some(arch)),
        None => (name, None),
    };
    let clean = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-._".contains(&b));
    if !clean(name) || !arch.is_none_or(clean) {
        return Err(bad());
    }
    let version = constraint.map(|c| constraint_of(c.trim()).ok_or_else(bad)).transpose()?;
    Ok(Relation { name, arch, version })
}

fn constraint_of(text: &str) -> Option<(Op, Version)> {
    let end = text.find(|c| !"<>=".contains(c))?;
    let op = match &text[..end] {
        "<<" => Op::Less,
        "<=" | "<" => Op::LessEqual,
        "=" => Op::Equal,
        ">=" | ">" => Op::GreaterEqual,
        ">>" => Op::Greater,
        _ => return None,
    };
    Some((op, text[end..].trim().parse().ok()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_groups_of_alternatives() {
        let field =
            "libc6 (>= 2.38), default-mta | mail-transport-agent,python3:any (<< 3.14~),\n g++-14:arm64 (= 1:2-3)";
        let shown: Vec<Vec<String>> =
            parse(field).unwrap().iter().map(|g| g.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(
            shown,
            [
                vec!["libc6 (>= 2.38)"],
                vec!["default-mta", "mail-transport-agent"],
                vec!["python3:any (<< 3.14~)"],
                vec!["g++-14:arm64 (= 1:2-3)"],
            ]
        );
    }

    #[test]
    fn what_is_no_relation_is_refused() {
        for bad in ["a (>= )", "a (~ 1)", "a (>= 1", "a [amd64]", "a <!nocheck>", "|", "a b"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(" , ").unwrap().is_empty());
    }

    #[test]
    fn versions_compare_as_debian_does() {
        let accepts = |relation: &str, version: &str| {
            parse(relation).unwrap()[0][0].accepts(Some(&version.parse::<Version>().unwrap()))
        };
        assert!(accepts("a (<< 1.0)", "1.0~rc1"));
        assert!(accepts("a (>> 9)", "1:1"));
        assert!(accepts("a (= 1.0)", "1.0-0"));
        assert!(!accepts("a (>= 1.0+b1)", "1.0"));
        assert!(!parse("a (>= 1)").unwrap()[0][0].accepts(None), "an unversioned Provides satisfies no version");
    }
}
