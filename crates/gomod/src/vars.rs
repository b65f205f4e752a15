//! Values of the variables that `-ldflags -X` sets, filled from a `go.mod`.
//!
//! | placeholder | is replaced with |
//! |---|---|
//! | `{go}` | the go toolchain's version, `go1.26.1` |
//! | `{version}` | the tag of the module that is built, else its version: `v1.32.0+k3s1` |
//! | `{major}`, `{minor}` | the first and second number of `{version}` |
//! | `{commit}` | the commit in the module's pseudo-version, 12 hex digits |
//! | `{version:<module>}` | the version in use of another module, after `replace`: `v1.31.0-k3s2` |
//! | `{path:<module>}` | the path in use of another module, after `replace`: `github.com/k3s-io/containerd` |
//!
//! So an update of the module changes `go.mod`, and no definition.

use crate::{
    file::{GoMod, Require, Target},
    version::Version,
};

/// A placeholder that cannot be filled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VarError {
    /// The word in braces means nothing.
    #[error(
        "unknown placeholder `{{{name}}}`: use {{go}}, {{version}}, {{major}}, {{minor}}, {{commit}}, {{version:<module>}} or {{path:<module>}}"
    )]
    Unknown {
        /// What stood between the braces.
        name: String,
    },
    /// A `{` has no `}`.
    #[error("`{value}` has a {{ without a }}")]
    Open {
        /// The whole value.
        value: String,
    },
    /// The module is not in the `go.mod`.
    #[error(
        "no module in go.mod has the package or path {path}: `{{version:…}}` and `package:` need one that is required there"
    )]
    NotRequired {
        /// The module's or package's path.
        path: String,
    },
    /// The version has no such part, as `{commit}` of a version that is no pseudo-version.
    #[error("the version {version} has no {part}")]
    Absent {
        /// Which part.
        part: &'static str,
        /// The version of the module.
        version: String,
    },
}

/// Fills the placeholders of `value` for a command at the package path `package`, built with the go toolchain `go`.
///
/// # Errors
/// An unknown placeholder, or one that this `go.mod` has no value for.
pub fn expand(value: &str, package: &str, go: &str, file: &GoMod) -> Result<String, VarError> {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, tail) = after.split_once('}').ok_or_else(|| VarError::Open { value: value.to_owned() })?;
        out.push_str(before);
        out.push_str(&fill(name, package, go, file)?);
        rest = tail;
    }
    out.push_str(rest);
    Ok(out)
}

fn fill(name: &str, package: &str, go: &str, file: &GoMod) -> Result<String, VarError> {
    if let Some((kind @ ("version" | "path"), path)) = name.split_once(':') {
        let module = &file.required(path).ok_or_else(|| VarError::NotRequired { path: path.to_owned() })?.module;
        let used = match file.replaced(&module.path, &module.version) {
            Some(Target::Module(with)) => with,
            Some(Target::Folder(_)) => {
                return Err(VarError::Absent { part: "module", version: module.version.clone() });
            }
            None => module,
        };
        return Ok(if kind == "version" { used.version.clone() } else { used.path.clone() });
    }
    if name == "go" {
        return Ok(go.to_owned());
    }
    let require = owner(package, file).ok_or_else(|| VarError::NotRequired { path: package.to_owned() })?;
    let exact = &require.module.version;
    let shown = require.tag.as_ref().unwrap_or(exact);
    let part = |part, text: Option<&str>| match text {
        Some(text) => Ok(text.to_owned()),
        None => Err(VarError::Absent { part, version: shown.clone() }),
    };
    match name {
        "version" => Ok(shown.clone()),
        "major" => part("major number", Version::parse(shown).map(|v| v.major())),
        "minor" => part("minor number", Version::parse(shown).map(|v| v.minor())),
        "commit" => part("commit", Version::parse(exact).and_then(|v| v.commit())),
        _ => Err(VarError::Unknown { name: name.to_owned() }),
    }
}

/// The required module that holds a package: the one with the longest path that is a prefix of the package's.
fn owner<'a>(package: &str, file: &'a GoMod) -> Option<&'a Require> {
    let holds = |path: &str| package.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    file.require.iter().filter(|line| holds(&line.module.path)).max_by_key(|line| line.module.path.len())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const FILE: &str = "module evek.local/up\nrequire e.com/up v1.32.1-0.20250107171309-cca8facaa33a // v1.32.0+k3s1\n\
        require e.com/tools v0.0.0 // indirect\nreplace e.com/tools => f.com/tools v1.31.0-k3s2\nrequire e.com/plain v1.2.3\n";

    #[test]
    fn every_placeholder_has_its_value() {
        let file = GoMod::parse(FILE).unwrap();
        for (value, expected) in [
            ("{go}", "go1.26.1"),
            ("{version}", "v1.32.0+k3s1"),
            ("{major}.{minor}-x", "1.32-x"),
            ("{commit}", "cca8facaa33a"),
            ("{version:e.com/tools}", "v1.31.0-k3s2"),
            ("{path:e.com/tools}", "f.com/tools"),
            ("{version:e.com/plain}", "v1.2.3"),
            ("clean", "clean"),
        ] {
            assert_eq!(expand(value, "e.com/up/cmd/server", "go1.26.1", &file).unwrap(), expected, "{value}");
        }
        assert_eq!(expand("{version}", "e.com/plain", "go1.26.1", &file).unwrap(), "v1.2.3");
    }

    #[test]
    fn what_has_no_value_is_an_error() {
        let file = GoMod::parse(FILE).unwrap();
        let fails = |value: &str, package: &str| expand(value, package, "go1.26.1", &file).unwrap_err();
        assert!(matches!(fails("{commit}", "e.com/plain"), VarError::Absent { part: "commit", .. }));
        assert!(matches!(fails("{version}", "e.com/upper"), VarError::NotRequired { .. }));
        assert!(matches!(fails("{version:g.com/x}", "e.com/up"), VarError::NotRequired { .. }));
        assert!(matches!(fails("{date}", "e.com/up"), VarError::Unknown { .. }));
        assert!(matches!(fails("{version", "e.com/up"), VarError::Open { .. }));
    }
}
