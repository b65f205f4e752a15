//! SBAT, the list of component generations by which shim revokes (shim, `SBAT.md`): CSV lines.

use crate::pe::{Error, Headers, SECTION_HEADER};
use types::Bytes;

/// The line of SBAT itself, which is the first.
pub(crate) const HEADER: &str = "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n";

/// Adds texts to those in a program's section, in place, as ukify does. Returns whether the section exists.
pub(crate) fn merge_into(image: &mut [u8], more: &[&str]) -> Result<bool, Error> {
    let headers = Headers::parse(image)?;
    let Some((n, section)) = headers.sections.iter().enumerate().find(|(_, s)| s.name == ".sbat") else {
        return Ok(false);
    };
    if more.is_empty() {
        return Ok(true);
    }
    let own = image[section.raw.clone()].to_vec();
    let merged = merge([&*String::from_utf8_lossy(&own)].into_iter().chain(more.iter().copied()));
    let room = section.raw.len();
    if merged.len() > room {
        return Err(Error::SbatSpace { found: Bytes(merged.len() as u64), room: Bytes(room as u64) });
    }
    let raw = &mut image[section.raw.clone()];
    raw.fill(0);
    raw[..merged.len()].copy_from_slice(merged.as_bytes());
    let size_at = headers.table + n * SECTION_HEADER + 8;
    image[size_at..size_at + 4].copy_from_slice(&(merged.len() as u32).to_le_bytes());
    Ok(true)
}

/// Joins SBAT texts as ukify does: the header line `sbat,1,…` once, then every other line once, in order of appearance.
pub(crate) fn merge<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut head = None;
    let mut lines: Vec<&str> = Vec::new();
    for line in texts.flat_map(str::lines).map(|l| l.trim_end_matches('\0')).filter(|l| !l.is_empty()) {
        if line.starts_with("sbat,") {
            head.get_or_insert(line);
        } else if !lines.contains(&line) {
            lines.push(line);
        }
    }
    head.into_iter().chain(lines).flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_header_comes_once_and_components_stay_in_order() {
        let (stub, ours) =
            ("sbat,1,SBAT,sbat,1,url\nsystemd,1,x\n\0\0", "sbat,1,SBAT,sbat,1,url\nevek,1,y\nsystemd,1,x");
        let merged = super::merge([stub, ours].into_iter());
        assert_eq!(merged, "sbat,1,SBAT,sbat,1,url\nsystemd,1,x\nevek,1,y\n");
    }
}
