//! Programs that hold tests: compiling them, listing their tests, running them (rustc book, *Tests*; cargo book, *External
//! tools*).

use crate::{exit::Exit, failure::Failure, session::root};
use serde_json::Value;
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// A compiled program with tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    /// The package's folder in the checkout; for tests beside the code, with the name of their program.
    pub(super) name: String,
    pub(super) file: PathBuf,
    /// Where the tests expect to be run.
    folder: PathBuf,
}

/// How the tests of a crate ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) took: Duration,
    /// Everything that was said, where something failed.
    pub(super) said: String,
}

/// Compiles the tests of a workspace. The whole workspace, because another choice of packages has cargo compile every
/// dependency with other features again.
pub(super) fn compile(manifest: &str) -> Result<Vec<Program>, Failure> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let args = ["test", "--release", "--workspace", "--no-run", "--message-format=json-render-diagnostics"];
    command.current_dir(root()).args(args).args(["--manifest-path", manifest]);
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(Failure::new(Exit::Check, format!("the tests of {manifest} do not compile")));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| program(line, &root())).collect())
}

/// The program that a line of cargo's is about, if it is about one with tests.
fn program(line: &str, root: &Path) -> Option<Program> {
    let message: Value = serde_json::from_str(line).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let file = PathBuf::from(message["executable"].as_str()?);
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?.to_owned();
    let package = folder.strip_prefix(root).unwrap_or(&folder).display().to_string();
    let target = &message["target"];
    let is_beside = target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|kind| kind == "test"));
    let name = if is_beside { format!("{package}/{}", target["name"].as_str()?) } else { package };
    Some(Program { name, file, folder })
}

impl Program {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.file);
        command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder);
        command
    }

    /// Runs all tests, or those whose names contain a text.
    pub(super) fn run_all(&self, filter: Option<&str>) -> Result<Group, Failure> {
        let start = Instant::now();
        let output = self.command().args(filter).output()?;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let (passed, failed) = counts(&said).unwrap_or_default();
        // a program that was killed has printed no number of failures
        let failed = if output.status.success() { failed } else { failed.max(1) };
        let said = if failed > 0 { said } else { String::new() };
        Ok(Group { passed, failed, took: start.elapsed(), said })
    }

    /// Names of all tests; also of the ignored ones where these are wanted.
    pub(super) fn list(&self, with_ignored: bool) -> Result<Vec<String>, Failure> {
        let names = |ignored: &[&str]| -> Result<Vec<String>, Failure> {
            let output = self.command().args(["--list", "--format", "terse"]).args(ignored).output()?;
            Ok(listed(&String::from_utf8_lossy(&output.stdout)))
        };
        let mut all = names(&[])?;
        if !with_ignored {
            let ignored = names(&["--ignored"])?;
            all.retain(|name| !ignored.contains(name));
        }
        Ok(all)
    }

    /// Runs one test, which says what it says; it notes its inputs in a file.
    pub(super) fn run_one(&self, test: &str, env: &[(&str, OsString)], notes: &Path) -> Result<bool, Failure> {
        let mut command = self.command();
        command.args(["--exact", test, "--include-ignored", "--nocapture", "--quiet"]);
        command.envs(env.iter().map(|(name, value)| (name, value))).env("EVEK_INPUTS", notes);
        Ok(command.status()?.success())
    }
}

/// Tests in a list of libtest's.
fn listed(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

/// How many tests passed and failed, as libtest says at its end.
fn counts(said: &str) -> Option<(usize, usize)> {
    let line = said.lines().rev().find(|line| line.starts_with("test result: "))?;
    let number = |word: &str| {
        let before = line.split(&[';', '.'][..]).find_map(|part| part.trim().strip_suffix(word))?;
        before.trim().parse().ok()
    };
    Some((number("passed")?, number("failed")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_with_tests_are_found_among_what_cargo_says() {
        let line = |test: bool, kind: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/c/crates/vm/Cargo.toml","target":{{"kind":["{kind}"],"name":"x"}},"profile":{{"test":{test}}},"executable":"/c/target/x-1"}}"#
            )
        };
        let root = Path::new("/c");
        let found = program(&line(true, "lib"), root).expect("unit tests");
        let expected =
            Program { name: "crates/vm".into(), file: "/c/target/x-1".into(), folder: "/c/crates/vm".into() };
        assert_eq!(found, expected);
        assert_eq!(program(&line(true, "test"), root).expect("tests beside").name, "crates/vm/x");
        assert_eq!(program(&line(false, "bin"), root), None);
        assert_eq!(program(r#"{"reason":"build-finished","success":true}"#, root), None);
    }

    #[test]
    fn libtest_counts_its_tests() {
        let said =
            "running 3 tests\n...\ntest result: FAILED. 2 passed; 1 failed; 4 ignored; 0 measured; 0 filtered out\n";
        assert_eq!(counts(said), Some((2, 1)));
        assert_eq!(counts("running 3 tests\n"), None);
        assert_eq!(listed("kvm::one: test\nkvm::two: test\n\n2 tests, 0 benchmarks\n"), ["kvm::one", "kvm::two"]);
    }
}
