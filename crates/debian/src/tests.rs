//! The resolver's behaviour on a small archive.

#![allow(clippy::unwrap_used)]

use crate::{Index, Problem, Universe, Unsolved, Why, solve};
use types::Arch;

/// `name version [field: value]…`, one package a line.
fn index(suite: &str, arch: Arch, packages: &str) -> Index {
    let mut text = String::new();
    for line in packages.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let mut parts = line.split("; ");
        let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
        text += &format!(
            "Package: {name}\nVersion: {version}\nFilename: pool/{name}_{version}.deb\nSize: 1\nSHA256: {:064x}\n",
            1
        );
        let fields: Vec<String> = parts.map(str::to_owned).collect();
        if !fields.iter().any(|f| f.starts_with("Architecture")) {
            text += &format!("Architecture: {arch}\n");
        }
        text += &format!("{}\n\n", fields.join("\n"));
    }
    Index { suite: suite.to_owned(), arch, text }
}

fn problem(roots: &[&str]) -> Problem {
    let roots = roots.iter().map(|r| (*r).to_owned()).collect();
    Problem { arch: Arch::Amd64, roots, backports: vec![], pinned: vec![], without: vec![] }
}

fn answer(indexes: &[Index], problem: &Problem) -> Result<Vec<String>, Unsolved> {
    let universe = Universe::read(indexes).unwrap();
    let solution = solve(&universe, problem)?;
    Ok(solution
        .chosen
        .iter()
        .map(|c| match &c.why {
            Why::Root => format!("{} root", c.package.id()),
            Why::Pinned => format!("{} pinned", c.package.id()),
            Why::DependencyOf(of) => format!("{} {of}", c.package.id()),
        })
        .collect())
}

#[test]
fn the_newest_version_of_the_suites_is_taken_with_its_dependencies() {
    let indexes = [
        index(
            "trixie",
            Arch::Amd64,
            "a 1; Depends: b (>= 1), c | d\n b 1\n c 1; Recommends: d\n d 1\n e 1; Essential: yes",
        ),
        index("trixie-security", Arch::Amd64, "b 1+deb13u1; Pre-Depends: f\n f 1"),
    ];
    assert_eq!(
        answer(&indexes, &problem(&["a"])).unwrap(),
        ["a:amd64=1 root", "b:amd64=1+deb13u1 a:amd64", "c:amd64=1 a:amd64", "f:amd64=1 b:amd64"]
    );
}

#[test]
fn a_malformed_relation_names_its_package() {
    let indexes = [index("trixie", Arch::Amd64, "a 1; Depends: b\n b 1; Depends: c or d")];
    let error = answer(&indexes, &problem(&["a"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "package b:amd64=1: `c or d` is not a relation between packages such as `a:any (>= 1)`"
    );
}

#[test]
fn an_alternative_that_is_wanted_anyway_suffices() {
    let indexes = [index("trixie", Arch::Amd64, "a 1; Depends: c | d\n c 1\n d 1")];
    assert_eq!(answer(&indexes, &problem(&["a", "d"])).unwrap(), ["a:amd64=1 root", "d:amd64=1 root"]);
}

#[test]
fn a_virtual_package_is_satisfied_by_its_most_important_provider() {
    let indexes = [index(
        "trixie",
        Arch::Amd64,
        "a 1; Depends: awk, v (>= 2)\n gawk 1; Provides: awk; Priority: optional\n mawk 1; Provides: awk; Priority: required
         v-old 1; Provides: v (= 1)\n v-none 9; Provides: v\n v-new 1; Provides: v (= 2)",
    )];
    assert_eq!(
        answer(&indexes, &problem(&["a"])).unwrap(),
        ["a:amd64=1 root", "mawk:amd64=1 a:amd64", "v-new:amd64=1 a:amd64"]
    );
}

#[test]
fn backports_are_for_names_that_ask_and_for_what_only_they_satisfy() {
    let indexes = [
        index("trixie", Arch::Amd64, "rustc 1.85; Depends: libstd (= 1.85), llvm\n libstd 1.85\n llvm 19\n other 1"),
        index(
            "trixie-backports",
            Arch::Amd64,
            "rustc 1.96; Depends: libstd (= 1.96), llvm\n libstd 1.96\n llvm 21\n other 2",
        ),
    ];
    let plain =
        ["libstd:amd64=1.85 rustc:amd64", "llvm:amd64=19 rustc:amd64", "other:amd64=1 root", "rustc:amd64=1.85 root"];
    assert_eq!(answer(&indexes, &problem(&["rustc", "other"])).unwrap(), plain);

    let mut asked = problem(&["rustc", "other"]);
    asked.backports = vec!["rustc".to_owned()];
    let mixed =
        ["libstd:amd64=1.96 rustc:amd64", "llvm:amd64=19 rustc:amd64", "other:amd64=1 root", "rustc:amd64=1.96 root"];
    assert_eq!(answer(&indexes, &asked).unwrap(), mixed);

    asked.backports = vec!["lvm".to_owned()];
    let text = answer(&indexes, &asked).unwrap_err().to_string();
    assert_eq!(text, "no package `lvm` for amd64 in backports; is `llvm` meant?");
}

#[test]
fn another_architecture_stands_beside_in_the_same_version() {
    let packages =
        "libc6 2; Multi-Arch: same; Depends: base\n libc6-dev 2; Multi-Arch: same; Depends: libc6 (= 2), tool
                    tool 1; Multi-Arch: foreign\n base 1; Architecture: all\n plain 1; Depends: tool:any";
    let indexes = [index("trixie", Arch::Amd64, packages), index("trixie", Arch::Arm64, packages)];
    assert_eq!(
        answer(&indexes, &problem(&["libc6-dev", "libc6-dev:arm64"])).unwrap(),
        [
            "base:all=1 libc6:amd64",
            "libc6:amd64=2 libc6-dev:amd64",
            "libc6:arm64=2 libc6-dev:arm64",
            "libc6-dev:amd64=2 root",
            "libc6-dev:arm64=2 root",
            "tool:amd64=1 libc6-dev:amd64",
        ]
    );
    let error = answer(&indexes, &problem(&["plain", "plain:arm64"])).unwrap_err();
    assert!(error.to_string().contains("only one architecture at a time"), "{error}");

    let skewed = [index("trixie", Arch::Amd64, packages), index("trixie", Arch::Arm64, &packages.replace(" 2", " 3"))];
    let error = answer(&skewed, &problem(&["libc6-dev", "libc6-dev:arm64"])).unwrap_err();
    assert!(error.to_string().contains("the same version for each architecture"), "{error}");
}

#[test]
fn pinned_packages_keep_their_version_and_are_reused() {
    let indexes = [
        index(
            "trixie",
            Arch::Amd64,
            "a 1; Depends: awk\n mawk 1; Provides: awk\n original 1; Provides: awk; Priority: required\n gawk 1; Provides: awk",
        ),
        index("trixie-security", Arch::Amd64, "gawk 2; Provides: awk\n b 1; Depends: gawk (>= 2)"),
    ];
    let mut derived = problem(&["a"]);
    derived.pinned = vec!["gawk:amd64=1".to_owned()];
    assert_eq!(answer(&indexes, &derived).unwrap(), ["a:amd64=1 root", "gawk:amd64=1 pinned"]);

    derived.roots = vec!["b".to_owned()];
    let error = answer(&indexes, &derived).unwrap_err();
    assert!(matches!(error, Unsolved::Conflict { .. }), "{error}");

    derived.pinned = vec!["gawk:amd64=0.9".to_owned()];
    assert_eq!(answer(&indexes, &derived).unwrap_err(), Unsolved::PinnedGone { id: "gawk:amd64=0.9".to_owned() });
}

#[test]
fn conflicts_and_breaks_are_kept_apart_and_explained() {
    let indexes = [index(
        "trixie",
        Arch::Amd64,
        "a 1; Depends: c | d; Conflicts: c\n c 1\n d 1\n mta1 1; Provides: mta; Conflicts: mta\n mta2 1; Provides: mta\n e 1; Breaks: d (<< 2)",
    )];
    assert_eq!(answer(&indexes, &problem(&["a"])).unwrap(), ["a:amd64=1 root", "d:amd64=1 a:amd64"]);
    assert_eq!(
        answer(&indexes, &problem(&["mta1"])).unwrap(),
        ["mta1:amd64=1 root"],
        "it may provide what it conflicts with"
    );
    for impossible in [["mta1", "mta2"], ["a", "e"], ["a", "c"]] {
        let error = answer(&indexes, &problem(&impossible)).unwrap_err();
        assert!(matches!(error, Unsolved::Conflict { .. }), "{impossible:?}: {error}");
    }
}

#[test]
fn an_unknown_name_suggests_near_ones() {
    let indexes = [index("trixie", Arch::Amd64, "openssh-server 1\n openssh-client 1")];
    let text = answer(&indexes, &problem(&["openssh-sever"])).unwrap_err().to_string();
    assert_eq!(text, "no package `openssh-sever` for amd64; is `openssh-server` meant?");
}

#[test]
fn a_missing_dependency_is_named() {
    let indexes = [index("trixie", Arch::Amd64, "a 1; Depends: gone (>= 3)")];
    let text = answer(&indexes, &problem(&["a"])).unwrap_err().to_string();
    assert!(text.contains("gone >= 3") || text.contains("gone (>= 3)"), "{text}");
}

#[test]
fn a_broken_index_names_line_and_package() {
    let mut broken = index("trixie", Arch::Amd64, "a 1\n b 1");
    broken.text = broken.text.replacen("Size: 1\nSHA256: 0", "Size: 1\nSHA256: x", 1);
    let error = Universe::read(std::slice::from_ref(&broken)).unwrap_err();
    assert_eq!((error.line, error.package.as_str()), (1, "a"));
}

#[test]
fn a_name_left_out_satisfies_what_depends_on_it_and_brings_nothing_in_its_place() {
    let indexes = [index(
        "trixie",
        Arch::Amd64,
        "certs 1; Depends: tool, debconf (>= 0.5) | debconf-2.0
         tool 1
         debconf 1; Depends: perl-base; Provides: debconf-2.0
         cdebconf 1; Provides: debconf-2.0
         perl-base 1",
    )];
    let without = |names: &[&str], roots: &[&str]| Problem {
        without: names.iter().map(|n| (*n).to_owned()).collect(),
        ..problem(roots)
    };
    let found = answer(&indexes, &without(&["debconf"], &["certs"])).unwrap();
    assert_eq!(found, ["certs:amd64=1 root", "tool:amd64=1 certs:amd64"], "neither cdebconf nor perl-base");
    let found = answer(&indexes, &without(&["perl-base"], &["certs"])).unwrap();
    assert_eq!(found.len(), 3, "debconf is there: {found:?}");

    let universe = Universe::read(&indexes).unwrap();
    let left_out = solve(&universe, &without(&["perl-base", "cdebconf"], &["certs"])).unwrap().left_out;
    let left_out: Vec<_> = left_out.iter().map(|(name, by)| format!("{name} < {by}")).collect();
    assert_eq!(
        left_out,
        ["perl-base < debconf:amd64"],
        "an alternative that nobody would take is not needed by anyone"
    );

    let text = solve(&universe, &without(&["certs"], &["certs"])).unwrap_err().to_string();
    assert_eq!(text, "`certs` is to be left out, and is asked for by name");
    let pinned = Problem { pinned: vec!["tool:amd64=1".into()], ..without(&["tool"], &["certs"]) };
    let text = solve(&universe, &pinned).unwrap_err().to_string();
    assert_eq!(text, "`tool` is to be left out, and is in the base set: leave it out there");
}
