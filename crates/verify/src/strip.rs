//! A disk without its signatures, which anyone can build again.

use crate::volume;
use boot::{loader, uki};
use disk::{Placed, copy_range, extents, gpt};
use sign::efi;
use std::{fs::File, path::Path};
use tree::{Content, Kind, Tree};
use types::Arch;

/// systemd-boot's folder of keys to enroll.
const KEYS: &str = "loader/keys";

/// Writes a disk again, without signatures and without keys to enroll. `write` makes the EFI system partition of its
/// files, as the build does.
///
/// # Errors
/// A text, when reading or writing a disk fails.
pub fn strip(
    path: &Path,
    to: &Path,
    write: impl FnOnce(&Tree, &Placed, &Path) -> Result<(), String>,
) -> Result<(), String> {
    let text = |e: std::io::Error| e.to_string();
    let from = File::open(path).map_err(text)?;
    let table = gpt::read(&from).map_err(|e| e.to_string())?;
    let place = table.by_label("EFI System").ok_or("there is no EFI system partition")?;
    let (files, _) = volume::check(&from, place)?;
    let folder = tempfile::tempdir().map_err(text)?;
    let esp = folder.path().join("esp");
    write(&unsigned(&files)?, place, &esp)?;

    let out = File::create(to).map_err(text)?;
    out.set_len(from.metadata().map_err(text)?.len()).map_err(text)?;
    let (start, end) = (place.start.0, place.start.0 + place.partition.size.0);
    for range in extents(&from).map_err(text)? {
        for (first, last) in [(range.start, range.end.min(start)), (range.start.max(end), range.end)] {
            if first < last {
                copy_range(&from, first, &out, first, last - first).map_err(text)?;
            }
        }
    }
    let esp = File::open(&esp).map_err(text)?;
    for range in extents(&esp).map_err(text)? {
        copy_range(&esp, range.start, &out, start + range.start, range.end - range.start).map_err(text)?;
    }
    out.sync_all().map_err(text)
}

/// The files of an EFI system partition without the owner's signatures and certificates. shim keeps the signatures of
/// others.
fn unsigned(files: &Tree) -> Result<Tree, String> {
    let mut stripped = Tree::default();
    let owners = |path: &str| {
        path == loader::CERTIFICATE
            || path.strip_prefix(KEYS).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let has = |path: &str| files.iter().any(|(p, _)| p.as_str().eq_ignore_ascii_case(path));
    let shimmed = Arch::ALL.into_iter().filter(|arch| has(&loader::behind_shim_path(*arch)));
    let others: Vec<_> = shimmed.flat_map(|a| [loader::fallback_path(a), loader::manager_path(a)]).collect();
    for (path, entry) in files.iter().filter(|(path, _)| !owners(path.as_str())) {
        let mut entry = entry.clone();
        if let Kind::File(content) = &entry.kind
            && path.as_str().to_ascii_lowercase().ends_with(".efi")
            && !others.iter().any(|other| other.eq_ignore_ascii_case(path.as_str()))
        {
            let program = content.read().map_err(|e| e.to_string())?;
            let program = efi::strip(&program).map_err(|e| format!("{path}: {e}"))?;
            let program = uki::without_policy(&program).map_err(|e| format!("{path}: {e}"))?;
            entry.kind = Kind::File(Content::Inline(program.into()));
        }
        stripped.insert(path.clone(), entry).map_err(|e| e.to_string())?;
    }
    Ok(stripped)
}
