//! From upstream's `go.mod` and `go.sum` to our own.

use crate::{
    file::{GoMod, Module, Replace, Require, Target},
    sum::{GoSum, SumError},
};

/// What our module is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakeOver {
    /// Path of our module, such as `evek.local/k3s`.
    pub name: String,
    /// Upstream's module at the version to build.
    pub module: Module,
    /// The version's human name where it is a pseudo-version.
    pub tag: Option<String>,
    /// Hash of the module's zip, `h1:…`.
    pub zip_hash: String,
    /// Hash of the module's `go.mod`, `h1:…`.
    pub mod_hash: String,
    /// Package paths of the commands to build.
    pub tools: Vec<String>,
    /// Our own replacements; they take precedence over upstream's of the same path.
    pub replace: Vec<Replace>,
}

/// Why upstream's files cannot be taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TakeOverError {
    /// The `go.mod` is that of another module.
    #[error("the go.mod is that of {found}, not of {expected}")]
    OtherModule {
        /// The module that was to be taken over.
        expected: String,
        /// The one that the file names.
        found: String,
    },
    /// A package to build is outside of the module.
    #[error("the command {tool} is not in the module {module}: name a package of it")]
    ForeignTool {
        /// The package path.
        tool: String,
        /// The module's path.
        module: String,
    },
    /// Upstream replaces a module with a folder of its repository, which the module's zip does not hold.
    #[error("upstream replaces {path} with its own folder {folder}: name a published module that stands in for it")]
    Folder {
        /// The replaced module.
        path: String,
        /// The folder in upstream's repository.
        folder: String,
    },
    /// The hashes contradict each other.
    #[error(transparent)]
    Sum(#[from] SumError),
}

/// Our `go.mod` and `go.sum` for `what`, made from upstream's.
///
/// # Errors
/// Upstream's file is another module's, a tool is not in the module, upstream replaces a module with a folder and `what` has
/// nothing in its place, or two hashes differ.
pub fn take_over(what: &TakeOver, upstream: &GoMod, sum: &GoSum) -> Result<(GoMod, GoSum), TakeOverError> {
    let Module { path, version } = &what.module;
    if upstream.module != *path {
        return Err(TakeOverError::OtherModule { expected: path.clone(), found: upstream.module.clone() });
    }
    let inside =
        |tool: &str| tool.strip_prefix(path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if let Some(tool) = what.tools.iter().find(|tool| !inside(tool)) {
        return Err(TakeOverError::ForeignTool { tool: tool.clone(), module: path.clone() });
    }
    let ours = |line: &&Replace| !what.replace.iter().any(|own| own.path == line.path);
    let mut replace: Vec<Replace> = upstream.replace.iter().filter(ours).cloned().collect();
    if let Some((path, folder)) = replace.iter().find_map(|line| match &line.with {
        Target::Folder(folder) => Some((line.path.clone(), folder.clone())),
        Target::Module(_) => None,
    }) {
        return Err(TakeOverError::Folder { path, folder });
    }
    replace.extend(what.replace.iter().cloned());

    let mut require = vec![Require { module: what.module.clone(), indirect: false, tag: what.tag.clone() }];
    // Nothing of ours imports them, so all are indirect, and upstream's remarks are about upstream's code.
    let rest = upstream.require.iter().map(|line| Require { indirect: true, tag: None, ..line.clone() });
    require.extend(rest);
    require[1..].sort_by(|a, b| a.module.path.cmp(&b.module.path));

    let mut sum = sum.clone();
    sum.add(path, version, &what.zip_hash)?;
    sum.add(path, &format!("{version}/go.mod"), &what.mod_hash)?;
    let file = GoMod {
        module: what.name.clone(),
        go: upstream.go.clone(),
        godebug: upstream.godebug.clone(),
        require,
        replace,
        exclude: upstream.exclude.clone(),
        tools: what.tools.clone(),
    };
    Ok((file, sum))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn what() -> TakeOver {
        TakeOver {
            name: "evek.local/up".to_owned(),
            module: Module {
                path: "example.com/up".to_owned(),
                version: "v1.0.1-0.20250101000000-0123456789ab".to_owned(),
            },
            tag: Some("v1.0.0+x1".to_owned()),
            zip_hash: "h1:zip=".to_owned(),
            mod_hash: "h1:mod=".to_owned(),
            tools: vec!["example.com/up/cmd/server".to_owned()],
            replace: Vec::new(),
        }
    }

    const UPSTREAM: &str = "module example.com/up\n\ngo 1.23.3\n\nrequire (\n\tb.com/b v1.0.0\n\ta.com/a v1.0.0 // indirect\n)\n\n\
        replace b.com/b => c.com/b v1.0.1 // pinned\n";

    #[test]
    fn upstreams_lines_become_ours() {
        let sum = GoSum::parse("a.com/a v1.0.0/go.mod h1:a=\n").unwrap();
        let (file, sum) = take_over(&what(), &GoMod::parse(UPSTREAM).unwrap(), &sum).unwrap();
        assert_eq!(
            file.to_string(),
            "module evek.local/up\n\ngo 1.23.3\n\n\
             require example.com/up v1.0.1-0.20250101000000-0123456789ab // v1.0.0+x1\n\n\
             require (\n\ta.com/a v1.0.0 // indirect\n\tb.com/b v1.0.0 // indirect\n)\n\n\
             replace b.com/b => c.com/b v1.0.1\n\n\
             tool example.com/up/cmd/server\n"
        );
        assert_eq!(
            sum.to_string(),
            "a.com/a v1.0.0/go.mod h1:a=\n\
             example.com/up v1.0.1-0.20250101000000-0123456789ab h1:zip=\n\
             example.com/up v1.0.1-0.20250101000000-0123456789ab/go.mod h1:mod=\n"
        );
    }

    #[test]
    fn a_folder_needs_a_published_module_in_its_place() {
        let upstream = GoMod::parse(&UPSTREAM.replace("c.com/b v1.0.1", "./staging/b")).unwrap();
        let error = take_over(&what(), &upstream, &GoSum::default()).unwrap_err();
        assert_eq!(error, TakeOverError::Folder { path: "b.com/b".to_owned(), folder: "./staging/b".to_owned() });
        let with = Target::Module(Module { path: "b.com/b".to_owned(), version: "v1.0.9".to_owned() });
        let own = TakeOver { replace: vec![Replace { path: "b.com/b".to_owned(), version: None, with }], ..what() };
        let (file, _) = take_over(&own, &upstream, &GoSum::default()).unwrap();
        assert_eq!(file.replace, own.replace);
    }

    #[test]
    fn another_modules_file_and_a_foreign_tool_are_refused() {
        let other = GoMod::parse("module example.com/other\n").unwrap();
        assert!(matches!(take_over(&what(), &other, &GoSum::default()), Err(TakeOverError::OtherModule { .. })));
        let own = TakeOver { tools: vec!["example.com/upper/cmd".to_owned()], ..what() };
        let upstream = GoMod::parse(UPSTREAM).unwrap();
        assert!(matches!(take_over(&own, &upstream, &GoSum::default()), Err(TakeOverError::ForeignTool { .. })));
    }
}
