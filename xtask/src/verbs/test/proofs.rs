//! Successes of tests of images, kept in the cache: a test is a step, and a step with the same key is not run again.
//!
//! ```text
//! <cache>/tests/<test>.json   {"key": {"test", "program", "host", "inputs": {name: value}}, "date", "seconds"}
//! ```
//! The key has what the test's program is and what it used: a test notes each image, toolbox set, key or other input when it
//! first reaches for it (`tests/src/inputs.rs`). A test of the same program takes the same way as long as every input on it is
//! the same, so nothing that it would use is missing in the list. A test keeps its last success only.

use crate::{failure::Failure, session::root};
use serde::{Deserialize, Serialize};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use types::{Digest, DigestWriter, Hasher};

/// What a success depends on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key {
    test: String,
    /// Digest of the program with the test.
    program: Digest,
    /// The host's kernel, which runs the sandbox and the virtual machines.
    host: String,
    /// Values of what the test used.
    inputs: BTreeMap<String, String>,
}

/// A success.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Proof {
    key: Key,
    /// When, in seconds since 1970.
    pub(super) date: u64,
    /// How long it took.
    pub(super) seconds: f64,
}

/// The successes in a cache of the tests in one program.
#[derive(Debug)]
pub(super) struct Proofs<'a> {
    folder: PathBuf,
    inputs: &'a Inputs,
    program: Digest,
    host: String,
}

impl<'a> Proofs<'a> {
    /// Of the tests in a program.
    pub(super) fn new(cache: &Path, inputs: &'a Inputs, program: &Path) -> Result<Self, Failure> {
        let folder = cache.join("tests");
        fs::create_dir_all(&folder)?;
        let host = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
        Ok(Self { folder, inputs, program: digest(program)?, host })
    }

    /// The success of a test under the same circumstances.
    pub(super) fn find(&self, test: &str) -> Option<Proof> {
        let proof: Proof = serde_json::from_slice(&fs::read(self.path(test)).ok()?).ok()?;
        let same = proof.key == self.key(test, proof.key.inputs.keys().map(String::as_str))?;
        same.then_some(proof)
    }

    /// Keeps a success with the inputs that the test has noted, one a line.
    pub(super) fn keep(&self, test: &str, noted: &str, took: Duration) -> Result<(), Failure> {
        let Some(key) = self.key(test, noted.lines()) else { return self.forget(test) };
        let date = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let proof = Proof { key, date, seconds: took.as_secs_f64() };
        let file = tempfile::NamedTempFile::new_in(&self.folder)?;
        serde_json::to_writer_pretty(&file, &proof)?;
        file.persist(self.path(test)).map_err(|e| e.error)?;
        Ok(())
    }

    /// Forgets a success: the test has failed since.
    pub(super) fn forget(&self, test: &str) -> Result<(), Failure> {
        match fs::remove_file(self.path(test)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }

    fn path(&self, test: &str) -> PathBuf {
        self.folder.join(format!("{}.json", test.replace("::", ".")))
    }

    /// The key of a test with these inputs as they are now; none when one of them has no value.
    fn key<'n>(&self, test: &str, inputs: impl Iterator<Item = &'n str>) -> Option<Key> {
        let value = |name: &str| Some((name.to_owned(), self.inputs.value(name)?));
        let inputs = inputs.map(value).collect::<Option<_>>()?;
        Some(Key { test: test.to_owned(), program: self.program, host: self.host.clone(), inputs })
    }
}

/// What the inputs that tests note are now.
#[derive(Debug)]
pub(super) struct Inputs {
    env: BTreeMap<&'static str, OsString>,
    /// What was found already: the checkout is read once.
    found: RefCell<BTreeMap<String, Option<String>>>,
}

impl Inputs {
    /// With the variables that tests are given.
    pub(super) fn new(env: &[(&'static str, OsString)]) -> Self {
        Self { env: env.iter().cloned().collect(), found: RefCell::default() }
    }

    /// The value of an input; none where nothing identifies its content.
    fn value(&self, name: &str) -> Option<String> {
        if let Some(found) = self.found.borrow().get(name) {
            return found.clone();
        }
        let value = self.look(name);
        self.found.borrow_mut().insert(name.to_owned(), value.clone());
        value
    }

    fn look(&self, name: &str) -> Option<String> {
        let path = |name: &str| self.env.get(name).map(Path::new);
        if let Some(image) = name.strip_prefix("image ") {
            let (_, arch) = image.split_once('-')?;
            let version = self.env.get("EVEK_VERSION")?.to_str()?;
            let folder = path("EVEK_DIST")?.join(arch).join(format!("{version}-{image}"));
            // it has the digest of every partition
            return Some(digest(&folder.join("image.json")).ok()?.to_string());
        }
        match name {
            "checkout" => checkout(&root()).map(|digest| digest.to_string()),
            // a build is decided by the program and by what it reads in the checkout
            "EVEK_XTASK" => Some(format!("{} {}", digest(path(name)?).ok()?, self.value("checkout")?)),
            "EVEK_KEYS" => certificates(path(name)?).ok().map(|digest| digest.to_string()),
            // the name of a folder of the cache has the digest of what is in it
            _ if name.starts_with("EVEK_TOOLBOX_") || name == "EVEK_VERSION" => {
                self.env.get(name)?.to_str().map(str::to_owned)
            }
            _ => None,
        }
    }
}

fn digest(file: &Path) -> io::Result<Digest> {
    let mut to = DigestWriter::new(io::sink());
    io::copy(&mut fs::File::open(file)?, &mut to)?;
    Ok(to.finish().1)
}

/// Digest of all files of a checkout: those that git knows, and those that it would if it were asked to.
fn checkout(root: &Path) -> Option<Digest> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").current_dir(root).args(list).output().ok()?;
    let names = output.status.success().then_some(output.stdout)?;
    let mut hasher = Hasher::default();
    for name in names.split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let path = root.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name));
        hasher.update(name);
        // a file that is in the index only is no part of a build
        hasher.update(digest(&path).map_or([0; 32], |digest| *digest.as_bytes()).as_slice());
    }
    Some(hasher.finish())
}

/// Digest of what identifies keys: their certificates.
fn certificates(folder: &Path) -> io::Result<Digest> {
    let mut names = Vec::new();
    for item in fs::read_dir(folder)? {
        let path = item?.path();
        if path.extension().is_some_and(|extension| extension == "crt" || extension == "json") {
            names.push(path);
        }
    }
    names.sort();
    let mut hasher = Hasher::default();
    for path in names {
        hasher.update(path.file_name().map(|name| name.as_encoded_bytes()).unwrap_or_default());
        hasher.update(digest(&path)?.as_bytes());
    }
    Ok(hasher.finish())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// A cache, images and a program in a folder.
    struct World(tempfile::TempDir);

    impl World {
        fn new() -> Self {
            let world = Self(tempfile::tempdir().unwrap());
            for (path, text) in [
                ("program", "a program"),
                ("dist/amd64/1-kvm-amd64/image.json", "kvm"),
                ("dist/amd64/1-xen-amd64/image.json", "xen"),
                ("keys/db.crt", "a certificate"),
                ("keys/db.key", "a private key"),
            ] {
                world.write(path, text);
            }
            world
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn inputs(&self, qemu: &str) -> Inputs {
            let path = |name: &str| self.0.path().join(name).into_os_string();
            let env = [
                ("EVEK_DIST", path("dist")),
                ("EVEK_KEYS", path("keys")),
                ("EVEK_VERSION", "1".into()),
                ("EVEK_TOOLBOX_QEMU_AMD64", qemu.into()),
            ];
            Inputs::new(&env)
        }

        fn proofs<'a>(&self, inputs: &'a Inputs) -> Proofs<'a> {
            Proofs::new(&self.0.path().join("cache"), inputs, &self.0.path().join("program")).unwrap()
        }
    }

    const TEST: &str = "kvm::boots";
    const NOTED: &str = "image kvm-amd64\nEVEK_TOOLBOX_QEMU_AMD64\nEVEK_KEYS\nimage kvm-amd64\n";

    #[test]
    fn a_success_holds_until_something_changes_that_the_test_used() {
        let world = World::new();
        world.proofs(&world.inputs("qemu")).keep(TEST, NOTED, Duration::from_secs(60)).unwrap();
        let holds = |qemu| world.proofs(&world.inputs(qemu)).find(TEST).is_some();
        assert!(holds("qemu"));
        assert!(world.proofs(&world.inputs("qemu")).find("kvm::other").is_none());
        assert!(!holds("another qemu"));
        for (path, unused) in [
            ("dist/amd64/1-xen-amd64/image.json", true),
            ("keys/db.key", true),
            ("keys/db.crt", false),
            ("program", false),
            ("dist/amd64/1-kvm-amd64/image.json", false),
        ] {
            world.proofs(&world.inputs("qemu")).keep(TEST, NOTED, Duration::from_secs(60)).unwrap();
            world.write(path, "changed");
            assert_eq!(holds("qemu"), unused, "{path}");
        }
    }

    #[test]
    fn a_failure_and_an_input_without_a_value_leave_no_success() {
        let world = World::new();
        let inputs = world.inputs("qemu");
        let proofs = world.proofs(&inputs);
        proofs.keep(TEST, NOTED, Duration::from_secs(60)).unwrap();
        proofs.forget(TEST).unwrap();
        proofs.forget(TEST).unwrap();
        assert!(proofs.find(TEST).is_none());
        proofs.keep(TEST, NOTED, Duration::from_secs(60)).unwrap();
        proofs.keep(TEST, "image kvm-arm64\n", Duration::from_secs(60)).unwrap();
        assert!(proofs.find(TEST).is_none(), "an earlier success does not stand for it either");
        proofs.keep(TEST, "something unheard of\n", Duration::from_secs(60)).unwrap();
        assert!(proofs.find(TEST).is_none());
    }

    #[test]
    fn a_new_file_changes_a_checkout() {
        let folder = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| Command::new("git").current_dir(folder.path()).args(args).output().unwrap();
        assert!(git(&["init", "-q"]).status.success());
        let mut seen = vec![checkout(folder.path()).unwrap()];
        for (name, text) in [("a.yml", "one"), ("a.yml", "two"), ("b.yml", "two")] {
            fs::write(folder.path().join(name), text).unwrap();
            let digest = checkout(folder.path()).unwrap();
            assert!(!seen.contains(&digest), "{name}: {text}");
            seen.push(digest);
        }
        assert_eq!(checkout(&folder.path().join("missing")), None);
    }
}
