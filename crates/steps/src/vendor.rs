//! Source archives: what a `go.mod` or `Cargo.lock` needs, fetched by its own client and packed as one deterministic tar.
//!
//! The client checks every module and crate against `go.sum` and `Cargo.lock`; the lock has the digest of the whole. Only
//! here does a program of the toolbox see the network, with the host's certificates and proxies.

use crate::{Error, Project, tools::host_network_env};
use cas::Cas;
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
    /// Go modules whose checksums stand in go.sum and not in the public database.
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
    let no_sum_db = no_sum_db(&source);
    let (cwd, argv): (&str, &[&str]) = match kind {
        VendorKind::Go => ("/src", &["go", "mod", "vendor"]),
        VendorKind::Cargo => ("/src/pkg", &["cargo", "vendor", "--locked", "--versioned-dirs", "/src/vendor"]),
    };
    client(&Client { tools, source: &source, cwd, argv, no_sum_db: &no_sum_db }, cancel)?;
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
        ("GOFLAGS", "-mod=mod"),
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

/// Modules whose checksum we know from go.sum although the public database refuses them: those that go.mod requires
/// directly, and what the user names.
fn no_sum_db(source: &Path) -> String {
    let text = fs::read_to_string(source.join("go.mod")).unwrap_or_default();
    let direct = gomod::GoMod::parse(&text).map(|file| {
        file.require.iter().filter(|r| !r.indirect).map(|r| r.module.path.clone()).collect::<Vec<_>>().join(",")
    });
    let users = std::env::var("GONOSUMDB").unwrap_or_default();
    [users, direct.unwrap_or_default()].iter().filter(|s| !s.is_empty()).cloned().collect::<Vec<_>>().join(",")
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
