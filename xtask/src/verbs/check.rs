//! `check`: format, lints, docs, licences and the words of prose, for both workspaces.

mod prose;
mod words;

use crate::{exit::Exit, failure::Failure, session::root};
use serde_json::Value;
use std::process::{Command, Output};
use types::count;

/// Licences that dependencies may have, by SPDX identifier. All permit use in an Apache-2.0 program.
const ALLOWED: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Dependencies of the builder, never of the device, whose licence asks for more; reasons are in docs/dependencies.md.
const EXCEPTIONS: [(&str, &str); 2] =
    [("sequoia-openpgp", "LGPL-2.0-or-later"), ("buffered-reader", "LGPL-2.0-or-later")];

/// Runs every check and reports all that fail.
pub(crate) fn check() -> Result<(), Failure> {
    let mut failed = Vec::new();
    let mut step = |name: &'static str, ok: Result<bool, Failure>| -> Result<(), Failure> {
        if !ok? {
            failed.push(name);
        }
        Ok(())
    };
    for manifest in ["Cargo.toml", "pkg/Cargo.toml"] {
        step("format", cargo(&["fmt", "--all", "--check", "--manifest-path", manifest], &[]))?;
        let lints = [
            "clippy",
            "--release",
            "--locked",
            "--workspace",
            "--all-targets",
            "--manifest-path",
            manifest,
            "--",
            "-Dwarnings",
        ];
        step("lints", cargo(&lints, &[]))?;
        let docs = [
            "doc",
            "--release",
            "--locked",
            "--workspace",
            "--no-deps",
            "--document-private-items",
            "--manifest-path",
            manifest,
        ];
        step("docs", cargo(&docs, &[("RUSTDOCFLAGS", "-Dwarnings")]))?;
        step("licences", licences(manifest))?;
    }
    step("reference", reference())?;
    step("words", words_are_fine())?;
    if failed.is_empty() {
        eprintln!("format, lints, docs, licences, words: clean");
        Ok(())
    } else {
        failed.dedup();
        Err(Failure::new(Exit::Check, format!("these checks failed: {}", failed.join(", "))))
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args);
    command
}

fn cargo(args: &[&str], env: &[(&str, &str)]) -> Result<bool, Failure> {
    Ok(command(args).envs(env.iter().copied()).status()?.success())
}

/// Whether docs/reference.md matches the types.
fn reference() -> Result<bool, Failure> {
    let same = std::fs::read_to_string(root().join("docs/reference.md"))? == defs::reference();
    if !same {
        eprintln!("docs/reference.md is older than the types: run `cargo xtask schema --reference`");
    }
    Ok(same)
}

/// Whether docs and comments are free of the words that REVIEW.md replaces.
fn words_are_fine() -> Result<bool, Failure> {
    let findings = words::check(&root())?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        eprintln!("{} in docs and comments; REVIEW.md gives the reasons", count(findings.len(), "refused place"));
    }
    Ok(findings.is_empty())
}

fn licences(manifest: &str) -> Result<bool, Failure> {
    let Output { status, stdout, .. } =
        command(&["metadata", "--format-version=1", "--locked", "--manifest-path", manifest])
            .stderr(std::process::Stdio::inherit())
            .output()?;
    if !status.success() {
        return Ok(false);
    }
    let metadata: Value = serde_json::from_slice(&stdout)?;
    let mut ok = true;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let (name, licence) =
            (package["name"].as_str().unwrap_or_default(), package["license"].as_str().unwrap_or_default());
        if !permitted(licence) && !EXCEPTIONS.contains(&(name, licence)) {
            eprintln!("{name}: licence `{licence}` is not among those that we allow");
            ok = false;
        }
    }
    Ok(ok)
}

/// Whether an SPDX expression can be satisfied by the allowed licences: some alternative of every part.
fn permitted(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let expression = expression.trim();
    if let Some(parts) = split(expression, " AND ") {
        return parts.iter().all(|part| permitted(part));
    }
    if let Some(parts) = split(expression, " OR ") {
        return parts.iter().any(|part| permitted(part));
    }
    match expression.strip_prefix('(').and_then(|e| e.strip_suffix(')')) {
        Some(inner) => permitted(inner),
        None => ALLOWED.contains(&expression),
    }
}

/// The parts between a separator outside of parentheses; `None` when it does not occur there.
fn split<'e>(expression: &'e str, separator: &str) -> Option<Vec<&'e str>> {
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (at, c) in expression.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ if depth == 0 && expression[at..].starts_with(separator) => {
                parts.push(&expression[start..at]);
                start = at + separator.len();
            }
            _ => {}
        }
    }
    (!parts.is_empty()).then(|| {
        parts.push(&expression[start..]);
        parts
    })
}

#[cfg(test)]
mod tests {
    use super::permitted;

    #[test]
    fn every_part_needs_an_allowed_alternative() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "MIT OR GPL-3.0",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR X",
        ] {
            assert!(permitted(good), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT AND GPL-2.0) OR LGPL-3.0"] {
            assert!(!permitted(bad), "{bad}");
        }
    }
}
