//! Compares an image with the partitions of devices.

use crate::binary;
use serde::{Deserialize, Serialize};
use std::fmt;
use types::Bytes;

/// An image compared with one layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fit {
    /// The layout's name.
    pub layout: String,
    /// Its description.
    pub summary: String,
    /// The first version of EVE that had it; `None` for a layout that is not EVE's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The partitions that an image fills.
    pub parts: Vec<PartFit>,
}

/// A partition and its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartFit {
    /// `slot`, `esp` or `config`.
    pub part: String,
    /// Bytes needed.
    pub needs: Bytes,
    /// The partition's bytes.
    pub has: Bytes,
}

impl PartFit {
    /// Whether it is large enough.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.needs <= self.has
    }

    /// The free or the missing bytes.
    #[must_use]
    pub fn margin(&self) -> String {
        let apart = binary(Bytes(self.has.0.abs_diff(self.needs.0)));
        if self.fits() { format!("{apart} left") } else { format!("{apart} TOO LARGE") }
    }
}

impl Fit {
    /// A part by name.
    #[must_use]
    pub fn part(&self, name: &str) -> Option<&PartFit> {
        self.parts.iter().find(|part| part.part == name)
    }
}

/// A layout that a part must fit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MustFit {
    /// `slot`, `esp` or `config`.
    pub part: String,
    /// The layout.
    pub layout: String,
    /// The place of the requirement, `hv/kvm.yml:7:10`.
    pub place: String,
}

/// A part is too large for a layout that it must fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct DoesNotFit {
    /// The requirement.
    pub must: MustFit,
    /// The partition and its content.
    pub part: PartFit,
    /// The part's contributors, the largest first.
    pub largest: Vec<(String, Bytes)>,
}

impl fmt::Display for DoesNotFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (MustFit { part, layout, place }, PartFit { needs, has, .. }) = (&self.must, &self.part);
        let excess = binary(Bytes(needs.0 - has.0));
        writeln!(f, "{place}: the image does not fit the {part} of layouts/{layout}.yml, by {excess}")?;
        write!(f, "  it needs {}, and there are {}; its largest parts:", binary(*needs), binary(*has))?;
        self.largest.iter().try_for_each(|(path, stored)| write!(f, "\n  {:>10}  {path}", binary(*stored)))
    }
}

/// One line for release decisions: the oldest version of EVE whose slots are large enough, and the first whose slots
/// are not. The layouts are sorted, the newest first.
#[must_use]
pub fn verdict(fits: &[Fit]) -> String {
    let eve = fits.iter().filter_map(|fit| Some((fit.since.as_deref()?, fit.part("slot")?)));
    let mut since = None;
    for (version, slot) in eve {
        if !slot.fits() {
            let fitting = since.map_or("fits no slot of EVE".to_owned(), |v| format!("fits every slot since EVE {v}"));
            let (has, margin) = (binary(slot.has), binary(Bytes(slot.needs.0 - slot.has.0)));
            return format!("{fitting}; no longer that of EVE {version}, {has}, by {margin}");
        }
        since = Some(version);
    }
    since.map_or("there are no slots of EVE to fit".to_owned(), |_| "fits every slot that EVE ever made".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(slots: &[(&str, u64)], needs: u64) -> Vec<Fit> {
        let fit = |(since, has): &(&str, u64)| Fit {
            layout: format!("eve-{since}"),
            summary: String::new(),
            since: (!since.is_empty()).then(|| (*since).to_owned()),
            parts: vec![PartFit { part: "slot".into(), needs: Bytes::mib(needs), has: Bytes::mib(*has) }],
        };
        slots.iter().map(fit).collect()
    }

    #[test]
    fn the_verdict_names_the_first_layout_that_is_too_small() {
        let slots = [("", 10_240), ("17.0.0", 10_240), ("10.2.0", 512), ("1.0.0", 300)];
        assert_eq!(verdict(&fits(&slots, 300)), "fits every slot that EVE ever made");
        assert_eq!(
            verdict(&fits(&slots, 310)),
            "fits every slot since EVE 10.2.0; no longer that of EVE 1.0.0, 300.0 MiB, by 10.0 MiB"
        );
        assert_eq!(
            verdict(&fits(&slots, 20_480)),
            "fits no slot of EVE; no longer that of EVE 17.0.0, 10.00 GiB, by 10.00 GiB"
        );
        assert_eq!(verdict(&[]), "there are no slots of EVE to fit");
    }

    #[test]
    fn a_part_that_needs_all_there_is_fits() {
        let part = |needs| PartFit { part: "esp".into(), needs: Bytes(needs), has: Bytes(100) };
        assert_eq!((part(100).fits(), part(100).margin().as_str()), (true, "0 B left"));
        assert_eq!((part(101).fits(), part(101).margin().as_str()), (false, "1 B TOO LARGE"));
    }
}
