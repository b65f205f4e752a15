//! Running the built `xtask`, as users do, and in a changed world.

use crate::inputs::note;
use sandbox::{Bind, Exit, Overlay, Sandbox};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use steps::ImageJson;
use types::{Arch, Cancel, Flavour};

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
    note("checkout");
    root()
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The folder for machines and other things that tests leave behind.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn scratch() -> PathBuf {
    let folder = root().join("target/boot");
    fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("cannot make {}: {e}", folder.display()));
    folder
}

/// A path from the environment.
///
/// # Panics
/// When it is not set: these tests are run by `cargo xtask test`.
pub fn variable(name: &str) -> PathBuf {
    note(name);
    unnoted(name)
}

/// The built `xtask` as the way into the sandbox, which it is by code that the test's program has, too. For a test that runs
/// `xtask` for its own sake there is [`variable`].
#[must_use]
pub fn entry() -> PathBuf {
    unnoted("EVEK_XTASK")
}

/// The build cache, from which tests take blobs by the digests that an image names.
#[must_use]
pub fn cache() -> PathBuf {
    unnoted("EVEK_CACHE")
}

fn unnoted(name: &str) -> PathBuf {
    let value =
        env::var_os(name).unwrap_or_else(|| panic!("{name} is not set; run these tests with `cargo xtask test`"));
    PathBuf::from(value)
}

/// The folder of an image of this checkout.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn image(flavour: Flavour, arch: Arch) -> PathBuf {
    note(&format!("image {flavour}-{arch}"));
    let (dist, version) = (unnoted("EVEK_DIST"), unnoted("EVEK_VERSION"));
    let folder = dist.join(arch.as_str()).join(format!("{}-{flavour}-{arch}", version.display()));
    assert!(raw(&folder).is_file(), "there is no image in {}", folder.display());
    folder
}

/// The description of the image in a folder.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn described(folder: &Path) -> ImageJson {
    let path = folder.join("image.json");
    let text = fs::read(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Runs the built `xtask` in this world.
///
/// # Panics
/// When it cannot be run.
pub fn xtask(args: &[impl AsRef<std::ffi::OsStr>]) -> Ran {
    let output = Command::new(variable("EVEK_XTASK")).args(args).output().unwrap_or_else(|e| panic!("xtask: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    Ran { code, stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// Copies the disk of the image in a folder, which is nearly all holes, to a new file.
///
/// # Panics
/// When it cannot be copied.
pub fn copy_disk(image: &Path, to: &Path) -> fs::File {
    let copy = || -> std::io::Result<fs::File> {
        let from = fs::File::open(raw(image))?;
        let to = fs::File::options().read(true).write(true).create(true).truncate(true).open(to)?;
        to.set_len(from.metadata()?.len())?;
        disk::copy_sparse(&from, &to, 0, &mut |_| ())?;
        Ok(to)
    };
    copy().unwrap_or_else(|e| panic!("cannot copy the disk to {}: {e}", to.display()))
}

/// The disk of the image in a folder.
pub(crate) fn raw(folder: &Path) -> PathBuf {
    folder.join(&described(folder).files["raw"])
}

/// Where a [`World`] has the program.
const INSIDE: &str = "/evek/xtask";
/// Where a [`World`] has the cache, when it has one.
const CACHE: &str = "/evek/cache";

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
        sandbox.nested = true;
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

    /// With a folder of the checkout that has one file and nothing else.
    ///
    /// # Panics
    /// When it cannot be written to a temporary folder.
    #[must_use]
    pub fn with_folder_of(mut self, folder: &str, path: &str, bytes: &[u8]) -> Self {
        let own = self.files.path().join(self.sandbox.binds.len().to_string());
        let file = own.join(path);
        fs::create_dir_all(file.parent().unwrap_or(&own)).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        fs::write(&file, bytes).unwrap_or_else(|e| panic!("cannot write {}: {e}", file.display()));
        self.sandbox = self.sandbox.bind(Bind::read_only(own, self.root.join(folder)));
        self
    }

    /// With what is in the user's cache, which it does not change.
    ///
    /// # Panics
    /// When the folders for its own changes cannot be made.
    #[must_use]
    pub fn with_cache(mut self) -> Self {
        let own = self.files.path().join("cache");
        let (upper, work) = (own.join("upper"), own.join("work"));
        for folder in [&upper, &work] {
            fs::create_dir_all(folder).unwrap_or_else(|e| panic!("cannot make {}: {e}", folder.display()));
        }
        // what running builds are at is nothing of this world's: a whiteout (kernel, Documentation/filesystems/overlayfs.rst)
        let made = Command::new("mknod").arg(upper.join("tmp")).args(["c", "0", "0"]).status();
        assert!(made.is_ok_and(|status| status.success()), "cannot hide the cache's temporary files");
        self.sandbox.overlays.push(Overlay { lower: vec![cache()], upper, work, target: CACHE.into() });
        self.with_variable("EVEK_CACHE", CACHE)
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
