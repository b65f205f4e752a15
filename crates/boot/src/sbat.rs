//! SBAT, the list of component generations by which shim revokes (shim, `SBAT.md`): CSV lines.

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
