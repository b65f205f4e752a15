//! Resolving the wanted packages against the archive's indexes.

use crate::{Deb, Lock, Member, Root, Set, Wanted, WantedSet};
use debian::{BadIndex, Index, Problem, Universe, Unsolved, Why};
use std::collections::{BTreeMap, BTreeSet};
use types::{Arch, Bytes};

/// Why the lock cannot be updated.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// An index of the archive cannot be read.
    #[error(transparent)]
    Index(#[from] BadIndex),
    /// A given name is no set.
    #[error("no definition makes a set `{name}`: {}", choices.join(", "))]
    UnknownSet {
        /// The name.
        name: String,
        /// The existing sets.
        choices: Vec<String>,
    },
    /// The set's base is not wanted, not locked, or comes after it.
    #[error("set {set} for {arch} stands on set {base}, which is not resolved before it")]
    NoBase {
        /// The set.
        set: String,
        /// Its architecture.
        arch: Arch,
        /// Its base.
        base: String,
    },
    /// A definition leaves out a package on which nothing depends.
    #[error("{place}: nothing in set {set} depends on `{name}`, so that it need not be left out")]
    Needless {
        /// File and line of the definition.
        place: String,
        /// The package.
        name: String,
        /// The set.
        set: String,
    },
    /// The set cannot be resolved.
    #[error("{}set {set} for {arch}: {source}", place.as_ref().map(|p| format!("{p}: ")).unwrap_or_default())]
    Unsolved {
        /// File and line of the definition, if one name is the cause.
        place: Option<String>,
        /// The set.
        set: String,
        /// Its architecture.
        arch: Arch,
        /// The reason.
        source: Unsolved,
    },
}

/// Resolves all wanted sets, or those with these names, and writes them into the lock. Without names, unwanted sets
/// leave the lock. Source archives stay unchanged.
///
/// `indexes` holds every suite for every wanted architecture; of equal versions the earlier index wins. With a base,
/// the sets on top of it are resolved again as well.
///
/// # Errors
/// The cases of [`UpdateError`]; the lock is unchanged then.
pub fn update(
    lock: &mut Lock,
    wanted: &Wanted,
    names: Option<&BTreeSet<String>>,
    indexes: &[Index],
) -> Result<(), UpdateError> {
    for name in names.into_iter().flatten() {
        if wanted.sets.iter().all(|s| s.name != *name) {
            let choices: BTreeSet<String> = wanted.sets.iter().map(|s| s.name.clone()).collect();
            return Err(UpdateError::UnknownSet { name: name.clone(), choices: choices.into_iter().collect() });
        }
    }
    let universe = Universe::read(indexes)?;
    let mut new = lock.clone();
    let names = names.map(|n| with_derived(wanted, n));
    for set in wanted.sets.iter().filter(|s| names.as_ref().is_none_or(|n| n.contains(s.name.as_str()))) {
        resolve(&mut new, wanted, set, &universe)?;
    }
    if names.is_none() {
        new.retain_sets(|set| wanted.set(&set.name, set.arch).is_some());
    }
    new.drop_unused_debs();
    *lock = new;
    Ok(())
}

fn resolve(lock: &mut Lock, wanted: &Wanted, set: &WantedSet, universe: &Universe<'_>) -> Result<(), UpdateError> {
    let (mut pinned, mut backports) = (Vec::new(), set.backports.clone());
    let mut without: Vec<String> = set.without.iter().map(|w| w.name.clone()).collect();
    let mut next = set.base.clone();
    while let Some(name) = next {
        let base = lock.set(&name, set.arch).filter(|_| name != set.name && wanted.set(&name, set.arch).is_some());
        let Some(base) = base else {
            return Err(UpdateError::NoBase { set: set.name.clone(), arch: set.arch, base: name });
        };
        pinned.extend(base.packages.iter().map(|m| m.id.clone()));
        backports.extend(base.backports.iter().cloned());
        without.extend(base.left_out().map(str::to_owned));
        next = base.base.clone();
    }
    let problem = Problem {
        arch: set.arch,
        roots: set.roots.iter().map(|r| r.name.clone()).collect(),
        backports,
        pinned,
        without,
    };
    let place = |root: &Root| format!("{}:{}", root.file.display(), root.line);
    let solution = debian::solve(universe, &problem).map_err(|source| {
        let to_blame = match &source {
            Unsolved::Unknown { name, .. } => set.roots.iter().find(|r| r.name == *name),
            Unsolved::Contradiction { name, .. } => set.without.iter().find(|r| r.name == *name),
            _ => None,
        };
        UpdateError::Unsolved { place: to_blame.map(place), set: set.name.clone(), arch: set.arch, source }
    })?;
    if let Some(needless) = set.without.iter().find(|w| !solution.left_out.contains_key(&w.name)) {
        let (place, name, set) = (place(needless), needless.name.clone(), set.name.clone());
        return Err(UpdateError::Needless { place, name, set });
    }
    let own = solution.left_out.iter().filter(|(name, _)| set.without.iter().any(|w| w.name == **name));
    let without = own.map(|(name, by)| format!("{name} < {by}")).collect();
    let (mut packages, mut debs) = (Vec::new(), Vec::new());
    for found in solution.chosen.into_iter().filter(|c| c.why != Why::Pinned) {
        let needed_by = if let Why::DependencyOf(by) = found.why { Some(by) } else { None };
        packages.push(Member { id: found.package.id(), needed_by });
        debs.push(Deb {
            name: found.package.name.to_owned(),
            version: found.package.version.to_string(),
            arch: found.package.arch,
            suite: found.package.suite.to_owned(),
            file: found.package.file.to_owned(),
            size: Bytes(found.package.size),
            sha256: found.package.sha256,
        });
    }
    let set = Set {
        name: set.name.clone(),
        arch: set.arch,
        base: set.base.clone(),
        backports: dedup(set.backports.clone()),
        without,
        roots: dedup(problem.roots),
        packages,
    };
    lock.put_set(set, debs);
    Ok(())
}

/// The names, and the names of every set on top of one of them.
fn with_derived<'w>(wanted: &'w Wanted, names: &'w BTreeSet<String>) -> BTreeSet<&'w str> {
    let mut all: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    loop {
        let before = all.len();
        let stands_on_one = |s: &&WantedSet| s.base.as_deref().is_some_and(|b| all.contains(b));
        let derived: Vec<&str> = wanted.sets.iter().filter(stands_on_one).map(|s| s.name.as_str()).collect();
        all.extend(derived);
        if all.len() == before {
            return all;
        }
    }
}

fn dedup(names: Vec<String>) -> Vec<String> {
    names.into_iter().collect::<BTreeSet<_>>().into_iter().collect()
}

/// A locked package with another version in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outdated {
    /// `name:arch`
    pub package: String,
    /// The version in the lock.
    pub locked: String,
    /// The version after an update.
    pub available: String,
    /// The suite of that version.
    pub suite: String,
    /// The sets that hold it.
    pub sets: Vec<String>,
}

/// The packages whose version an update of everything would change, sorted. Changes nothing.
///
/// # Errors
/// As [`update`].
pub fn outdated(lock: &Lock, wanted: &Wanted, indexes: &[Index]) -> Result<Vec<Outdated>, UpdateError> {
    let mut new = lock.clone();
    update(&mut new, wanted, None, indexes)?;
    let mut found: BTreeMap<(String, String, String), Outdated> = BTreeMap::new();
    for set in lock.sets() {
        let Some(newer) = new.set(&set.name, set.arch) else { continue };
        let available: BTreeMap<(&str, &str), &Deb> =
            new.debs_of(newer).map(|d| ((d.name.as_str(), d.arch.as_str()), d)).collect();
        for deb in lock.debs_of(set) {
            let Some(other) = available.get(&(deb.name.as_str(), deb.arch.as_str())) else { continue };
            if other.version == deb.version {
                continue;
            }
            let package = format!("{}:{}", deb.name, deb.arch);
            let key = (package.clone(), deb.version.clone(), other.version.clone());
            let entry = found.entry(key).or_insert_with(|| Outdated {
                package,
                locked: deb.version.clone(),
                available: other.version.clone(),
                suite: other.suite.clone(),
                sets: Vec::new(),
            });
            entry.sets.push(format!("{} for {}", set.name, set.arch));
        }
    }
    Ok(found.into_values().collect())
}

#[cfg(test)]
mod tests;
