//! Updates in a registry: ours pushes, Debian's `docker-registry` judges.

use boot_tests::{Checks, entry, variable};
use registry::{Address, Credentials, Error, Options, Progress, Pushed, Registry, Tag};
use sandbox::{Bind, Child, Io, Network, Sandbox};
use serde_json::json;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
};
use types::{Bytes, Digest};

const NAME: &str = "team/evek";
/// `me:secret` as docker has it, and as `htpasswd -B` has it.
const AUTH: &str = "bWU6c2VjcmV0";
const PASSWORDS: &str = "me:$2b$04$CZuruS3e4h6uEM10BAQHz.DirAqtK2KCEA9wPI2aO4YH20UouhFDa\n";

/// A registry that wants a password.
struct Judge {
    folder: PathBuf,
    host: String,
    #[allow(dead_code)]
    child: Child,
}

impl Judge {
    fn start(folder: &Path) -> Self {
        let settings = json!({
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": "/in/registry/store"}},
            "http": {"addr": "127.0.0.1:0", "secret": "one"},
            "auth": {"htpasswd": {"realm": "a test", "path": "/in/registry/passwords"}},
        });
        fs::create_dir_all(folder.join("store")).expect("a folder");
        fs::write(folder.join("passwords"), PASSWORDS).expect("its passwords");
        // JSON is YAML
        fs::write(folder.join("config.yml"), settings.to_string()).expect("its settings");
        let mut sandbox = Sandbox::new(variable("EVEK_TOOLBOX_ORACLES"));
        sandbox.entry = Some(entry());
        // it listens for this process
        sandbox.network = Network::Host;
        let sandbox = sandbox.bind(Bind::writable(folder, "/in/registry"));
        let io = Io { stdin: Stdio::null(), stdout: Stdio::null(), stderr: Stdio::piped() };
        let mut child = sandbox.spawn(["docker-registry", "serve", "/in/registry/config.yml"], io).expect("a registry");
        let mut lines = BufReader::new(child.stderr().expect("its words")).lines().map_while(Result::ok);
        let mut words = Vec::new();
        let host = lines.find_map(|line| {
            let host =
                line.split_once("listening on ").map(|(_, rest)| rest.split('"').next().unwrap_or(rest).to_owned());
            words.push(line);
            host
        });
        let host = host.unwrap_or_else(|| panic!("it does not listen: {words:#?}"));
        // what it says further must not fill the pipe
        std::thread::spawn(move || lines.for_each(drop));
        Self { folder: folder.to_owned(), host, child }
    }

    fn stored(&self, digest: &Digest) -> Option<Vec<u8>> {
        let hex = digest.hex();
        fs::read(self.folder.join("store/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")).ok()
    }

    fn tag(&self, tag: &str) -> Option<String> {
        let tags = self.folder.join("store/docker/registry/v2/repositories").join(NAME).join("_manifests/tags");
        fs::read_to_string(tags.join(tag).join("current/link")).ok()
    }

    /// Pushes by the name of a user, or of nobody.
    fn push(&self, layout: &Layout, version: &str, auth: Option<&str>) -> Result<(Pushed, usize), Error> {
        let address = Address::read(&format!("oci+http://{}/{NAME}", self.host))?.expect("an address");
        let auths = auth.map(|auth| json!({&self.host: {"auth": auth}})).unwrap_or_else(|| json!({}));
        let file = self.folder.join("auth.json");
        fs::write(&file, json!({"auths": auths}).to_string()).expect("credentials");
        let file = file.to_string_lossy().into_owned();
        let credentials = Credentials::discover(&address, |name| (name == "REGISTRY_AUTH_FILE").then(|| file.clone()))?;
        let tags = [Tag::of(&format!("{version}-kvm-amd64"))?, Tag::of("kvm-amd64")?];
        let mut troubles = 0;
        let registry = Registry::new(address, credentials, Options::default());
        let pushed = registry.push(&layout.folder, &layout.manifest, &tags, &mut |event| {
            troubles += usize::from(matches!(event, Progress::Trouble { .. }));
        })?;
        Ok((pushed, troubles))
    }
}

/// An update's manifest with blobs that mean nothing.
struct Layout {
    folder: PathBuf,
    manifest: Digest,
    blobs: Vec<Vec<u8>>,
}

impl Layout {
    fn new(folder: PathBuf, blobs: Vec<Vec<u8>>) -> Self {
        use artefact::oci::{ARTIFACT, BLOB, SIGNATURES, UPDATE};
        let kinds = [UPDATE, SIGNATURES, BLOB];
        let descriptor = |(bytes, kind): (&Vec<u8>, &str)| json!({"mediaType": kind, "digest": Digest::of(bytes), "size": bytes.len()});
        let all: Vec<_> = blobs.iter().zip(kinds).map(descriptor).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": store::MANIFEST,
            "artifactType": ARTIFACT,
            "config": all[0],
            "layers": all[1..],
        });
        let manifest = manifest.to_string().into_bytes();
        fs::create_dir_all(folder.join("blobs/sha256")).expect("a folder");
        for blob in blobs.iter().chain([&manifest]) {
            fs::write(folder.join("blobs/sha256").join(Digest::of(blob).hex()), blob).expect("a blob");
        }
        Self { folder, manifest: Digest::of(&manifest), blobs }
    }

    fn size(&self) -> u64 {
        self.blobs.iter().map(|blob| blob.len() as u64).sum()
    }
}

#[test]
fn an_update_is_pushed_once_and_the_next_one_takes_its_tag() {
    let dir = tempfile::tempdir().expect("a folder");
    let large: Vec<u8> = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
    let old = Layout::new(dir.path().join("old"), vec![b"{}".to_vec(), b"signed".to_vec(), large.clone()]);
    let new = Layout::new(dir.path().join("new"), vec![b"{ }".to_vec(), b"signed anew".to_vec(), large.clone()]);
    let judge = Judge::start(&dir.path().join("registry"));
    let mut checks = Checks::default();

    for auth in [None, Some("bWU6d3Jvbmc=")] {
        let refused = judge.push(&old, "1.0.0", auth).map_err(|e| e.to_string()).err().unwrap_or_default();
        let is_clear = refused.contains("HTTP status 401") && refused.contains("auth.json");
        checks.that("nobody, or with another password", is_clear, refused);
    }

    let sum = |sent: u64, present: u64| Pushed { sent: Bytes(sent), present: Bytes(present) };
    if let Some(pushed) = checks.answer("the first", judge.push(&old, "1.0.0", Some(AUTH))) {
        checks.equal("all of the first is sent", pushed, (sum(old.size(), 0), 0));
    }
    for blob in &old.blobs {
        checks.that("a blob is stored", judge.stored(&Digest::of(blob)).as_ref() == Some(blob), Digest::of(blob));
    }
    let digest = |layout: &Layout| Some(layout.manifest.to_string());
    for tag in ["1.0.0-kvm-amd64", "kvm-amd64"] {
        checks.equal(tag, judge.tag(tag), digest(&old));
    }
    checks.that("the manifest is stored as it is", judge.stored(&old.manifest).is_some(), old.manifest);

    if let Some(pushed) = checks.answer("the first again", judge.push(&old, "1.0.0", Some(AUTH))) {
        checks.equal("nothing is sent", pushed, (sum(0, old.size()), 0));
    }
    if let Some(pushed) = checks.answer("the second", judge.push(&new, "1.1.0+x", Some(AUTH))) {
        let same = large.len() as u64;
        checks.equal("what is new of the second is sent", pushed, (sum(new.size() - same, same), 0));
    }
    checks.equal("1.0.0-kvm-amd64", judge.tag("1.0.0-kvm-amd64"), digest(&old));
    checks.equal("1.1.0_x-kvm-amd64", judge.tag("1.1.0_x-kvm-amd64"), digest(&new));
    checks.equal("kvm-amd64", judge.tag("kvm-amd64"), digest(&new));
    checks.finish();
}
