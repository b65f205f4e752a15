//! Running the built `xtask`, as users do, and in a changed world.

use sandbox::{Bind, Exit, Sandbox};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use types::Cancel;

/// How a run of `xtask` ended.
#[derive(Debug)]
pub struct Ran {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// Its data.
    pub stdout: String,
    /// Its talk.
    pub stderr: String,
}

/// The checkout that these tests and `xtask` were built from.
#[must_use]
pub fn checkout() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// A path from the environment.
///
/// # Panics
/// When it is not set: these tests are run by `cargo xtask test`.
pub fn variable(name: &str) -> PathBuf {
    let value =
        env::var_os(name).unwrap_or_else(|| panic!("{name} is not set; run these tests with `cargo xtask test`"));
    PathBuf::from(value)
}

/// The folder of an image of this checkout.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn image(flavour: &str) -> PathBuf {
    let (dist, version) = (variable("EVEK_DIST"), variable("EVEK_VERSION"));
    let folder = dist.join("amd64").join(format!("{}-{flavour}-amd64", version.display()));
    assert!(folder.join("live.raw").is_file(), "there is no image in {}", folder.display());
    folder
}

/// Where a [`World`] has the program.
const INSIDE: &str = "/evek/xtask";

/// A world in which `xtask` runs: this host and this checkout, with some files replaced, and no network. All of it is
/// read-only but `/tmp`, so that nothing an erring `xtask` does can reach the checkout or the user's cache.
#[derive(Debug)]
pub struct World {
    sandbox: Sandbox,
    root: PathBuf,
    files: tempfile::TempDir,
}

impl World {
    /// The world as it is.
    ///
    /// # Panics
    /// When there is no temporary folder.
    #[must_use]
    pub fn new() -> Self {
        let (program, root) = (variable("EVEK_XTASK"), checkout());
        let files = tempfile::tempdir().unwrap_or_else(|e| panic!("no temporary folder: {e}"));
        let mut sandbox = Sandbox::new("/");
        sandbox.entry = Some(program.clone());
        // a /tmp of its own, in which there is a place for a checkout that is below the host's
        let tmp = files.path().join("tmp");
        let place = tmp.join(root.strip_prefix("/tmp").unwrap_or(Path::new("")));
        fs::create_dir_all(&place).unwrap_or_else(|e| panic!("cannot make {}: {e}", place.display()));
        sandbox.tmp = Some(tmp);
        sandbox = sandbox.bind(Bind::read_only(&root, &root)).bind(Bind::read_only(&program, INSIDE));
        Self { sandbox, root, files }
    }

    /// With another text in a file: one of the checkout by its path within, or any of the host.
    ///
    /// # Panics
    /// When the text cannot be written to a temporary file.
    #[must_use]
    pub fn with_file(mut self, path: &str, text: &str) -> Self {
        let file = self.files.path().join(self.sandbox.binds.len().to_string());
        fs::write(&file, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", file.display()));
        self.sandbox = self.sandbox.bind(Bind::read_only(file, self.root.join(path)));
        self
    }

    /// With an empty folder in place of one of the host.
    ///
    /// # Panics
    /// When the empty folder cannot be made.
    #[must_use]
    pub fn with_empty_folder(mut self, path: &str) -> Self {
        let folder = self.files.path().join(self.sandbox.binds.len().to_string());
        fs::create_dir(&folder).unwrap_or_else(|e| panic!("cannot make {}: {e}", folder.display()));
        self.sandbox = self.sandbox.bind(Bind::read_only(folder, path));
        self
    }

    /// With an environment variable; there are few others, and none of the user's.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.sandbox = self.sandbox.env(name, value);
        self
    }

    /// Runs `xtask` in it.
    ///
    /// # Panics
    /// When the sandbox does not work.
    #[must_use]
    pub fn xtask(&self, args: &[&str]) -> Ran {
        self.run(std::iter::once(INSIDE).chain(args.iter().copied()))
    }

    fn run<'a>(&self, argv: impl IntoIterator<Item = &'a str>) -> Ran {
        let output = self.sandbox.output(argv, &[], &Cancel::default()).unwrap_or_else(|e| panic!("{e}"));
        let code = match output.exit {
            Exit::Code(code) => code,
            Exit::Signal(_) => -1,
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran { code, stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Ran {
    /// Runs a program outside of any world.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn of(command: &mut Command) -> Self {
        let run = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: run.status.code().unwrap_or(-1), stdout: text(&run.stdout), stderr: text(&run.stderr) }
    }

    /// Fails the test unless `xtask` ended with this exit code and its talk contains all these texts.
    ///
    /// # Panics
    /// When not, with everything it said.
    pub fn must(&self, code: i32, texts: &[&str]) {
        let missing: Vec<_> = texts.iter().filter(|text| !self.stderr.contains(**text)).collect();
        let said = format!("exit code {}\nstdout:\n{}\nstderr:\n{}", self.code, self.stdout, self.stderr);
        assert!(self.code == code, "expected exit code {code}\n{said}");
        assert!(missing.is_empty(), "expected {missing:?}\n{said}");
    }
}
