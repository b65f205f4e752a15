//! `verify`: verifies from its bytes that an image is whole and signed.

use super::keys;
use crate::{
    cli::{Common, Verify},
    exit::Exit,
    failure::Failure,
};
use disk::{Placed, extents, gpt};
use sign::{Certificate, Keys, Role};
use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};
use steps::{ImageJson, PartitionJson};
use types::{Digest, Hasher};
use verify::{Finding, Report};

pub(crate) fn verify(common: &Common, args: &Verify) -> Result<(), Failure> {
    let (raw, image) = find(&args.image)?;
    let db = if args.unsigned { None } else { Some(certificate(common, args)?) };
    let mut report = verify::disk(&raw, db.as_ref());
    if let Some(image) = &image {
        compare(&mut report, image, &raw, db.as_ref());
    }
    print!("{report}");
    if !report.good() {
        return Err(Failure::new(Exit::Check, format!("{} is not as it must be", raw.display())));
    }
    if let Some(to) = &args.strip_signatures {
        let write = |files: &_, place: &disk::Placed, path: &Path| {
            steps::esp_volume(path, files, place.partition.size).map_err(|e| e.to_string())
        };
        verify::strip(&raw, to, write).map_err(|e| Failure::new(Exit::Other, e))?;
    }
    Ok(())
}

/// The raw disk, and its description if there is one.
fn find(path: &Path) -> Result<(PathBuf, Option<ImageJson>), Failure> {
    if !path.is_dir() {
        return Ok((path.to_owned(), None));
    }
    let json = path.join("image.json");
    let bad = |e: &dyn std::fmt::Display| Failure::new(Exit::Usage, format!("cannot read {}: {e}", json.display()));
    let text = fs::read(&json).map_err(|e| bad(&e))?;
    let image: ImageJson = serde_json::from_slice(&text).map_err(|e| bad(&e))?;
    let raw = image.files.get("raw").ok_or_else(|| bad(&"it names no raw disk"))?;
    Ok((path.join(raw), Some(image)))
}

fn certificate(common: &Common, args: &Verify) -> Result<Certificate, Failure> {
    let Some(path) = &args.certificate else {
        let folder = common.keys.clone().map_or_else(keys::default, Ok)?;
        return Ok(Keys::open(&folder)?.certificate(Role::Db).clone());
    };
    let pem = fs::read(path).map_err(|e| Failure::new(Exit::Usage, format!("cannot read {}: {e}", path.display())))?;
    Ok(Certificate::from_pem(&pem)?)
}

/// Notes the differences between a disk and its description.
fn compare(report: &mut Report, image: &ImageJson, raw: &Path, db: Option<&Certificate>) {
    let mut note = |what: &str, result| report.findings.push(Finding { what: format!("image.json: {what}"), result });
    let described = image.signing.as_ref().and_then(|s| s.certificates.get(&Role::Db));
    note(
        "certificate",
        match (described, db.map(Certificate::fingerprint)) {
            (described, used) if described == used.as_ref() => Ok("the one that is used here".to_owned()),
            (described, _) => Err(format!(
                "{}, which is not used here",
                described.map_or_else(|| "none".to_owned(), |d| d.to_string())
            )),
        },
    );
    note("partition table", entries(raw, &image.partitions));
    for partition in &image.partitions {
        note(&format!("partition {}", partition.label), content(raw, partition).map_err(|e| e.to_string()).flatten());
    }
    let roots = &report.root_hashes;
    let known = roots.contains(&image.root_hash);
    let result = if known { Ok(image.root_hash.to_string()) } else { Err("no program starts it".to_owned()) };
    report.findings.push(Finding { what: "image.json: root hash".to_owned(), result });
}

/// Verifies that the partition table has the described partitions and no others.
fn entries(raw: &Path, described: &[PartitionJson]) -> Result<String, String> {
    let file = File::open(raw).map_err(|e| e.to_string())?;
    let mut found = gpt::read(&file).map_err(|e| e.to_string())?.partitions;
    for PartitionJson { number, label, guid, start, size, .. } in described {
        let at = found.iter().position(|placed| placed.partition.number == *number);
        let Placed { partition, start: first } =
            found.remove(at.ok_or_else(|| format!("there is no partition {number}, expected {label}"))?);
        for (what, found, expected) in [
            ("label", partition.label, label.clone()),
            ("GUID", partition.guid.to_string(), guid.clone()),
            ("first byte", first.0.to_string(), start.0.to_string()),
            ("size", partition.size.0.to_string(), size.0.to_string()),
        ] {
            if found != expected {
                return Err(format!("partition {number}, {label}, has the {what} {found}, expected {expected}"));
            }
        }
    }
    match found.first() {
        Some(more) => Err(format!("there is partition {}, {}, besides", more.partition.number, more.partition.label)),
        None => Ok("labels, GUIDs and places as described".to_owned()),
    }
}

/// Verifies that a partition has the described bytes, and zeros behind them.
fn content(raw: &Path, partition: &PartitionJson) -> std::io::Result<Result<String, String>> {
    let mut file = File::open(raw)?;
    let (start, written) = (partition.start.0, partition.written.0);
    let mut hash = Hasher::default();
    let mut buffer = vec![0; 1 << 20];
    file.seek(SeekFrom::Start(start))?;
    let mut left = written;
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = file.read(&mut buffer[..most])?;
        if read == 0 {
            return Ok(Err("the disk ends within it".to_owned()));
        }
        hash.update(&buffer[..read]);
        left -= read as u64;
    }
    let found: Digest = hash.finish();
    if partition.digest.is_some_and(|digest| digest != found) {
        return Ok(Err(format!("has digest {found}")));
    }
    // unwritten ranges are holes, or zeros in a copied disk
    let (behind, end) = (start + written, start + partition.size.0);
    for range in extents(&file)? {
        let (mut at, last) = (range.start.max(behind), range.end.min(end));
        while at < last {
            let most = buffer.len().min(usize::try_from(last - at).unwrap_or(usize::MAX));
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut buffer[..most], at)?;
            if let Some(n) = buffer[..most].iter().position(|b| *b != 0) {
                return Ok(Err(format!("has something at byte {}, behind its content", at + n as u64 - start)));
            }
            at += most as u64;
        }
    }
    Ok(Ok(format!("{} bytes as described", written)))
}
