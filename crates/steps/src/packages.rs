//! Debian packages laid over each other, by dpkg's rule: one path belongs to one package.
//!
//! ```text
//! same path in two packages ─► both folders, or equal in owner, mode and bytes ─► no matter
//!                              `prefer` of the definition names one            ─► the named package's
//!                              one package `Replaces` the other                ─► the replacing package's
//!                              else                                            ─► an error that names both and the path
//! ```
//! Maintainer scripts are not run, so diversions (dpkg-divert(1)) do not exist: a package that diverts another's file is
//! such an error, and `prefer` or `drop` of the definition decides.

use crate::size::Origins;
use debian::{Version, relation};
use graph::{Ctx, StepError, Unit};
use rayon::prelude::*;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};
use tree::{Kind, Tree, TreePath};

/// An unpacked package. Its files' bytes are in the step's scratch folder.
pub(crate) struct Unpacked {
    /// Its name, without its architecture.
    pub(crate) name: String,
    /// The `.deb` itself.
    deb: PathBuf,
    /// What it brings.
    pub(crate) tree: Tree,
}

/// The packages of a step (inputs `deb/<name>:<architecture>`), in the order of their labels.
pub(crate) fn unpack(ctx: &Ctx<'_>) -> Result<Vec<Unpacked>, StepError> {
    let scratch = ctx.scratch()?;
    let labels: Vec<&str> = ctx.labels("deb/").collect();
    let (done, total) = (AtomicU64::new(0), labels.len() as u64);
    labels
        .par_iter()
        .enumerate()
        .map(|(i, label)| {
            ctx.check()?;
            let deb = ctx.input(label)?;
            let tree = debian::deb::unpack(&deb, &scratch.join(format!("{i}.data")))?;
            ctx.progress(done.fetch_add(1, Ordering::Relaxed) + 1, total, Unit::Items);
            let id = label.trim_start_matches("deb/");
            let name = id.split_once(':').map_or(id, |(name, _)| name).to_owned();
            Ok(Unpacked { name, deb, tree })
        })
        .collect()
}

/// The packages of a step laid over each other, where the definition names just these.
pub(crate) fn all(ctx: &Ctx<'_>) -> Result<Merged<'static>, StepError> {
    let mut merged = Merged::onto(Tree::default(), &[], None)?;
    unpack(ctx)?.into_iter().try_for_each(|package| merged.add(package))?;
    Ok(merged)
}

/// A path that two packages bring.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "Debian packages {} and {new} both have /{path}, and neither replaces the other: {}",
    old.as_deref().unwrap_or("of a layer below"), cure(path, new, *can_prefer)
)]
struct Conflict {
    path: TreePath,
    /// The first package; absent when it is in a layer below whose origins are not known.
    old: Option<String>,
    new: String,
    /// Whether the definition has a field `prefer`.
    can_prefer: bool,
}

fn cure(path: &TreePath, new: &str, can_prefer: bool) -> String {
    if can_prefer {
        return format!(
            "keep one of them with `prefer: {{/{path}: {new}}}`, or leave the path or a package out with `drop` or `without`"
        );
    }
    "leave one of the packages out of the definition".to_owned()
}

/// The package that keeps a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Winner {
    Old,
    New,
}

/// Packages laid over each other and over what is below.
pub(crate) struct Merged<'a> {
    /// All of it.
    pub(crate) tree: Tree,
    /// The package of every path but folders.
    owners: BTreeMap<TreePath, String>,
    /// The same for the layers below.
    below: BTreeMap<TreePath, String>,
    /// The packages by name.
    debs: BTreeMap<String, PathBuf>,
    /// Which package keeps a path, by the definition where that can say so.
    prefer: Option<&'a BTreeMap<String, String>>,
}

impl<'a> Merged<'a> {
    /// Onto layers below, of which `below` says which package brought which file.
    pub(crate) fn onto(
        lower: Tree,
        below: &[Origins],
        prefer: Option<&'a BTreeMap<String, String>>,
    ) -> Result<Self, StepError> {
        let mut owners = BTreeMap::new();
        for (package, paths) in below.iter().flatten() {
            for path in paths {
                owners.insert(TreePath::new(path)?, package.clone());
            }
        }
        Ok(Self { tree: lower, owners: BTreeMap::new(), below: owners, debs: BTreeMap::new(), prefer })
    }

    /// Adds a package.
    pub(crate) fn add(&mut self, package: Unpacked) -> Result<(), StepError> {
        let Unpacked { name, deb, tree } = package;
        // one name may come for two architectures
        self.debs.entry(name.clone()).or_insert(deb);
        for (path, entry) in tree {
            let path = self.tree.real_path(&path)?;
            if matches!(entry.kind, Kind::Dir) {
                self.tree.insert(path, entry).map_err(|e| of(&name, &e))?;
                continue;
            }
            let winner = match self.tree.get(&path) {
                Some(old) if !matches!(old.kind, Kind::Dir) && !old.same_as(&entry)? => self.winner(&path, &name)?,
                _ => Winner::New,
            };
            if winner == Winner::New {
                self.tree.insert(path.clone(), entry).map_err(|e| of(&name, &e))?;
                self.owners.insert(path, name.clone());
            }
        }
        Ok(())
    }

    fn winner(&self, path: &TreePath, new: &str) -> Result<Winner, StepError> {
        let old = self.owners.get(path).or_else(|| self.below.get(path)).map(String::as_str);
        let preferred =
            |by: &'a BTreeMap<String, String>| by.get(&format!("/{path}")).or_else(|| by.get(path.as_str()));
        match self.prefer.and_then(preferred).map(String::as_str) {
            Some(name) if name == new => return Ok(Winner::New),
            Some(name) if Some(name) == old => return Ok(Winner::Old),
            _ => {}
        }
        if let (Some(old), Some(new_deb)) = (old, self.debs.get(new)) {
            let new_deb = debian::deb::control(new_deb)?;
            // the control file of a package below is not at hand; nothing is replaced by what it stands on
            let old_deb = self.debs.get(old).map(|deb| debian::deb::control(deb)).transpose()?.unwrap_or_default();
            if replaces(&new_deb, old, &old_deb) {
                return Ok(Winner::New);
            }
            if replaces(&old_deb, new, &new_deb) {
                return Ok(Winner::Old);
            }
        }
        let (path, can_prefer) = (path.clone(), self.prefer.is_some());
        Err(Conflict { path, old: old.map(str::to_owned), new: new.to_owned(), can_prefer }.into())
    }

    /// Which package brought which file.
    pub(crate) fn origins(&self) -> BTreeMap<TreePath, String> {
        let file = |path: &TreePath| {
            self.tree.get(path).is_some_and(|entry| matches!(entry.kind, Kind::File(_) | Kind::Hardlink(_)))
        };
        self.owners.iter().filter(|(path, _)| file(path)).map(|(p, name)| (p.clone(), name.clone())).collect()
    }
}

fn of(package: &str, error: &tree::Error) -> StepError {
    StepError::msg(format!("Debian package {package}: {error}"))
}

/// Whether a package's `Replaces` names another (Debian Policy §7.6.1). Without that one's control fields its version is taken
/// to be the one meant: the resolver has put the two side by side.
fn replaces(by: &BTreeMap<String, String>, name: &str, of: &BTreeMap<String, String>) -> bool {
    let Some(field) = by.get("Replaces") else { return false };
    let version: Option<Version> = of.get("Version").and_then(|v| v.parse().ok());
    let relations = relation::parse(field).unwrap_or_default();
    relations.iter().flatten().any(|r| r.name == name && (version.is_none() || r.accepts(version.as_ref())))
}

/// The origins of the layers below (inputs `lower-origins/…`).
pub(crate) fn lower_origins(ctx: &Ctx<'_>) -> Result<Vec<Origins>, StepError> {
    let read = |path: &Path| -> Result<Origins, StepError> { Ok(serde_json::from_slice(&std::fs::read(path)?)?) };
    ctx.labels("lower-origins/").map(|label| read(&ctx.input(label)?)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use tree::Entry;

    fn p(path: &str) -> TreePath {
        TreePath::new(path).unwrap()
    }

    /// A `.deb` with a control file and nothing else, and a tree as if it had been unpacked from it.
    fn package(dir: &Path, name: &str, control: &str, files: &[(&str, &str)]) -> Unpacked {
        let text = format!("Package: {name}\nVersion: 2\n{control}");
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_data(&mut header, "./control", text.as_bytes()).unwrap();
        let tar = tar.into_inner().unwrap();
        let mut bytes = b"!<arch>\n".to_vec();
        writeln!(bytes, "{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`", "control.tar", 0, 0, 0, 100_644, tar.len()).unwrap();
        bytes.extend(tar);
        let deb = dir.join(name);
        std::fs::write(&deb, bytes).unwrap();
        let mut tree = Tree::default();
        for (path, text) in files {
            tree.insert(p(path), Entry::file(0o755, text.as_bytes().to_vec())).unwrap();
        }
        Unpacked { name: name.to_owned(), deb, tree }
    }

    fn merged(packages: Vec<Unpacked>, prefer: &BTreeMap<String, String>) -> Result<(String, String), String> {
        let mut merged = Merged::onto(Tree::default(), &[], Some(prefer)).unwrap();
        packages.into_iter().try_for_each(|package| merged.add(package)).map_err(|e| e.to_string())?;
        let Some(Entry { kind: Kind::File(content), .. }) = merged.tree.get(&p("usr/sbin/reboot")) else {
            panic!("no file")
        };
        let text = String::from_utf8(content.read().unwrap()).unwrap();
        Ok((text, merged.origins()[&p("usr/sbin/reboot")].clone()))
    }

    #[test]
    fn two_packages_with_one_path_are_an_error_that_names_both_and_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let pair = |control: [&str; 2], texts: [&str; 2]| {
            vec![
                package(dir.path(), "molly-guard", control[0], &[("usr/sbin/reboot", texts[0])]),
                package(dir.path(), "systemd-sysv", control[1], &[("usr/sbin/reboot", texts[1])]),
            ]
        };
        let none = BTreeMap::new();
        let error = merged(pair(["", ""], ["a", "b"]), &none).unwrap_err();
        assert!(
            error.starts_with("Debian packages molly-guard and systemd-sysv both have /usr/sbin/reboot, and neither"),
            "{error}"
        );
        assert!(error.contains("`prefer: {/usr/sbin/reboot: systemd-sysv}`"), "{error}");
        let win = |text: &str, name: &str| Ok((text.to_owned(), name.to_owned()));
        assert_eq!(merged(pair(["", ""], ["a", "a"]), &none), win("a", "systemd-sysv"), "the same bytes");
        for (text, name) in [("a", "molly-guard"), ("b", "systemd-sysv")] {
            let prefer = BTreeMap::from([("/usr/sbin/reboot".to_owned(), name.to_owned())]);
            assert_eq!(merged(pair(["", ""], ["a", "b"]), &prefer), win(text, name));
        }
        let cases = [
            (["Replaces: systemd-sysv (<< 3)\n", ""], Some("molly-guard")),
            (["", "Replaces: x, molly-guard (<= 2)\n"], Some("systemd-sysv")),
            (["Replaces: systemd-sysv (<< 2)\n", ""], None),
            (["Conflicts: systemd-sysv\n", ""], None),
        ];
        for (control, winner) in cases {
            let found = merged(pair(control, ["a", "b"]), &none);
            assert_eq!(found.map(|(_, name)| name).ok().as_deref(), winner, "{control:?}");
        }
    }

    #[test]
    fn a_path_of_a_layer_below_is_a_conflict_too_and_usr_merge_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let mut lower = Tree::default();
        lower.insert(p("sbin"), Entry::symlink("usr/sbin")).unwrap();
        lower.insert(p("usr/sbin/reboot"), Entry::file(0o755, b"a".to_vec())).unwrap();
        let origins: Origins = BTreeMap::from([("systemd-sysv".to_owned(), vec!["usr/sbin/reboot".to_owned()])]);
        let none = BTreeMap::new();
        for (below, name) in [(vec![origins], "systemd-sysv"), (vec![], "of a layer below")] {
            let mut merged = Merged::onto(lower.clone(), &below, Some(&none)).unwrap();
            let error = merged.add(package(dir.path(), "molly-guard", "", &[("sbin/reboot", "b")])).unwrap_err();
            let text = format!("Debian packages {name} and molly-guard both have /usr/sbin/reboot, ");
            assert!(error.to_string().starts_with(&text), "{error}");
        }
    }

    #[test]
    fn a_file_in_the_place_of_a_folder_names_its_package() {
        let dir = tempfile::tempdir().unwrap();
        let mut merged = Merged::onto(Tree::default(), &[], None).unwrap();
        merged.add(package(dir.path(), "one", "", &[("usr/share/x/y", "")])).unwrap();
        let error = merged.add(package(dir.path(), "two", "", &[("usr/share/x", "")])).unwrap_err().to_string();
        assert_eq!(error, "Debian package two: /usr/share/x: a file would replace a folder");
    }
}
