//! A `go.mod` as data, and its text.

use std::fmt;

/// A module at a version, such as `k8s.io/api v0.32.0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// The module's path.
    pub path: String,
    /// The version with its `v`.
    pub version: String,
}

/// One `require` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Require {
    /// What is required, at least at which version.
    pub module: Module,
    /// No package of the main module imports it directly (`// indirect`).
    pub indirect: bool,
    /// The version's human name where `module.version` is a pseudo-version: the repository's tag, kept as a comment.
    pub tag: Option<String>,
}

/// One `replace` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replace {
    /// Path of the module that is replaced.
    pub path: String,
    /// Only this version of it; every version where absent.
    pub version: Option<String>,
    /// What stands in for it.
    pub with: Target,
}

/// What a `replace` line puts in a module's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Another module.
    Module(Module),
    /// A folder of upstream's repository (`./staging/…`), which no module zip holds.
    Folder(String),
}

/// One `exclude` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclude(
    /// The version that is never chosen.
    pub Module,
);

/// The parts of a `go.mod` that matter for building a program from it. `retract` and `ignore` are not among them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GoMod {
    /// Path of the main module.
    pub module: String,
    /// Language version; it also chooses the defaults of GODEBUG.
    pub go: Option<String>,
    /// Explicit GODEBUG settings, `key=value`.
    pub godebug: Vec<String>,
    /// Required modules, in the order of the file.
    pub require: Vec<Require>,
    /// Replaced modules, in the order of the file.
    pub replace: Vec<Replace>,
    /// Versions that are never chosen.
    pub exclude: Vec<Exclude>,
    /// Package paths of commands that belong to the module.
    pub tools: Vec<String>,
}

impl GoMod {
    /// Reads the text of a `go.mod`.
    ///
    /// # Errors
    /// The first line that is not understood.
    pub fn parse(text: &str) -> Result<Self, crate::ParseError> {
        crate::parse::parse(text)
    }

    /// The requirement of `path`.
    #[must_use]
    pub fn required(&self, path: &str) -> Option<&Require> {
        self.require.iter().find(|require| require.module.path == path)
    }

    /// What stands in for a module: the `replace` line of its exact version, else the one for all its versions.
    #[must_use]
    pub fn replaced(&self, path: &str, version: &str) -> Option<&Target> {
        let exact = self.replace.iter().find(|line| line.path == path && line.version.as_deref() == Some(version));
        let any = self.replace.iter().find(|line| line.path == path && line.version.is_none());
        exact.or(any).map(|line| &line.with)
    }
}

/// The text, as `go mod edit -fmt` would leave it.
impl fmt::Display for GoMod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "module {}", self.module)?;
        if let Some(go) = &self.go {
            writeln!(f, "\ngo {go}")?;
        }
        block(f, "godebug", &self.godebug)?;
        let (direct, indirect): (Vec<_>, Vec<_>) = self.require.iter().partition(|require| !require.indirect);
        block(f, "require", &direct)?;
        block(f, "require", &indirect)?;
        block(f, "exclude", &self.exclude)?;
        block(f, "replace", &self.replace)?;
        block(f, "tool", &self.tools)
    }
}

/// One line where there is one, else a parenthesised block.
fn block<T: fmt::Display>(f: &mut fmt::Formatter<'_>, verb: &str, lines: &[T]) -> fmt::Result {
    match lines {
        [] => Ok(()),
        [line] => writeln!(f, "\n{verb} {line}"),
        lines => {
            writeln!(f, "\n{verb} (")?;
            for line in lines {
                writeln!(f, "\t{line}")?;
            }
            writeln!(f, ")")
        }
    }
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.version)
    }
}

impl fmt::Display for Require {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.module.fmt(f)?;
        match (self.indirect, &self.tag) {
            (false, None) => Ok(()),
            (true, None) => write!(f, " // indirect"),
            (false, Some(tag)) => write!(f, " // {tag}"),
            (true, Some(tag)) => write!(f, " // indirect; {tag}"),
        }
    }
}

impl fmt::Display for Exclude {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Replace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if let Some(version) = &self.version {
            write!(f, " {version}")?;
        }
        match &self.with {
            Target::Module(module) => write!(f, " => {module}"),
            Target::Folder(path) => write!(f, " => {path}"),
        }
    }
}
