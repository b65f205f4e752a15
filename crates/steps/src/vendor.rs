//! Source archives: what a `go.mod` or `Cargo.lock` needs, fetched by its own client and packed as one deterministic tar.
//!
//! The client checks every module and crate against `go.sum` and `Cargo.lock`; the lock has the digest of the whole. Only
//! here does a program of the toolbox see the network, with the host's certificates and proxies.

use crate::{Error, Project, tools::host_network_env};
use cas::Cas;
use lock::VendorKind;
use sandbox::{Bind, Io, Network, Sandbox};
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use tree::Tree;
use types::{Bytes, Cancel, Digest};

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
    let wrong = |reason: String| Error::Vendor { name: name.to_owned(), reason };
    let io_wrong = |e: io::Error| wrong(e.to_string());
    let scratch = tempfile::tempdir_in(cas.tmp()).map_err(io_wrong)?;
    let (source, tmp) = (scratch.path().join("src"), scratch.path().join("tmp"));
    fs::create_dir(&tmp).map_err(io_wrong)?;
    lay_out(project, name, kind, &source)?;
    let mut sandbox = Sandbox::new(tools);
    sandbox.network = Network::Host;
    sandbox.tmp = Some(tmp);
    sandbox.binds.push(Bind { source: source.clone(), target: "/src".into(), writable: true });
    sandbox.env.extend(host_network_env());
    for (from, to) in host_network_files() {
        sandbox.binds.push(Bind { source: from, target: to.into(), writable: false });
    }
    sandbox.env.insert("SSL_CERT_FILE".into(), CERTIFICATES.into());
    let (cwd, argv, made): (&str, &[&str], &str) = match kind {
        VendorKind::Go => {
            let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            sandbox.env.extend([
                set("GOTOOLCHAIN", "local"),
                set("GOFLAGS", "-mod=mod"),
                set("GOMODCACHE", "/tmp/mod"),
            ]);
            sandbox.env.extend([set("GOTELEMETRY", "off"), set("GOCACHE", "/tmp/go-build")]);
            // the checksums of go.mod's own modules stand in go.sum already; a database that lacks some is not asked
            sandbox.env.insert("GONOSUMDB".into(), no_sum_db(&source));
            ("/src", &["go", "mod", "vendor"], "vendor")
        }
        VendorKind::Cargo => {
            sandbox.env.insert("CARGO_HOME".into(), "/tmp/cargo".into());
            sandbox.env.insert("CARGO_HTTP_CAINFO".into(), CERTIFICATES.into());
            if let Some(home) = cargo_home() {
                sandbox.binds.push(Bind { source: home, target: "/src/.cargo/config.toml".into(), writable: false });
            }
            ("/src/pkg", &["cargo", "vendor", "--locked", "--versioned-dirs", "/src/vendor"], "vendor")
        }
    };
    sandbox.cwd = cwd.into();
    let log_path = scratch.path().join("log");
    let log = fs::File::create(&log_path).map_err(io_wrong)?;
    let argv: Vec<String> = argv.iter().map(|&a| a.to_owned()).collect();
    let exit = Io::log(&log).and_then(|io| sandbox.run(&argv, io, cancel)).map_err(|e| wrong(e.to_string()))?;
    if !exit.success() {
        let said = fs::read_to_string(&log_path).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let tail = lines[lines.len().saturating_sub(20)..].join("\n  | ");
        return Err(wrong(format!("`{}`: {exit}\n  | {tail}", argv.join(" "))));
    }
    let tree = Tree::from_folder(&source.join(made)).map_err(io_wrong)?;
    let mut out = cas.writer()?;
    let layer = oci::layer::write_tar(&tree, &mut out, |_| ()).map_err(|e| wrong(e.to_string()))?;
    let digest = out.commit()?;
    Ok((digest, layer.size))
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
fn cargo_home() -> Option<PathBuf> {
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
