//! The programs that the firmware and the loader start.

use crate::Report;
use boot::{arch::check_arch, describe, loader, measure, pe, uki};
use sign::{Certificate, efi, policy::Policy};
use tree::{Kind, Tree};
use types::{Arch, Digest};

/// systemd-boot's folder of kernel images.
const IMAGES: &str = "efi/linux/";

/// The slot that a program starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) hash: Digest,
    pub(crate) data_blocks: u64,
}

/// A program of the volume.
pub(crate) struct Program {
    pub(crate) arch: Arch,
    /// The slot that it starts; `None` for the loader.
    pub(crate) root: Option<Root>,
}

/// Verifies the programs of a volume. Does not read programs with bad signatures.
pub(crate) fn programs(report: &mut Report, files: &Tree, db: Option<&Certificate>) -> Vec<Program> {
    let bytes = |path: &str| {
        let file = files.iter().find(|(p, _)| p.as_str().eq_ignore_ascii_case(path));
        file.and_then(|(_, entry)| if let Kind::File(content) = &entry.kind { content.read().ok() } else { None })
    };
    let found = |path: fn(Arch) -> String| Arch::ALL.into_iter().find_map(|arch| Some((arch, bytes(&path(arch))?)));
    let behind_shim = found(loader::behind_shim_path);
    let has_shim = behind_shim.is_some();
    let loader = behind_shim.or_else(|| found(loader::fallback_path));
    let loader = loader.ok_or_else(|| "there is none".to_owned()).and_then(|(arch, program)| {
        let text = check(&program, arch, db)?;
        Ok((arch, text))
    });
    let Some(arch) = report.note("boot loader", loader) else { return Vec::new() };
    report.arch = Some(arch);
    let mut judged = vec![if has_shim { loader::behind_shim_path(arch) } else { loader::fallback_path(arch) }];
    if has_shim {
        for (what, path) in [("shim", loader::fallback_path(arch)), ("shim's manager", loader::manager_path(arch))] {
            let program = bytes(&path).ok_or_else(|| "there is none".to_owned());
            report.note(what, program.and_then(|program| Ok(((), of_others(&program, arch)?))));
            judged.push(path);
        }
        report.note("owner's certificate", certificate(bytes(loader::CERTIFICATE).as_deref(), db));
    }
    let mut programs = vec![Program { arch, root: None }];
    for (path, entry) in files.iter() {
        // FAT ignores case
        let lower = path.as_str().to_ascii_lowercase();
        let Kind::File(content) = &entry.kind else { continue };
        if !lower.ends_with(".efi") || judged.iter().any(|path| path.eq_ignore_ascii_case(&lower)) {
            continue;
        }
        let Some(name) = lower.strip_prefix(IMAGES).map(|name| &path.as_str()[path.as_str().len() - name.len()..])
        else {
            let program = content.read().map_err(|e| e.to_string());
            report.note(path.as_str(), program.and_then(|program| Ok(((), check(&program, arch, db)?))));
            continue;
        };
        let root = content.read().map_err(|e| e.to_string()).and_then(|program| {
            let text = check(&program, arch, db)?;
            let image = describe(&program)?;
            let root = Root { hash: image.root_hash, data_blocks: image.data_blocks };
            let (sbat, policy) = (sbat(&program)?, policy(&program)?);
            Ok((root, format!("{text}{sbat}{policy}, starts the slot with root hash {}", root.hash)))
        });
        if let Some(root) = report.note(name, root) {
            programs.push(Program { arch, root: Some(root) });
        }
    }
    programs
}

fn check(program: &[u8], arch: Arch, db: Option<&Certificate>) -> Result<String, String> {
    check_arch("it", program, arch).map_err(|e| e.to_string())?;
    let Some(db) = db else {
        let unsigned = efi::strip(program).map_err(|e| e.to_string())?;
        let is = unsigned == program;
        return if is { Ok(format!("for {arch}, unsigned")) } else { Err("is signed".to_owned()) };
    };
    efi::verify(program, db).map_err(|e| e.to_string())?;
    Ok(format!("for {arch}, signed by {}", db.subject()))
}

/// Verifies a program with signatures of others.
fn of_others(program: &[u8], arch: Arch) -> Result<String, String> {
    check_arch("it", program, arch).map_err(|e| e.to_string())?;
    let signer = efi::signer(program).map_err(|e| e.to_string())?;
    Ok(format!("for {arch}, signed by {}, for whom {} vouches", signer.subject(), signer.issuer()))
}

/// Verifies that the certificate for shim is the owner's.
fn certificate(found: Option<&[u8]>, db: Option<&Certificate>) -> Result<((), String), String> {
    match (found, db) {
        (None, None) => Ok(((), "none".to_owned())),
        (None, Some(_)) => Err("there is none".to_owned()),
        (Some(_), None) => Err("there is one on an unsigned disk".to_owned()),
        (Some(found), Some(db)) if found == db.der() => Ok(((), db.subject())),
        (Some(_), Some(db)) => Err(format!("it is not that of {}", db.subject())),
    }
}

/// Verifies that an image's TPM policy is signed and matches the image's measurement.
fn policy(program: &[u8]) -> Result<String, String> {
    let Some(policy) = uki::policy(program).map_err(|e| e.to_string())? else { return Ok(String::new()) };
    let value = measure::measure(program).map_err(|e| e.to_string())?.value();
    Policy::new(measure::PCR, value).check(policy.key, policy.signatures)?;
    Ok(format!(", policy for PCR {} signed", measure::PCR))
}

/// The components of a program by which it can be revoked (shim, `SBAT.md`), with their generations; Xen's has none.
fn sbat(program: &[u8]) -> Result<String, String> {
    let sections = pe::sections(program).map_err(|e| e.to_string())?;
    let Some(section) = sections.iter().find(|s| s.name == ".sbat") else { return Ok(String::new()) };
    let text = String::from_utf8_lossy(section.data);
    let mut lines = text.trim_end_matches('\0').lines().map(|line| line.split(',').collect::<Vec<_>>());
    if lines.next().is_none_or(|first| first[..].first() != Some(&"sbat")) {
        return Err("its SBAT does not begin with the line of SBAT itself".to_owned());
    }
    let components = lines.map(|line| match line[..] {
        [name, generation, ..] if generation.parse::<u32>().is_ok() => Ok(format!("{name} {generation}")),
        _ => Err(format!("its SBAT has a line without a generation: `{}`", line.join(","))),
    });
    Ok(format!(", SBAT {}", components.collect::<Result<Vec<_>, _>>()?.join(", ")))
}
