//! The solver's view of a [`Scope`].

use crate::{
    packages::MultiArch,
    solve::{Scope, Unsolved},
};
use resolvo::{
    Candidates, Condition, ConditionId, ConditionalRequirement, Dependencies, DependencyProvider,
    HintDependenciesAvailable, Interner, KnownDependencies, NameId, Problem, Requirement, SolvableId, Solver,
    SolverCache, StringId, UnsolvableOrCancelled, VersionSetId, VersionSetUnionId,
    utils::{Pool, VersionSet},
};
use std::{cell::RefCell, collections::HashMap, fmt};
use types::Arch;

/// Some versions of one name, spelt out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Set {
    packages: Vec<u32>,
    text: String,
}

impl VersionSet for Set {
    type V = u32;
}

pub(crate) struct Provider<'s, 'u, 'a> {
    scope: &'s Scope<'u, 'a>,
    pool: Pool<Set>,
    /// Solvables of the names met so far; the rest of the archive never reaches the solver.
    solvables: RefCell<HashMap<NameId, Vec<SolvableId>>>,
    /// The name and architecture behind each name met so far.
    names: RefCell<HashMap<NameId, (String, Arch)>>,
    /// A malformed relation met while solving.
    failure: RefCell<Option<Unsolved>>,
}

impl<'s, 'u, 'a> Provider<'s, 'u, 'a> {
    /// The packages of a solution, in no order.
    pub(crate) fn solve(scope: &'s Scope<'u, 'a>) -> Result<Vec<u32>, Unsolved> {
        let this = Self {
            scope,
            pool: Pool::new(),
            solvables: RefCell::default(),
            names: RefCell::default(),
            failure: RefCell::default(),
        };
        let pins = scope.pinned.iter().map(|id| this.requirement(&[*id], "as pinned", ""));
        let roots = scope.roots.iter().map(|(root, ids)| this.requirement(ids, "", root));
        let requirements: Vec<ConditionalRequirement> = pins.chain(roots).collect();
        let mut solver = Solver::new(this);
        let result = solver.solve(Problem::new().requirements(requirements));
        if let Some(failure) = solver.provider().failure.borrow_mut().take() {
            return Err(failure);
        }
        match result {
            Ok(solution) => {
                let pool = &solver.provider().pool;
                Ok(solution.into_iter().map(|s| pool.resolve_solvable(s).record).collect())
            }
            Err(UnsolvableOrCancelled::Unsolvable(conflict)) => {
                Err(Unsolved::Conflict { tree: conflict.display_user_friendly(&solver).to_string() })
            }
            Err(UnsolvableOrCancelled::Cancelled(_)) => unreachable!("nothing cancels the solver"),
        }
    }

    fn name(&self, name: &str, arch: Arch) -> NameId {
        let shown = if arch == self.scope.native { name.to_owned() } else { format!("{name}:{arch}") };
        let id = self.pool.intern_package_name(shown);
        self.names.borrow_mut().entry(id).or_insert_with(|| (name.to_owned(), arch));
        id
    }

    fn name_of(&self, package: u32) -> NameId {
        self.name(self.scope.package(package).name, self.scope.arch_of(package))
    }

    /// One of `packages`, tried in their order; `absent` is what to call it when there are none.
    fn requirement(&self, packages: &[u32], text: &str, absent: &str) -> ConditionalRequirement {
        let mut by_name: Vec<(NameId, Vec<u32>)> = Vec::new();
        for id in packages {
            let name = self.name_of(*id);
            match by_name.iter_mut().find(|(n, _)| *n == name) {
                Some((_, ids)) => ids.push(*id),
                None => by_name.push((name, vec![*id])),
            }
        }
        if by_name.is_empty() {
            by_name.push((self.name(absent, self.scope.native), Vec::new()));
        }
        let mut sets = by_name.into_iter().map(|(name, ids)| self.set(name, ids, text));
        let first = sets.next().expect("one name at least");
        let rest: Vec<VersionSetId> = sets.collect();
        if rest.is_empty() {
            return Requirement::Single(first).into();
        }
        Requirement::Union(self.pool.intern_version_set_union(first, rest.into_iter())).into()
    }

    fn set(&self, name: NameId, mut packages: Vec<u32>, text: &str) -> VersionSetId {
        packages.sort_unstable();
        self.pool.intern_version_set(name, Set { packages, text: text.to_owned() })
    }

    fn dependencies(&self, id: u32) -> Result<KnownDependencies, Unsolved> {
        let mut known = KnownDependencies::default();
        for group in self.scope.depends(id)? {
            let shown: Vec<String> = group.iter().map(ToString::to_string).collect();
            let ranked = self.scope.ranked(id, &group);
            // The tree names the package itself; only what is not said by that is added.
            let (_, constraint) = shown[0].split_once(' ').unwrap_or_default();
            let text = if shown.len() == 1 { constraint.to_owned() } else { format!("for {}", shown.join(" | ")) };
            known.requirements.push(self.requirement(&ranked, &text, group[0].name));
        }
        for (relation, others) in self.scope.conflicting(id)? {
            let mut names: Vec<(NameId, u32)> = others.iter().map(|other| (self.name_of(*other), *other)).collect();
            names.dedup_by_key(|(name, _)| *name);
            for (name, other) in names {
                let (package, arch) = (self.scope.package(other).name, self.scope.arch_of(other));
                let allowed = self.scope.versions(package, arch).into_iter().filter(|v| !others.contains(v)).collect();
                known.constrains.push(self.set(name, allowed, &format!("not {relation}")));
            }
        }
        for arch in Arch::ALL.into_iter().filter(|a| *a != self.scope.arch_of(id)) {
            if let Some(allowed) = self.scope.siblings(id, arch) {
                let name = self.name(self.scope.package(id).name, arch);
                let text = match self.scope.package(id).multi_arch {
                    MultiArch::Same => "the same version for each architecture",
                    _ => "only one architecture at a time",
                };
                known.constrains.push(self.set(name, allowed, text));
            }
        }
        Ok(known)
    }
}

impl Interner for Provider<'_, '_, '_> {
    type NameId = NameId;
    type SolvableId = SolvableId;

    fn display_solvable(&self, solvable: SolvableId) -> impl fmt::Display + '_ {
        let package = self.scope.package(self.pool.resolve_solvable(solvable).record);
        format!("{} ({})", package.version, package.suite)
    }

    fn display_name(&self, name: NameId) -> impl fmt::Display + '_ {
        self.pool.resolve_package_name(name)
    }

    fn display_version_set(&self, set: VersionSetId) -> impl fmt::Display + '_ {
        &self.pool.resolve_version_set(set).text
    }

    fn display_string(&self, string: StringId) -> impl fmt::Display + '_ {
        self.pool.resolve_string(string)
    }

    fn version_set_name(&self, set: VersionSetId) -> NameId {
        self.pool.resolve_version_set_package_name(set)
    }

    fn solvable_name(&self, solvable: SolvableId) -> NameId {
        self.pool.resolve_solvable(solvable).name
    }

    fn version_sets_in_union(&self, union: VersionSetUnionId) -> impl Iterator<Item = VersionSetId> {
        self.pool.resolve_version_set_union(union)
    }

    fn resolve_condition(&self, condition: ConditionId) -> Condition {
        self.pool.resolve_condition(condition).clone()
    }
}

impl DependencyProvider for Provider<'_, '_, '_> {
    async fn filter_candidates(&self, all: &[SolvableId], set: VersionSetId, inverse: bool) -> Vec<SolvableId> {
        let set = &self.pool.resolve_version_set(set).packages;
        let is_in = |s: &SolvableId| set.binary_search(&self.pool.resolve_solvable(*s).record).is_ok();
        all.iter().copied().filter(|s| is_in(s) != inverse).collect()
    }

    async fn get_candidates(&self, name: NameId) -> Option<Candidates> {
        let (package, arch) = self.names.borrow().get(&name)?.clone();
        let versions = self.scope.versions(&package, arch);
        let mut solvables = self.solvables.borrow_mut();
        let candidates = solvables
            .entry(name)
            .or_insert_with(|| versions.iter().map(|id| self.pool.intern_solvable(name, *id)).collect())
            .clone();
        let is_pinned = |s: &&SolvableId| self.scope.pinned.contains(&self.pool.resolve_solvable(**s).record);
        Some(Candidates {
            locked: candidates.iter().find(is_pinned).copied(),
            hint_dependencies_available: HintDependenciesAvailable::All,
            candidates,
            ..Candidates::default()
        })
    }

    async fn sort_candidates(&self, _: &SolverCache<Self>, solvables: &mut [SolvableId]) {
        solvables.sort_by(|a, b| {
            let (a, b) = (self.pool.resolve_solvable(*a).record, self.pool.resolve_solvable(*b).record);
            self.scope.package(b).version.cmp(&self.scope.package(a).version).then(a.cmp(&b))
        });
    }

    async fn get_dependencies(&self, solvable: SolvableId) -> Dependencies {
        match self.dependencies(self.pool.resolve_solvable(solvable).record) {
            Ok(known) => Dependencies::Known(known),
            Err(failure) => {
                let reason = self.pool.intern_string(failure.to_string());
                self.failure.borrow_mut().get_or_insert(failure);
                Dependencies::Unknown(reason)
            }
        }
    }
}
