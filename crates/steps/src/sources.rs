//! Digests of the source tree, for the keys of steps that read parts of it.

use crate::Error;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};
use types::{Digest, Hasher};

/// The digest of a file's bytes.
pub(crate) fn file(path: &Path) -> Result<Digest, Error> {
    Ok(Digest::of(&fs::read(path).map_err(|source| Error::Source { path: path.to_owned(), source })?))
}

/// The digest of a folder: names, kinds, link targets, the executable bit and bytes of everything in it, as read by
/// [`tree::Tree::from_folder`].
pub(crate) fn folder(path: &Path) -> Result<Digest, Error> {
    let io = |source| Error::Source { path: path.to_owned(), source };
    let mut hasher = Hasher::default();
    for (name, entry) in tree::Tree::from_folder(path).map_err(io)?.iter() {
        let (kind, content) = match &entry.kind {
            tree::Kind::File(content) => ("file", Digest::of(&content.read().map_err(io)?).hex()),
            tree::Kind::Symlink(target) => ("link", target.clone()),
            _ => ("folder", String::new()),
        };
        hasher.update(format!("{name}\0{kind}\0{:o}\0{content}\0", entry.mode).as_bytes());
    }
    Ok(hasher.finish())
}

/// A crate of the device's workspace and the crates of ours on which it depends, as folders relative to the repository:
/// the `path = …` of its manifest, and of theirs.
pub(crate) fn crates(root: &Path, folder: &str) -> Result<BTreeSet<String>, Error> {
    let mut found = BTreeSet::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        if !found.insert(folder.clone()) {
            continue;
        }
        for (table, workspace) in [("dependencies", &folder), ("build-dependencies", &folder)] {
            let manifest = manifest(root, workspace)?;
            for (name, value) in manifest.get(table).and_then(toml::Value::as_table).into_iter().flatten() {
                if value.get("workspace").is_some() {
                    // the workspace's own manifest names it: the device's for its members, the builder's for crates/
                    let top = if folder.starts_with("pkg/") { "pkg" } else { "." };
                    let manifest = self::manifest(root, top)?;
                    let path = manifest.get("workspace").and_then(|w| w.get("dependencies")?.get(name)?.get("path"));
                    open.extend(path.and_then(toml::Value::as_str).map(|p| join(top, p)));
                } else if let Some(path) = value.get("path").and_then(toml::Value::as_str) {
                    open.push(join(&folder, path));
                }
            }
        }
    }
    Ok(found)
}

/// The members of the device's workspace, as folders relative to the repository.
pub(crate) fn members(root: &Path) -> Result<Vec<String>, Error> {
    let manifest = manifest(root, "pkg")?;
    let members = manifest.get("workspace").and_then(|w| w.get("members")).and_then(toml::Value::as_array);
    Ok(members.into_iter().flatten().filter_map(toml::Value::as_str).map(|m| format!("pkg/{m}")).collect())
}

/// The builder's workspace manifest, reduced to `crates` and the dependencies that they inherit. So a change of the
/// builder's own dependencies recompiles no program of the device.
pub(crate) fn shared_manifest(root: &Path, crates: &[String]) -> Result<String, Error> {
    let shared: Vec<&String> = crates.iter().filter(|c| !c.starts_with("pkg/")).collect();
    let mut inherited = BTreeSet::new();
    for folder in &shared {
        let manifest = manifest(root, folder)?;
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let table = manifest.get(table).and_then(toml::Value::as_table);
            inherited.extend(table.into_iter().flat_map(toml::Table::keys).cloned());
        }
    }
    let mut whole = manifest(root, ".")?;
    if let Some(workspace) = whole.get_mut("workspace").and_then(toml::Value::as_table_mut) {
        if let Some(dependencies) = workspace.get_mut("dependencies").and_then(toml::Value::as_table_mut) {
            dependencies.retain(|name, _| inherited.contains(name));
        }
        let members = shared.into_iter().cloned().map(toml::Value::String).collect();
        workspace.insert("members".to_owned(), toml::Value::Array(members));
        workspace.remove("default-members");
    }
    Ok(whole.to_string())
}

fn manifest(root: &Path, folder: &str) -> Result<toml::Table, Error> {
    let path = root.join(folder).join("Cargo.toml");
    let text = fs::read_to_string(&path).map_err(|source| Error::Source { path: path.clone(), source })?;
    text.parse().map_err(|source| Error::Manifest { path, source: Box::new(source) })
}

/// `path` relative to `folder`, both relative to the repository.
fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|p| *p != ".").collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    parts.join("/")
}

/// A path of the source tree.
pub(crate) fn at(root: &Path, relative: &str) -> PathBuf {
    root.join(relative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_manifests_are_resolved() {
        assert_eq!(join("pkg/init", "../../crates/types"), "crates/types");
        assert_eq!(join(".", "crates/types"), "crates/types");
        assert_eq!(join("pkg", "../crates/types"), "crates/types");
    }
}
