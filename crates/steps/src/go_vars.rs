//! The linker variables of a Go program, filled from its go.mod.

use crate::Error;
use std::{collections::BTreeMap, fs, path::Path};

pub(crate) fn expand(
    program: &defs::GoProgram,
    package: &str,
    go: &str,
    go_mod: &Path,
) -> Result<BTreeMap<String, String>, Error> {
    if program.vars.is_empty() {
        return Ok(BTreeMap::new());
    }
    let text = fs::read_to_string(go_mod).map_err(|source| Error::Source { path: go_mod.to_owned(), source })?;
    let wrong = |reason: String| Error::GoMod { path: go_mod.to_owned(), reason };
    let file = gomod::GoMod::parse(&text).map_err(|e| wrong(e.to_string()))?;
    let fill = |(name, value): (&String, &String)| {
        let path =
            |text: &str| gomod::vars::expand(text, package, go, &file).map_err(|e| wrong(format!("{name}: {e}")));
        Ok((path(name)?, path(value)?))
    };
    program.vars.iter().map(fill).collect()
}
