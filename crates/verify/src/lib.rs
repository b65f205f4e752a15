//! Verifies from its bytes alone that a disk is a whole, signed image, with the code that devices use.
//!
//! ```text
//! partition table (both copies)
//!   ├─ EFI system partition: FAT ─► loader, kernel images: architecture, signature ─► root hash (in what is signed)
//!   ├─ slot with that root hash: every block ─► store: documents, every blob, architectures
//!   └─ CONFIG: FAT
//! ```
//! Each check trusts only verified bytes: after a bad finding, the checks that depend on it are skipped.
//!
//! Deliberately absent: the expected content of an image. The caller compares with `image.json`.

mod esp;
mod slot;
mod strip;
mod volume;
mod window;

pub use strip::strip;

use disk::{Placed, gpt};
use esp::Program;
use sign::Certificate;
use std::{fmt, fs::File, path::Path};
use types::{Arch, Digest};

/// A checked part, and the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The part.
    pub what: String,
    /// Its description, or the problem.
    pub result: Result<String, String>,
}

/// The findings about a disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// In the order of the disk.
    pub findings: Vec<Finding>,
    /// The root hashes of the slots that its programs start.
    pub root_hashes: Vec<Digest>,
    /// The architectures of its programs.
    pub arch: Option<Arch>,
}

impl Report {
    /// Whether every finding is good.
    #[must_use]
    pub fn good(&self) -> bool {
        self.findings.iter().all(|f| f.result.is_ok())
    }

    /// Notes a finding. Returns the value of a good one.
    fn note<T>(&mut self, what: impl Into<String>, result: Result<(T, String), String>) -> Option<T> {
        let (value, result) = match result {
            Ok((value, text)) => (Some(value), Ok(text)),
            Err(problem) => (None, Err(problem)),
        };
        self.findings.push(Finding { what: what.into(), result });
        value
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { what, result } in &self.findings {
            match result {
                Ok(text) => writeln!(f, "✓ {what}: {text}")?,
                Err(problem) => writeln!(f, "✗ {what}: {problem}")?,
            }
        }
        Ok(())
    }
}

/// Verifies a raw disk. Programs must have a signature by `db`, or no signature if `db` is `None`.
#[must_use]
pub fn disk(path: &Path, db: Option<&Certificate>) -> Report {
    let mut report = Report::default();
    let table = File::open(path).map_err(|e| e.to_string()).and_then(|file| {
        let table = gpt::read(&file).map_err(|e| e.to_string())?;
        let text = format!("both copies are valid, with {} partitions", table.partitions.len());
        Ok(((file, table), text))
    });
    let Some((file, table)) = report.note("partition table", table) else { return report };
    let esp = table.by_label("EFI System").ok_or_else(|| "there is none".to_owned());
    let files = esp.and_then(|place| volume::check(&file, place));
    let files = report.note("EFI system partition", files).unwrap_or_default();
    let programs: Vec<Program> = esp::programs(&mut report, &files, db);
    let mut started = false;
    for program in programs {
        let Some(root) = program.root else { continue };
        started = true;
        report.root_hashes.push(root.hash);
        let found = table.partitions.iter().find(|p| p.partition.guid == disk::Guid::of_root_hash(root.hash));
        let place = found.ok_or_else(|| format!("no partition has root hash {}", root.hash));
        let what = found.map_or_else(|| "slot".to_owned(), |p| format!("slot {}", p.partition.label));
        let slot = place.and_then(|place| slot::check(&file, place, &root, program.arch));
        report.note(what, slot.map(|text| ((), text)));
    }
    if !started {
        report.note("slot", Err::<((), String), _>("no program says which one it starts".to_owned()));
    }
    if let Some(place) = table.by_label("CONFIG") {
        report.note("CONFIG", volume::check(&file, place));
    }
    report
}

/// The name of a partition in messages.
fn label(place: &Placed) -> &str {
    &place.partition.label
}
