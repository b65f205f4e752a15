//! Which packages a set of names needs, found by resolvo's solver.
//!
//! Every package name of every architecture is one name to the solver, its versions the candidates; a relation is spelt out
//! as the list of packages that satisfy it, so `Provides`, `Multi-Arch` and versions are decided here and not there.

use crate::{
    packages::{MultiArch, Package, PackageArch, Universe},
    provider::Provider,
    relation::{self, Alternatives, BadRelation, Relation},
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use types::Arch;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Problem {
    /// The architecture of names without one, and of `Architecture: all`.
    pub arch: Arch,
    /// Wanted packages: `name`, or `name:arm64` for another architecture beside.
    pub roots: Vec<String>,
    /// Names that are taken from backports, and from nowhere else.
    pub backports: Vec<String>,
    /// Packages that are there already, by [`Package::id`]; they keep their version and are in the answer.
    pub pinned: Vec<String>,
    /// Names to leave out although packages depend on them: a dependency that one of them would satisfy is treated as
    /// satisfied.
    pub without: Vec<String>,
}

/// Why a package is in the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It is one of the roots.
    Root,
    /// It was among the pinned.
    Pinned,
    /// It is a dependency of this package, `name:arch`.
    DependencyOf(String),
}

/// A package of the answer.
#[derive(Debug)]
pub struct Chosen<'u, 'a> {
    /// The package.
    pub package: &'u Package<'a>,
    /// Why it is here: the first reason met on a walk from the roots, breadth first.
    pub why: Why,
}

/// An answer.
#[derive(Debug)]
pub struct Solution<'u, 'a> {
    /// The packages, by name and architecture.
    pub chosen: Vec<Chosen<'u, 'a>>,
    /// The left-out names on which a package here depends, each with the first such package, `name:arch`. Pinned
    /// packages are ignored.
    pub left_out: BTreeMap<String, String>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsolved {
    /// A root that no suite has.
    #[error("no package `{name}` for {arch}{}{}", if *backports { " in backports" } else { "" }, suggest(near))]
    Unknown {
        /// The root as given.
        name: String,
        /// The architecture that it was looked for in.
        arch: Arch,
        /// Whether it was looked for in backports.
        backports: bool,
        /// Names that may be meant.
        near: Vec<String>,
    },
    /// A package of the base set that the suites no longer have.
    #[error("{id}, which the base set holds, is no longer in any suite: update the base set as well")]
    PinnedGone {
        /// The package.
        id: String,
    },
    /// A relation that cannot be read.
    #[error("package {package}: {source}")]
    Relation {
        /// The package that has it.
        package: String,
        /// The relation.
        source: BadRelation,
    },
    /// A name is left out that is asked for, or pinned.
    #[error("`{name}` is to be left out, and is {}", if *pinned { "in the base set: leave it out there" } else { "asked for by name" })]
    Contradiction {
        /// The name.
        name: String,
        /// Whether it is pinned.
        pinned: bool,
    },
    /// The wishes exclude each other.
    #[error("these packages cannot be had together:\n{tree}")]
    Conflict {
        /// The solver's explanation.
        tree: String,
    },
}

fn suggest(near: &[String]) -> String {
    match near {
        [] => String::new(),
        _ => format!("; is {} meant?", near.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(" or ")),
    }
}

/// Finds the packages that satisfy a problem: newest versions, dependencies and pre-dependencies, never recommendations, and
/// no `Essential` package that nothing names.
///
/// # Errors
/// As [`Unsolved`] lists.
pub fn solve<'u, 'a>(universe: &'u Universe<'a>, problem: &Problem) -> Result<Solution<'u, 'a>, Unsolved> {
    let scope = Scope::new(universe, problem)?;
    let solution: HashSet<u32> = Provider::solve(&scope)?.into_iter().collect();
    let Reached { why, left_out } = scope.walk(&solution)?;
    let mut chosen: Vec<Chosen<'u, 'a>> =
        why.into_iter().map(|(id, why)| Chosen { package: &universe.packages[id as usize], why }).collect();
    chosen.sort_by(|a, b| (a.package.name, a.package.arch).cmp(&(b.package.name, b.package.arch)));
    Ok(Solution { chosen, left_out })
}

/// The packages that a problem may choose from, and how it ranks them.
pub(crate) struct Scope<'u, 'a> {
    pub(crate) universe: &'u Universe<'a>,
    pub(crate) native: Arch,
    pub(crate) roots: Vec<(String, Vec<u32>)>,
    pub(crate) pinned: Vec<u32>,
    /// By package: may it be chosen?
    active: Vec<bool>,
    /// Names of roots and pinned packages: they come before other alternatives.
    preferred: HashSet<&'u str>,
    /// Names that are not chosen, and whose absence is no fault.
    without: HashSet<String>,
}

impl<'u, 'a> Scope<'u, 'a> {
    fn new(universe: &'u Universe<'a>, problem: &Problem) -> Result<Self, Unsolved> {
        let foreign = problem.roots.iter().chain(&problem.pinned).filter_map(|r| split_arch(r).1);
        let archs: BTreeSet<Arch> = foreign.chain([problem.arch]).collect();
        let mut scope = Self {
            universe,
            native: problem.arch,
            roots: Vec::new(),
            pinned: Vec::new(),
            active: universe.packages.iter().map(|p| !p.backports && usable(p, &archs)).collect(),
            preferred: HashSet::new(),
            without: problem.without.iter().cloned().collect(),
        };
        scope.admit_backports(&problem.backports, &archs)?;
        scope.pin(&problem.pinned)?;
        for root in &problem.roots {
            let (name, arch) = split_arch(root);
            let arch = arch.unwrap_or(problem.arch);
            let is_it = |id: &u32| scope.active[*id as usize] && scope.is_for(*id, arch);
            let ids: Vec<u32> = universe.ids_named(name).iter().copied().filter(is_it).collect();
            if ids.is_empty() {
                return Err(scope.unknown(root, problem.backports.iter().any(|b| b == name)));
            }
            if scope.without.contains(name) {
                return Err(Unsolved::Contradiction { name: name.to_owned(), pinned: false });
            }
            scope.preferred.insert(universe.packages[ids[0] as usize].name);
            scope.roots.push((root.clone(), ids));
        }
        Ok(scope)
    }

    fn unknown(&self, root: &str, backports: bool) -> Unsolved {
        let mut near = self.universe.near(split_arch(root).0);
        near.retain(|n| n != root);
        let arch = split_arch(root).1.unwrap_or(self.native);
        Unsolved::Unknown { name: root.to_owned(), arch, backports, near }
    }

    /// Lets in the packages named, and of their dependencies those that nothing but backports satisfies.
    fn admit_backports(&mut self, names: &[String], archs: &BTreeSet<Arch>) -> Result<(), Unsolved> {
        let universe = self.universe;
        let from_backports = |id: &u32| {
            let package = &universe.packages[*id as usize];
            package.backports && usable(package, archs)
        };
        let mut queue = VecDeque::new();
        for name in names {
            let ids = universe.ids_named(name);
            if !ids.iter().any(from_backports) {
                return Err(self.unknown(name, true));
            }
            for id in ids {
                self.active[*id as usize] = from_backports(id);
                queue.extend(from_backports(id).then_some(*id));
            }
        }
        while let Some(id) = queue.pop_front() {
            for group in self.depends(id)? {
                if !self.ranked(id, &group).is_empty() {
                    continue;
                }
                for relation in &group {
                    for id in self.matching(id, relation).filter(from_backports).collect::<Vec<_>>() {
                        self.active[id as usize] = true;
                        queue.push_back(id);
                    }
                }
            }
        }
        Ok(())
    }

    fn pin(&mut self, pinned: &[String]) -> Result<(), Unsolved> {
        for id in pinned {
            let name = split_arch(id).0;
            let is_it = |i: &&u32| self.universe.packages[**i as usize].id() == *id;
            let Some(&found) = self.universe.ids_named(name).iter().find(is_it) else {
                return Err(Unsolved::PinnedGone { id: id.clone() });
            };
            if self.without.contains(name) {
                return Err(Unsolved::Contradiction { name: name.to_owned(), pinned: true });
            }
            self.active[found as usize] = true;
            self.preferred.insert(self.universe.packages[found as usize].name);
            self.pinned.push(found);
        }
        Ok(())
    }

    pub(crate) fn package(&self, id: u32) -> &'u Package<'a> {
        &self.universe.packages[id as usize]
    }

    /// The architecture of a package for the solver.
    pub(crate) fn arch_of(&self, id: u32) -> Arch {
        match self.package(id).arch {
            PackageArch::All => self.native,
            PackageArch::One(arch) => arch,
        }
    }

    fn is_for(&self, id: u32, arch: Arch) -> bool {
        self.package(id).arch == PackageArch::All || self.arch_of(id) == arch
    }

    /// What must be there for a package, but for what would be satisfied by a name that is left out.
    pub(crate) fn depends(&self, id: u32) -> Result<Vec<Alternatives<'a>>, Unsolved> {
        let mut all = self.relations(id, self.package(id).depends)?;
        all.retain(|group| self.left_out(id, group).is_none());
        Ok(all)
    }

    /// The name left out that would satisfy a dependency before all others.
    fn left_out(&self, depender: u32, group: &Alternatives<'_>) -> Option<&'u str> {
        if self.without.is_empty() {
            return None;
        }
        let first = self.all_ranked(depender, group).first().map(|id| self.package(*id).name);
        first.filter(|name| self.without.contains(*name))
    }

    fn relations(&self, id: u32, fields: [&'a str; 2]) -> Result<Vec<Alternatives<'a>>, Unsolved> {
        let mut all = Vec::new();
        for field in fields {
            let bad = |source| Unsolved::Relation { package: self.package(id).id(), source };
            all.extend(relation::parse(field).map_err(bad)?);
        }
        Ok(all)
    }

    /// Every package, admitted or not, that satisfies a dependency of `depender`.
    fn matching<'s>(
        &'s self,
        depender: u32,
        relation: &'s Relation<'_>,
    ) -> impl Iterator<Item = u32> + use<'s, 'u, 'a> {
        let from = self.arch_of(depender);
        let wanted = relation.arch;
        self.named_or_providing(relation).filter(move |id| {
            let multi_arch = self.package(*id).multi_arch;
            match wanted {
                None => self.is_for(*id, from) || multi_arch == MultiArch::Foreign,
                Some("any") => self.is_for(*id, from) || matches!(multi_arch, MultiArch::Foreign | MultiArch::Allowed),
                Some("native") => self.is_for(*id, self.native),
                Some(arch) => self.arch_of(*id).as_str() == arch,
            }
        })
    }

    fn named_or_providing<'s>(&'s self, relation: &'s Relation<'_>) -> impl Iterator<Item = u32> + use<'s, 'u, 'a> {
        let named = self.universe.ids_named(relation.name).iter().copied();
        let providing = self.universe.ids_providing(relation.name).iter().copied();
        let provides = move |id: &u32| {
            self.package(*id)
                .provides
                .iter()
                .any(|p| p.name == relation.name && relation.accepts(p.version.as_ref().map(|(_, version)| version)))
        };
        named.filter(move |id| relation.accepts(Some(&self.package(*id).version))).chain(providing.filter(provides))
    }

    /// The packages of which one must be there for `depender`, the most wanted first: what is asked for anyway, then the first
    /// alternative, the package of the name itself, and among its providers the most important.
    pub(crate) fn ranked(&self, depender: u32, group: &Alternatives<'_>) -> Vec<u32> {
        let mut ranked = self.all_ranked(depender, group);
        ranked.retain(|id| !self.without.contains(self.package(*id).name));
        ranked
    }

    /// The same with names that are left out.
    fn all_ranked(&self, depender: u32, group: &Alternatives<'_>) -> Vec<u32> {
        let mut ranked = Vec::new();
        for (position, relation) in group.iter().enumerate() {
            for id in self.matching(depender, relation).filter(|id| self.active[*id as usize]) {
                let package = self.package(id);
                let is_provider = package.name != relation.name;
                let is_foreign = self.arch_of(id) != self.native;
                let unasked = !self.preferred.contains(package.name);
                let rank = (unasked, position, is_provider, is_foreign, package.priority, package.name);
                ranked.push((rank, self.arch_of(id), id));
            }
        }
        ranked.sort_unstable();
        let mut seen = HashSet::new();
        ranked.into_iter().map(|(_, _, id)| id).filter(|id| seen.insert(*id)).collect()
    }

    /// The packages that cannot be there beside `id`, each with the relation that says so.
    pub(crate) fn conflicting(&self, id: u32) -> Result<Vec<(Relation<'a>, Vec<u32>)>, Unsolved> {
        let own = self.package(id).name;
        let groups = self.relations(id, self.package(id).conflicts)?;
        let with_packages = groups.into_iter().flatten().filter_map(|relation| {
            let is_meant = |other: &u32| {
                let arch_fits = match relation.arch {
                    None | Some("any") => true,
                    Some("native") => self.is_for(*other, self.native),
                    Some(arch) => self.arch_of(*other).as_str() == arch,
                };
                // A package never conflicts with what it provides itself.
                arch_fits && self.active[*other as usize] && self.package(*other).name != own
            };
            let ids: Vec<u32> = self.named_or_providing(&relation).filter(is_meant).collect();
            (!ids.is_empty()).then_some((relation, ids))
        });
        Ok(with_packages.collect())
    }

    /// The candidates for a name and architecture.
    pub(crate) fn versions(&self, name: &str, arch: Arch) -> Vec<u32> {
        let ids = self.universe.ids_named(name).iter().copied();
        ids.filter(|id| self.active[*id as usize] && self.arch_of(*id) == arch).collect()
    }

    /// Which other architectures' builds of a package can be there beside it: the same version when it is
    /// `Multi-Arch: same`, else none. `None` when there is no other.
    pub(crate) fn siblings(&self, id: u32, arch: Arch) -> Option<Vec<u32>> {
        let own = self.package(id);
        let others = self.versions(own.name, arch);
        let may = |other: &u32| {
            let other = self.package(*other);
            own.multi_arch == MultiArch::Same && other.multi_arch == MultiArch::Same && own.version == other.version
        };
        (!others.is_empty()).then(|| others.into_iter().filter(may).collect())
    }

    /// The reachable part of a solution.
    fn walk(&self, solution: &HashSet<u32>) -> Result<Reached, Unsolved> {
        let mut left_out = BTreeMap::new();
        let mut why: HashMap<u32, Why> = self.pinned.iter().map(|id| (*id, Why::Pinned)).collect();
        let mut queue = VecDeque::new();
        let mut roots: Vec<u32> =
            self.roots.iter().filter_map(|(_, ids)| ids.iter().copied().find(|id| solution.contains(id))).collect();
        roots.sort_by_key(|id| (self.package(*id).name, self.arch_of(*id)));
        for id in roots {
            if let std::collections::hash_map::Entry::Vacant(entry) = why.entry(id) {
                entry.insert(Why::Root);
                queue.push_back(id);
            }
        }
        queue.extend(&self.pinned);
        while let Some(id) = queue.pop_front() {
            let depender = format!("{}:{}", self.package(id).name, self.package(id).arch);
            for group in self.relations(id, self.package(id).depends)? {
                if let Some(name) = self.left_out(id, &group) {
                    if !self.pinned.contains(&id) {
                        left_out.entry(name.to_owned()).or_insert_with(|| depender.clone());
                    }
                    continue;
                }
                let satisfied_by = self.ranked(id, &group).into_iter().find(|c| solution.contains(c));
                let Some(found) = satisfied_by else { continue };
                if let std::collections::hash_map::Entry::Vacant(entry) = why.entry(found) {
                    entry.insert(Why::DependencyOf(depender.clone()));
                    queue.push_back(found);
                }
            }
        }
        Ok(Reached { why, left_out })
    }
}

/// What a solution needs of the universe.
struct Reached {
    /// Each package with the first reason for it.
    why: HashMap<u32, Why>,
    /// What is left out by name, and who depends on it.
    left_out: BTreeMap<String, String>,
}

fn usable(package: &Package<'_>, archs: &BTreeSet<Arch>) -> bool {
    match package.arch {
        PackageArch::All => true,
        PackageArch::One(arch) => archs.contains(&arch),
    }
}

/// `name:arm64` and `name:arm64=1.0` into name and architecture; none when it is absent or `all`.
fn split_arch(text: &str) -> (&str, Option<Arch>) {
    match text.split_once(':') {
        Some((name, rest)) => (name, rest.split('=').next().and_then(|a| a.parse().ok())),
        None => (text, None),
    }
}
