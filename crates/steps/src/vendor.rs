//! Source archives: what a `go.mod` or `Cargo.lock` needs, fetched by its own client and packed as one deterministic tar.
//!
//! The client verifies every module and crate against `go.sum` and `Cargo.lock`, which it must not change; the lock has the
//! digest of the whole. Go's checksum database is asked only where `go.sum` has no hash yet: when another version of a
//! program is taken over ([`crate::take_over`]). So a host's `GOSUMDB=off` or `GOINSECURE` matters there and nowhere else.
//! Only here does a program of the toolbox see the network, with the host's certificates and proxies.

use crate::{Error, Project, tools::host_network_env};
use cas::Cas;
use defs::{GoProgram, Located};
use gomod::{GoMod, GoSum, Target};
use lock::VendorKind;
use sandbox::{Bind, Network, Sandbox};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tree::Tree;
use types::{Bytes, Cancel, Digest};

/// One run of a client.
pub(crate) struct Client<'a> {
    /// The toolbox's folder.
    pub(crate) tools: &'a Path,
    /// What it sees as `/src` and may change.
    pub(crate) source: &'a Path,
    /// Where it starts.
    pub(crate) cwd: &'a str,
    pub(crate) argv: &'a [&'a str],
    /// Go modules that are not looked up in Go's checksum database, as `GONOSUMDB` takes them.
    pub(crate) no_sum_db: &'a str,
}

/// Makes the source archive `name` (`go/<package>/<dir>`, `cargo/<dir>`) with the programs in the folder `tools`.
///
/// # Errors
/// When the client fails; the error has the end of what it said.
pub fn vendor(
    project: &Project,
    cas: &Cas,
    tools: &Path,
    name: &str,
    kind: VendorKind,
    cancel: &Cancel,
) -> Result<(Digest, Bytes), Error> {
    let wrong = |e: &dyn std::fmt::Display| Error::Vendor { name: name.to_owned(), reason: e.to_string() };
    let scratch = tempfile::tempdir_in(cas.tmp()).map_err(|e| wrong(&e))?;
    let source = scratch.path().join("src");
    lay_out(project, name, kind, &source)?;
    let go = match program(project, name) {
        Some(program) if kind == VendorKind::Go => {
            let manifests = Manifests::read(&source)?;
            manifests.check(&project.root().join("pkg").join(name.trim_start_matches("go/")))?;
            Some((manifests, no_sum_db(&program.no_checksum_database)))
        }
        _ => None,
    };
    let no_sum_db = go.as_ref().map_or("", |(_, names)| names.as_str());
    let (cwd, argv): (&str, &[&str]) = match kind {
        VendorKind::Go => ("/src", &["go", "mod", "vendor"]),
        VendorKind::Cargo => ("/src/pkg", &["cargo", "vendor", "--locked", "--versioned-dirs", "/src/vendor"]),
    };
    client(&Client { tools, source: &source, cwd, argv, no_sum_db }, cancel)?;
    if let Some((before, _)) = go
        && Manifests::read(&source)? != before
    {
        return Err(wrong(&"the go client has changed go.mod or go.sum, which must name every module beforehand"));
    }
    let tree = Tree::from_folder(&source.join("vendor")).map_err(|e| wrong(&e))?;
    let mut out = cas.writer()?;
    let layer = oci::layer::write_tar(&tree, &mut out, |_| ()).map_err(|e| wrong(&e))?;
    let digest = out.commit()?;
    crate::upstream::make_writable(scratch.path());
    Ok((digest, layer.size))
}

/// Runs a client with the network and returns what it wrote to its standard output.
pub(crate) fn client(client: &Client<'_>, cancel: &Cancel) -> Result<String, Error> {
    let command = client.argv.join(" ");
    let wrong = |reason: String| Error::Client { command: command.clone(), reason };
    let tmp = client.source.join(".tmp");
    fs::create_dir_all(&tmp).map_err(|e| wrong(e.to_string()))?;
    let mut sandbox = Sandbox::new(client.tools);
    sandbox.network = Network::Host;
    sandbox.tmp = Some(tmp.clone());
    sandbox.cwd = client.cwd.into();
    sandbox.binds.push(Bind::writable(client.source, "/src"));
    sandbox.binds.extend(host_network_files().into_iter().map(|(from, to)| Bind::read_only(from, to)));
    sandbox.env.extend(host_network_env());
    let fixed = [
        ("CARGO_HOME", "/tmp/cargo"),
        ("CARGO_HTTP_CAINFO", CERTIFICATES),
        ("GOCACHE", "/tmp/go-build"),
        ("GOFLAGS", "-mod=readonly"),
        ("GOMODCACHE", "/src/.mod"),
        ("GONOSUMDB", client.no_sum_db),
        ("GOTELEMETRY", "off"),
        ("GOTOOLCHAIN", "local"),
        ("SSL_CERT_FILE", CERTIFICATES),
    ];
    sandbox.env.extend(fixed.map(|(name, value)| (name.to_owned(), value.to_owned())));
    if let Some(config) = cargo_config() {
        let to = tmp.join("cargo");
        fs::create_dir_all(&to)
            .and_then(|()| fs::copy(config, to.join("config.toml")))
            .map_err(|e| wrong(e.to_string()))?;
    }
    let output = sandbox.output(client.argv.iter().copied(), &[], cancel).map_err(|e| wrong(e.to_string()))?;
    if output.exit.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = said.lines().collect();
    let tail = lines[lines.len().saturating_sub(20)..].join("\n  | ");
    Err(wrong(format!("{}\n  | {tail}", output.exit)))
}

const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The files of the host that name resolution and TLS need, with their places in the sandbox.
fn host_network_files() -> Vec<(PathBuf, &'static str)> {
    let certificates = std::env::var_os("SSL_CERT_FILE").map_or_else(|| CERTIFICATES.into(), PathBuf::from);
    let files = [
        (certificates, CERTIFICATES),
        ("/etc/resolv.conf".into(), "/etc/resolv.conf"),
        ("/etc/hosts".into(), "/etc/hosts"),
        ("/etc/nsswitch.conf".into(), "/etc/nsswitch.conf"),
    ];
    files.into_iter().filter_map(|(from, to)| Some((fs::canonicalize(from).ok()?, to))).collect()
}

/// The user's own configuration of cargo, which may name a mirror.
fn cargo_config() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    let file = home.join("config.toml");
    file.is_file().then_some(file)
}

/// The modules that the client does not look up in Go's checksum database: those that a definition or the user's own
/// `GONOSUMDB` names.
pub(crate) fn no_sum_db(named: &[Located<String>]) -> String {
    let users = std::env::var("GONOSUMDB").unwrap_or_default();
    let all = std::iter::once(users.as_str()).chain(named.iter().map(|name| name.value.as_str()));
    all.filter(|name| !name.is_empty()).collect::<Vec<_>>().join(",")
}

/// The definition of the Go program whose source archive is called `name` (`go/<package>/<dir>`).
fn program<'p>(project: &'p Project, name: &str) -> Option<&'p GoProgram> {
    let (package, dir) = name.trim_start_matches("go/").split_once('/')?;
    project.defs.packages.get(package)?.go.iter().find(|program| program.dir.value == dir)
}

/// `go.mod` and `go.sum` of a Go program, before and after the client saw them.
#[derive(Debug, PartialEq, Eq)]
struct Manifests {
    go_mod: String,
    go_sum: String,
}

impl Manifests {
    fn read(folder: &Path) -> Result<Self, Error> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(|source| Error::Source { path, source })
        };
        Ok(Self { go_mod: read("go.mod")?, go_sum: read("go.sum")? })
    }

    /// Fails unless go.sum has both hashes of every module that go.mod requires directly. The client verifies all others as
    /// it reads their packages. `folder` is the program's, for messages.
    fn check(&self, folder: &Path) -> Result<(), Error> {
        let at = |file: &str, reason: String| Error::GoMod { path: folder.join(file), reason };
        let go_mod = GoMod::parse(&self.go_mod).map_err(|e| at("go.mod", e.to_string()))?;
        let go_sum = GoSum::parse(&self.go_sum).map_err(|e| at("go.sum", e.to_string()))?;
        for require in go_mod.require.iter().filter(|require| !require.indirect) {
            let replaced = go_mod.replace.iter().find(|replace| {
                let same_version = replace.version.as_ref().is_none_or(|v| *v == require.module.version);
                replace.path == require.module.path && same_version
            });
            let module = match replaced.map(|replace| &replace.with) {
                Some(Target::Folder(_)) => continue,
                Some(Target::Module(module)) => module,
                None => &require.module,
            };
            for version in [module.version.clone(), format!("{}/go.mod", module.version)] {
                if go_sum.get(&module.path, &version).is_none() {
                    let reason = format!(
                        "no line for {} {version}: its bytes could not be verified; restore the line, or take the module \
                         over again with `cargo xtask lock update <program> --to <version>`",
                        module.path
                    );
                    return Err(at("go.sum", reason));
                }
            }
        }
        Ok(())
    }
}

/// Copies what the client reads: the module's folder, or cargo's workspace with empty sources.
fn lay_out(project: &Project, name: &str, kind: VendorKind, source: &Path) -> Result<(), Error> {
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Source { path, source }
    };
    let root = project.root();
    match kind {
        VendorKind::Go => {
            let folder = root.join("pkg").join(name.trim_start_matches("go/"));
            fs::create_dir(source).map_err(wrong(source))?;
            Tree::from_folder(&folder).and_then(|t| t.write_to(source)).map_err(wrong(&folder))
        }
        VendorKind::Cargo => {
            let mut crates = std::collections::BTreeSet::new();
            for member in crate::sources::members(root)? {
                crates.extend(crate::sources::crates(root, &member)?);
            }
            let mut files: Vec<String> = ["Cargo.toml", "pkg/Cargo.toml", "pkg/Cargo.lock"].map(str::to_owned).into();
            files.extend(crates.iter().map(|c| format!("{c}/Cargo.toml")));
            for file in files {
                let to = source.join(&file);
                let parent = to.parent().unwrap_or(source);
                fs::create_dir_all(parent).map_err(wrong(parent))?;
                fs::copy(root.join(&file), &to).map_err(wrong(&root.join(&file)))?;
            }
            for folder in crates {
                let src = source.join(folder).join("src");
                fs::create_dir_all(&src).map_err(wrong(&src))?;
                for file in ["lib.rs", "main.rs"] {
                    fs::write(src.join(file), "fn main() {}\n").map_err(wrong(&src))?;
                }
            }
            Ok(())
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn ours() -> Manifests {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pkg/coredns/coredns");
        Manifests::read(&folder).unwrap()
    }

    #[test]
    fn a_missing_line_of_a_direct_module_is_named() {
        let (good, folder) = (ours(), Path::new("pkg/coredns/coredns"));
        good.check(folder).unwrap();
        let direct = |line: &&str| line.starts_with("github.com/coredns/coredns v");
        let lines: Vec<&str> = good.go_sum.lines().filter(direct).collect();
        assert_eq!(lines.len(), 2);
        for line in lines {
            let go_sum = good.go_sum.replace(&format!("{line}\n"), "");
            let bad = Manifests { go_mod: good.go_mod.clone(), go_sum };
            let version = line.split(' ').nth(1).unwrap();
            let text = bad.check(folder).unwrap_err().to_string();
            let expected = format!("pkg/coredns/coredns/go.sum: no line for github.com/coredns/coredns {version}: ");
            assert!(text.starts_with(&expected), "{text}");
        }
    }

    #[test]
    fn an_absent_or_malformed_go_mod_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Manifests::read(dir.path()), Err(Error::Source { .. })));
        let bad = Manifests { go_mod: "modul x\n".into(), go_sum: String::new() };
        assert!(matches!(bad.check(dir.path()), Err(Error::GoMod { .. })));
    }

    #[test]
    fn a_replaced_module_needs_the_hashes_of_what_replaces_it_and_a_folder_none() {
        let go_mod = "module m\ngo 1.24\nrequire (\n a.example/a v1.0.0\n b.example/b v1.0.0\n)\n\
                      replace a.example/a => c.example/c v2.0.0\nreplace b.example/b => ./b\n";
        let go_sum = "c.example/c v2.0.0 h1:AA=\nc.example/c v2.0.0/go.mod h1:AA=\n";
        Manifests { go_mod: go_mod.into(), go_sum: go_sum.into() }.check(Path::new("m")).unwrap();
        let text = Manifests { go_mod: go_mod.into(), go_sum: String::new() }.check(Path::new("m")).unwrap_err();
        assert!(text.to_string().contains("no line for c.example/c v2.0.0: "), "{text}");
    }

    #[test]
    fn the_checksum_database_is_asked_unless_a_definition_says_otherwise() {
        let named = [Located::new("k3s.example/k3s".to_owned(), defs::Place::file("pkg.yml"))];
        assert!(no_sum_db(&named).ends_with("k3s.example/k3s"));
        assert!(!no_sum_db(&[]).contains("k3s.example"));
    }
}
