//! The files of CONFIG that P3 is sealed to, by path and digest. The list lies on P3: someone who changes CONFIG on a bench
//! cannot change the list with it.

use crate::{error::Error, file, measure, paths::Paths};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fmt::{self, Display},
    fs, io,
    path::PathBuf,
};
use types::Digest;

/// Path below CONFIG → digest.
pub(crate) type Files = BTreeMap<String, Digest>;

/// How the files of CONFIG differ from those that P3 is sealed to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Changes {
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
}

fn path(paths: &Paths) -> PathBuf {
    paths.state.join("sealed-config.json")
}

/// The sealed list; `None` where there is none yet.
fn sealed(paths: &Paths) -> Result<Option<Files>, Error> {
    let path = path(paths);
    let text = match fs::read(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(Error::io("read", &path))?,
    };
    let damaged = |problem: String| Error::SealedConfig { path: path.clone(), problem };
    let list: BTreeMap<String, String> = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
    let parsed = list.into_iter().map(|(file, digest)| match digest.parse() {
        Ok(digest) => Ok((file, digest)),
        Err(_) => Err(damaged(format!("`{digest}` is no digest"))),
    });
    parsed.collect::<Result<_, _>>().map(Some)
}

/// Writes the list of the files that P3 is sealed to, unless it is there.
pub(crate) fn keep(paths: &Paths, files: &Files) -> Result<(), Error> {
    // a damaged list is replaced
    if matches!(sealed(paths), Ok(Some(list)) if list == *files) {
        return Ok(());
    }
    let list: BTreeMap<&str, String> = files.iter().map(|(file, digest)| (file.as_str(), digest.hex())).collect();
    file::private_folder(&paths.state)?;
    file::replace(&path(paths), serde_json::json!(list).to_string().as_bytes())
}

/// The changes since the sealing; `None` where no list is kept.
pub(crate) fn since_sealing(paths: &Paths) -> Result<Option<Changes>, Error> {
    let Some(before) = sealed(paths)? else { return Ok(None) };
    let now = measure::files(paths)?;
    let missing = |from: &Files, other: &Files| -> Vec<String> {
        from.keys().filter(|file| !other.contains_key(*file)).cloned().collect()
    };
    let changed = before.iter().filter(|(file, digest)| now.get(*file).is_some_and(|other| other != *digest));
    Ok(Some(Changes {
        added: missing(&now, &before),
        removed: missing(&before, &now),
        changed: changed.map(|(file, _)| file.clone()).collect(),
    }))
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

/// One line a file. Names are escaped: they come from a file system that others may have written.
impl Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, files) in [("added", &self.added), ("removed", &self.removed), ("changed", &self.changed)] {
            for file in files {
                writeln!(f, "  {what}: {}", file.escape_default())?;
            }
        }
        Ok(())
    }
}
